"""The program: the group of commands, and the one place where an error becomes a message and an exit code."""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn

import click

from asfn.cli.exits import BROKEN, CODES, PARKED, REFUSED, SUCCEEDED, Interrupted, Refused
from asfn.cli.output import plain, tell
from asfn.errors import AsfnError

if TYPE_CHECKING:
    from collections.abc import Callable

# Each command's module, imported when the command is called, and its line in the list of commands.
_COMMANDS: Final = {
    "demo": ("asfn.cli.demo", "Run an order workflow three times, and show what happened."),
    "run": ("asfn.cli.run", "Run a definition once and print its output."),
    "resume": ("asfn.cli.resume", "Continue whatever is unfinished."),
    "validate": ("asfn.cli.validate", "Check definitions and print every finding."),
    "test-state": ("asfn.cli.test_state", "Run one state by itself and show every stage of its data."),
    "list": ("asfn.cli.executions", "List executions, newest first."),
    "show": ("asfn.cli.executions", "Show one execution."),
    "history": ("asfn.cli.executions", "Print an execution's events."),
    "export": ("asfn.cli.housekeeping", "Write one execution as JSON, with all it has."),
    "import": ("asfn.cli.housekeeping", "Take an exported execution into a database."),
    "purge": ("asfn.cli.housekeeping", "Delete executions that ended long ago."),
    "backup": ("asfn.cli.housekeeping", "Copy a database while it is in use."),
    "doctor": ("asfn.cli.housekeeping", "Check that a database holds together."),
}
_THREAD_SECONDS: Final = 0.3
_NO_READER: Final = "whoever read the output has gone; the rest of it was not written"


class _Commands(click.Group):
    """The commands in the order of `_COMMANDS`, each imported on use."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        from importlib import import_module

        module = vars(import_module(_COMMANDS[cmd_name][0]))
        found = module[f"{cmd_name}_" if cmd_name in ("list", "import") else cmd_name.replace("-", "_")]
        assert isinstance(found, click.Command)
        return found

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:  # click would end the process by itself, with another exit code
            raise Refused(_NO_READER) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in _COMMANDS.items()])


def _version(ctx: click.Context, parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            click.echo(f"asfn {version('asfn')}")
        except PackageNotFoundError:  # run from a checkout that was never installed
            click.echo("asfn, not installed")
        ctx.exit()


@click.group(cls=_Commands, epilog=CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Print the version."
)
def commands() -> None:
    """Run AWS Step Functions state machines here, durably, in one process.

    \b
    Look around first:      asfn demo
    Check a definition:     asfn validate order.asl.json
    Run it:                 asfn run order.asl.json --input '{"id": 7}' --functions app.tasks --db flows.db
    Go on after a stop:     asfn resume --functions app.tasks --db flows.db
    See what happened:      asfn list --db flows.db
    """


def main() -> NoReturn:
    """Run the command that the arguments name, and end the process with its exit code."""
    _prepare_streams()
    _prepare_log()
    _leave(_guarded(_run))


def _run() -> int:
    result = commands.main(standalone_mode=False)
    sys.stdout.flush()
    return result if isinstance(result, int) else SUCCEEDED


def _guarded(run: Callable[[], int]) -> int:
    """The exit code of `run`, whatever happens in it; says in one line what went wrong."""
    try:
        return run()
    except SystemExit as error:
        return _flushed(error.code if isinstance(error.code, int) else REFUSED)
    except Interrupted as error:
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        tell("asfn: stopped")
        return PARKED
    except click.UsageError as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        return _complain(error.message, error.exit_code)
    except AsfnError as error:
        return _complain(str(error), REFUSED)
    except BrokenPipeError:
        return _complain(_NO_READER, REFUSED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _complain(f"{where}{error.strerror or error}", REFUSED)
    except MemoryError:
        return _complain("there is not enough memory for this", REFUSED)
    except ExceptionGroup as group:
        return _guarded(partial(_raise, group.exceptions[0]))
    except Exception as error:
        return _fault(error)


def _raise(error: Exception) -> NoReturn:
    raise error


def _flushed(code: int) -> int:
    """The same code, once everything printed has been written; a disk or a pipe may refuse it only now."""

    def flush() -> int:
        sys.stdout.flush()
        return code

    return _guarded(flush)


def _complain(message: str, code: int) -> int:
    with suppress(OSError):  # stderr may be gone as well: then the exit code is all that is left
        tell(f"asfn: {plain(message, 2000)}")
    return code


def _fault(error: Exception) -> int:
    if os.environ.get("ASFN_TRACEBACK"):
        traceback.print_exception(error)
    return _complain(f"a fault in asfn itself: {type(error).__name__}: {error} (ASFN_TRACEBACK=1 shows where)", BROKEN)


def _leave(code: int) -> NoReturn:
    """End the process. Never waits for a function that still runs in a worker thread, and never prints again."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # said already; closing the streams would say it again
    else:
        if not _has_busy_threads():
            sys.exit(code)
    os._exit(code)


def _has_busy_threads() -> bool:
    others = [thread for thread in threading.enumerate() if thread is not threading.current_thread()]
    waiting = [thread for thread in others if not thread.daemon]
    for thread in waiting:
        thread.join(_THREAD_SECONDS / len(waiting))
    return any(thread.is_alive() for thread in waiting)


def _prepare_streams() -> None:
    """Let any text be printed: the results are UTF-8 everywhere, and what UTF-8 cannot hold is spelled out."""
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller; an open file must not get its number
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115  # for good
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(encoding="utf-8", errors="backslashreplace")


class _OneLine(logging.Formatter):
    """A record as one line for people: no traceback, unless the environment asks for it."""

    def format(self, record: logging.LogRecord) -> str:
        line = f"asfn: {plain(record.getMessage(), 2000)}"
        if record.exc_info and os.environ.get("ASFN_TRACEBACK"):
            line += "\n" + self.formatException(record.exc_info)
        return line


class _Teller(logging.Handler):
    """Writes to whatever stderr is at the moment: a live view puts itself in its place."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):
            tell(self.format(record))


def _prepare_log() -> None:
    """What the engine logs (warnings and worse) becomes lines on stderr."""
    handler = _Teller()
    handler.setFormatter(_OneLine())
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
