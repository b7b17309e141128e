"""The command `lamm-cl`; each command has a file of its own."""

import sys


def start() -> None:
    """Run the command line and exit. Ctrl-C is answered with one line from the first import on."""
    try:
        from lamm_cl.cli.main import call

        sys.exit(call(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted.\n")
        sys.exit(130)
