"""The command `lamm-cl`. Commands import what they need when they run: `--help` and wrong use answer at once."""

import io
import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from lamm_cl import __version__
from lamm_cl.cli import cache, configs, data, listing, predict, report, run
from lamm_cl.errors import UsageError
from lamm_cl.experiments.signals import Signals

# typer brings its own copy of click in some versions; its public exceptions lead to the bases in all of them.
_WrongUse: Any = typer.BadParameter.__bases__[0]
_Refusal: Any = _WrongUse.__bases__[0]
COMPLETING = "_LAMM_CL_COMPLETE"

app = typer.Typer(
    name="lamm-cl",
    help="What happens to CLIP when it learns some classes and later others.",
    no_args_is_help=True,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lamm_cl {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Take the options that stand before a command."""


_COMMANDS: dict[str, Callable[..., object]] = {  # in the order that `--help` shows
    "quickstart": run.quickstart,
    "init": configs.init,
    "run": run.run,
    "work": run.work,
    "validate": configs.validate,
    "report": report.report,
    "predict": predict.predict,
    "list": listing.listing,
}
for _name, _command in _COMMANDS.items():
    app.command(_name)(_command)
app.add_typer(data.app, name="data")
app.add_typer(cache.app, name="cache")


def call(arguments: list[str]) -> int:
    """Run the command line; returns the exit code: 0 done, 1 something failed, 2 wrong use, 130 after Ctrl-C."""
    _print_every_letter()
    with Signals() as signals:
        try:
            command = typer.main.get_command(app)
            if COMPLETING in os.environ:  # a shell asks what may come next: typer's own way in answers
                command.main([], prog_name="lamm-cl", standalone_mode=True)
            with command.make_context("lamm-cl", arguments) as context:
                code = command.invoke(context)
            sys.stdout.flush()
        except typer.Exit as end:
            return end.exit_code
        except _WrongUse as error:
            if type(error).__name__ == "NoArgsIsHelpError":
                typer.echo(error.ctx.get_help())
                return 2
            help_of = f" See `{error.ctx.command_path} --help`." if error.ctx else ""
            return _say(f"{error.format_message().rstrip('.')}.{help_of}", 2)
        except _Refusal as error:
            return _say(error.format_message(), error.exit_code)
        except UsageError as error:
            return _say(str(error), 2)
        except (typer.Abort, KeyboardInterrupt):
            return _say("interrupted.", 130)
        except BrokenPipeError:
            # The reader (`| head`) has seen enough. Python would complain once more when it flushes at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except Exception:
            if signals.first is None:
                raise
            return _say("interrupted.", 130)  # a library has made an error of its own of the interruption
    return code if isinstance(code, int) else 0


def _print_every_letter() -> None:
    """Let output hold every letter in every locale: a terminal shows ? for what it lacks, files and pipes are UTF-8."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower().replace("-", "") != "utf8":
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8")


def _say(message: str, code: int) -> int:
    typer.echo(f"error: {message}", err=True)
    return code
