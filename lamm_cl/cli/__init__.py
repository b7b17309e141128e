"""The command `lamm-cl`."""

import signal
import sys

from lamm_cl.experiments.signals import Signals


def start() -> None:
    """Run the command line and exit. Ctrl-C is answered with one line from the first import to the last word."""
    try:
        with Signals():
            from lamm_cl.cli.main import call

            code = call(sys.argv[1:])
        # Python takes its handlers back while it exits: a Ctrl-C then would end the process as if it had not answered.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write("error: interrupted.\n")
        code = 130
    sys.exit(code)
