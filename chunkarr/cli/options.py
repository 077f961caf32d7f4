"""Options that several commands take, checked while they are parsed: wrong ones are wrong usage."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, TypeVar

import click

from chunkarr.errors import OptionError
from chunkarr.settings import config, parse_bytes

__all__ = [
    "as_bytes",
    "as_dtype",
    "as_json",
    "as_shape",
    "describe_dtype",
    "job_options",
    "memory_option",
]

Command = TypeVar("Command", bound=Callable[..., Any])


def as_bytes(text: str | int) -> int:
    """Return a number of bytes given with a unit."""
    try:
        return parse_bytes(text)
    except OptionError as error:
        raise click.BadParameter(str(error)) from error


def as_shape(text: str) -> tuple[int, ...]:
    """Return integers given with commas between them; one may be -1 where a size can be worked out.

    Examples
    --------
    >>> as_shape("-1,2048,2048"), as_shape("(7,)")
    ((-1, 2048, 2048), (7,))
    """
    try:
        return tuple(int(word) for word in text.strip("()").rstrip(",").split(","))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is not a shape; write for example 100,2048,2048") from error


def as_dtype(text: str) -> Any:
    """Return a NumPy dtype given by name or as a list of fields; never one of Python objects.

    Examples
    --------
    >>> as_dtype(">u2"), as_dtype("[('x', '<f8')]")
    (dtype('>u2'), dtype([('x', '<f8')]))
    """
    import numpy as np

    try:
        dtype = np.dtype(ast.literal_eval(text) if text.lstrip().startswith(("[", "{")) else text)
    except (TypeError, ValueError, SyntaxError) as error:
        advice = "write for example '>u2' or \"[('x', '<f8')]\""
        raise click.BadParameter(f"{text!r} is not a dtype; {advice}") from error
    if dtype.hasobject:
        raise click.BadParameter(f"{text!r} holds Python objects; chunkarr reads and writes none")
    return dtype


def _set_memory(context: click.Context, _parameter: click.Parameter, value: int | None) -> None:
    """Set the budget until the command ends."""
    if value is not None:
        context.with_resource(config.set(memory=value))


def memory_option(default: str | None = None) -> Callable[[Command], Command]:
    """Return what adds ``--memory``; a value is the budget of the whole command."""
    return click.option(
        "--memory", type=as_bytes, metavar="BYTES", default=default, show_default=default is not None,
        expose_value=False, callback=_set_memory, help="Memory that the work may take, as 512MiB.",
    )  # fmt: skip


def job_options(command: Command) -> Command:
    """Add the options of work from file to file."""
    for option in (
        click.option("--quiet", is_flag=True, help="Print nothing but errors."),
        click.option("--json", "json", is_flag=True, help="Print the report as JSON."),
        click.option("--dry-run", is_flag=True, help="Check and plan, write nothing."),
        click.option("--resume", is_flag=True, help="Go on with what an earlier run left unfinished, if it did."),
        click.option("--overwrite", is_flag=True, help="Replace TARGET if it is there."),
        memory_option(),
    ):
        command = option(command)
    return command


def describe_dtype(dtype: Any) -> Any:
    """Return a dtype as JSON can hold it: NumPy's short name, or its list of fields.

    Examples
    --------
    >>> import numpy as np
    >>> describe_dtype(np.dtype(">u2")), describe_dtype(np.dtype([("x", "<f8")]))
    ('>u2', [('x', '<f8')])
    """
    return dtype.str if dtype.names is None else dtype.descr


def as_json(value: dict[str, Any]) -> str:
    """Return a record as indented JSON."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)
