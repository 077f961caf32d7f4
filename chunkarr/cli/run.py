"""Run a command: exit codes, one-line errors, signals.

0 done · 1 failed, bad input too · 2 wrong usage · 130 interrupted by Ctrl-C, 143 by SIGTERM; `exits` has them all.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import Any

import click

from chunkarr.cli.exits import DONE, FAILED, SIGNALLED, USAGE, FailedError
from chunkarr.cli.table import Commands

__all__ = ["chunkarr", "main", "run"]

MEMORY = re.compile(r'chunkarr\.config\.set\(memory="(\d+) (\w+)"\)')
OPTIONS = re.compile(r"\boptions=(?!\w)")  # of Python's calls: what the source takes


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    """Print the version and end."""
    if wanted:
        from chunkarr import __version__

        click.echo(f"chunkarr {__version__}")
        context.exit()


@click.group(cls=Commands, no_args_is_help=False, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, expose_value=False, is_eager=True, callback=_print_version, help="Say which.")
def chunkarr() -> None:
    """NumPy for arrays larger than memory.

    \b
    chunkarr info scan.npy
    chunkarr convert scan.raw scan.zarr --dtype '>u2' --shape=-1,2048,2048 --offset 512
    chunkarr demo --size 1GiB --memory 128MiB
    """  # noqa: D301  # click keeps the lines of a paragraph after a backspace character


@contextmanager
def _signals(caught: list[int]) -> Iterator[None]:
    """Turn SIGINT and SIGTERM into KeyboardInterrupt and note which it was."""

    def stop(number: int, _frame: FrameType | None) -> None:
        caught.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():  # where Python allows no handlers
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _settings(arguments: Sequence[str]) -> Iterator[None]:
    """Parse files that a C library parses in a child process, unless the setting says otherwise; show progress."""
    from chunkarr.settings import config

    told = config.get("isolate") is not None or os.name != "posix"
    with nullcontext() if told else config.set(isolate=True), config.set(progress="--quiet" not in arguments):
        yield


def _as_flags(text: str) -> str:
    """Return an error's text with keywords of Python as options of the command line.

    >>> _as_flags('give overwrite=True, stack=0 or partial="drop"')
    'give --overwrite, --stack 0 or --partial drop'
    """
    from chunkarr.cli.formats import WORDS

    jobs = ("overwrite", "resume", "stack", "concat", "block", "rtol", "atol", "axis", "column", "descending")
    names = "|".join((*WORDS, *jobs))
    text = OPTIONS.sub("--option", MEMORY.sub(r"--memory \1\2", text))
    keyword = re.compile(rf'(?<![\w/.-])({names})=(?:True\b|"([^"]*)"|(-?\d+(?:\.\d+)?\b)|(?=[ ,;)]|$))')
    return keyword.sub(_as_flag, text)


def _as_flag(match: re.Match[str]) -> str:
    value = match[2] if match[2] is not None else match[3]
    return f"--{match[1].replace('_', '-')}" + (f" {value}" if value is not None else "")


def _one_line(error: BaseException) -> str:
    """Return what an error says with its notes on one line; its class too where chunkarr did not word it."""
    from chunkarr.errors import ChunkarrError

    known = isinstance(error, ChunkarrError | OSError | click.ClickException)
    text = str(error.format_message() if isinstance(error, click.ClickException) else error)
    if isinstance(error, OSError) and error.strerror:
        names = [str(name) for name in (error.filename, error.filename2) if name is not None]
        text = ": ".join([" -> ".join(names), error.strerror] if names else [error.strerror])
    words = [text or type(error).__name__, *getattr(error, "__notes__", ())]
    line = _as_flags("; ".join(" ".join(word.split()) for word in words))
    return line if known else f"{type(error).__name__}: {line}"


def _code(error: Exception) -> int:
    """Return the exit code of an error: an option that is not known or cannot be is wrong usage."""
    from chunkarr.errors import OptionError

    return USAGE if isinstance(error, OptionError) else FAILED


def _interrupted(error: BaseException) -> str:
    """Return what is said of an interrupt: the notes say what is left."""
    return "; ".join(["interrupted", *(_as_flags(note) for note in getattr(error, "__notes__", ()))])


def _say(text: str) -> None:
    """Print a line on stderr."""
    click.echo(f"chunkarr: {text}", err=True)


def _warn(message: Warning | str, *_where: Any, **_more: Any) -> None:
    """Print a warning as one line."""
    _say(f"warning: {' '.join(str(message).split())}")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors are one line on stderr.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line after the program's name; of this process if not given.

    Examples
    --------
    >>> run(["--version"])  # doctest: +ELLIPSIS
    chunkarr ...
    0
    """
    caught: list[int] = []
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    with _signals(caught), warnings.catch_warnings(), _settings(arguments):
        warnings.showwarning = _warn
        try:
            # Not `chunkarr.main`: it prints an empty line for a KeyboardInterrupt.
            with chunkarr.make_context("chunkarr", arguments) as context:
                chunkarr.invoke(context)
            sys.stdout.flush()
        except click.exceptions.Exit as error:  # --help and --version
            return error.exit_code
        except (KeyboardInterrupt, click.Abort) as error:
            _say(_interrupted(error))
            return SIGNALLED + (caught[0] if caught else signal.SIGINT)
        except click.UsageError as error:
            path = error.ctx.command_path if error.ctx else "chunkarr"
            _say(f"error: {_one_line(error)} (see {path} --help)")
            return USAGE
        except BrokenPipeError:  # who reads our output has enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        except Exception as error:  # noqa: BLE001  # the user gets a line, never a traceback
            if caught:
                _say(_interrupted(error))
                return SIGNALLED + caught[0]
            cause, code = (error.__cause__, error.code) if isinstance(error, FailedError) else (None, _code(error))
            _say(f"error: {_one_line(cause or error)}")
            return code
    return DONE


def main() -> None:
    """Run the command that this process was started with, and exit."""
    sys.exit(run())
