"""Options of formats on the command line: one flag for each option that a row of the table of formats takes.

A new row's options are flags at once; the table here says in words what a flag means and how its value is read.
"""

from __future__ import annotations

import ast
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from chunkarr.cli.options import as_shape
from chunkarr.formats.table import FORMATS, Format, format_of_new, row_of, split_member

__all__ = ["WORDS", "Word", "as_value", "deal", "fitting", "format_flags", "pairs", "source_flags", "takes"]

Command = TypeVar("Command", bound=Callable[..., Any])

UNSAID = ("durability", "timeout", "unsafe_inplace", "attributes")  # of programs that change arrays


def as_value(text: str) -> Any:
    """Return what ``text`` says: a number, numbers with commas between them, true, false, none, or itself.

    Examples
    --------
    >>> [as_value(text) for text in ("12", "1,2", "yes", "none", ";", "a b", "1e-3")]
    [12, (1, 2), True, None, ';', 'a b', 0.001]
    """
    simple = {"true": True, "yes": True, "false": False, "no": False, "none": None}
    if text.lower() in simple:
        return simple[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text


def _as_text(text: str) -> str:
    r"""Return text in which ``\t`` stands for a tab, as shells cannot write it.

    >>> _as_text(r"\t"), _as_text(";")
    ('\t', ';')
    """
    return text.replace("\\t", "\t").replace("\\n", "\n")


def _as_columns(text: str) -> Any:
    """Return numbers or names with commas between them.

    >>> _as_columns("0,2"), _as_columns("time,x"), _as_columns("3")
    ((0, 2), ('time', 'x'), (3,))
    """
    words = [word.strip() for word in text.split(",")]
    return tuple(int(word) if word.lstrip("-").isdecimal() else word for word in words)


def _as_words(text: str) -> Any:
    """Return words with commas between them, or the only one.

    >>> _as_words("NA,-999"), _as_words("fill")
    (('NA', '-999'), 'fill')
    """
    return tuple(text.split(",")) if "," in text else text


def _as_record(text: str) -> Any:
    """Return a dtype, which may be said as a structure of C; never one of Python objects.

    >>> _as_record(">u2"), _as_record("struct { int32_t n; double x[2]; };").names
    (dtype('>u2'), ('n', 'x'))
    """
    from chunkarr.errors import OptionError
    from chunkarr.formats.record_types import record_type

    try:
        dtype = record_type(text)
    except OptionError as error:
        raise ValueError(str(error)) from error
    if dtype.hasobject:
        raise ValueError(f"{text!r} holds Python objects; chunkarr reads and writes none")
    return dtype


@dataclass(frozen=True)
class Word:
    """How an option is said on the command line."""

    help: str
    read: Callable[[str], Any] = as_value  # the text after the flag -> the value
    metavar: str = "VALUE"
    target_only: tuple[str, ...] = ()  # values that a target takes and no source does


WORDS: dict[str, Word] = {
    "format": Word("The format of the file, where it does not tell.", str, "NAME"),
    "dtype": Word("Element type; a structure of C too.", _as_record, "DTYPE"),
    "shape": Word("Shape; -1 once for what the file holds.", as_shape, "N,N,..."),
    "offset": Word("Bytes before the first element.", metavar="BYTES"),
    "order": Word("C or F: whether the last or the first axis varies fastest.", str, "C|F"),
    "missing": Word("Words that mean that there is no value; of Zarr what a missing chunk is: fill, error.", _as_words),
    "delimiter": Word("Character between columns, or whitespace.", _as_text, "CHAR"),
    "header": Word("Whether the first row has names; 2: the second one has units.", metavar="BOOL|2"),
    "names": Word("Names of the columns.", _as_columns, "NAME,..."),
    "usecols": Word("Which columns are read, by place or name.", _as_columns, "COLUMN,..."),
    "skiprows": Word("Lines before the header or the first row.", metavar="N"),
    "comments": Word("What begins a comment; empty for none.", _as_text, "CHAR"),
    "quote": Word("Character around fields; empty for none.", _as_text, "CHAR"),
    "decimal": Word("Character before decimals.", _as_text, "CHAR"),
    "thousands": Word("Character between groups of digits.", _as_text, "CHAR"),
    "encoding": Word("Encoding of the text.", str, "NAME"),
    "widths": Word("Bytes of each field, where they are fixed.", _as_columns, "N,N,..."),
    "regexp": Word("Each match is a row, each group a field.", str, "TEXT"),
    "rejects": Word("A file for rows that are not as they should be.", str, "PATH"),
    "fmt": Word("How numbers are written, as %.6g.", str, "TEXT"),
    "newline": Word("What ends a line.", _as_text, "TEXT"),
    "header_text": Word("What is written before the values.", _as_text, "TEXT"),
    "footer_text": Word("What is written behind the values.", _as_text, "TEXT"),
    "layout": Word(
        "Of packed integers, as raw12; of text: matrix or records; of Zarr: columns or records.",
        str,
        target_only=("columns",),
    ),
    "bits": Word("Bits of each sample.", metavar="N"),
    "bitorder": Word("Which bit of a byte comes first: little or big.", str),
    "signed": Word("True: two's complement; offset: offset binary; false: no negative numbers.", metavar="BOOL|offset"),
    "row_stride": Word("Bytes from row to row.", metavar="BYTES"),
    "row_align": Word("Rows begin at multiples of it.", metavar="BYTES"),
    "partial": Word("What becomes of a remainder at the end that is no whole element: error or drop.", str),
    "footer": Word("Bytes after the last element.", metavar="BYTES"),
    "stride": Word("Bytes from one record to the next.", metavar="BYTES"),
    "byteorder": Word("Of the values, instead of what --dtype says: little or big.", str),
    "markers": Word("Bytes of the markers of a sequential Fortran file: 4 or 8.", metavar="BYTES"),
    "record": Word("The one record of such a file that is meant.", metavar="N"),
    "rate": Word("Samples in a second.", metavar="N"),
    "version": Word("Of MATLAB's format: 6, 7 or 7.3.", str),
    "allow_external": Word("Read other files that the file names: true or false.", metavar="BOOL"),
    "chunks": Word("Shape of the chunks.", as_shape, "N,N,..."),
    "shards": Word("Shape of the shards.", as_shape, "N,N,..."),
    "codec": Word("Compression, as blosc-lz4, zstd:3, gzip:1, none.", str),
    "fill_value": Word("Value of elements that were never written."),
    "access": Word("How it will be read: rows, columns or cube.", str),
}


UNKNOWN = Word("An option of the format.")


class Sectioned(click.Command):
    """A command whose help tells its own options from those of formats, which are many."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in two sections."""
        rows = [(p, record) for p in self.get_params(ctx) if (record := p.get_help_record(ctx)) is not None]
        for title, wanted in (("Options", False), ("Options of formats, by what a file is", True)):
            records = [record for p, record in rows if isinstance(p, _FormatFlag) == wanted]
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class _FormatFlag(click.Option):
    """An option that formats take."""


def takes(name: str, *verbs: str) -> list[str]:
    """Return the formats that take an option when they are opened ("open") or created ("create").

    Examples
    --------
    >>> takes("shards", "create")
    ['zarr']
    """
    return [row.name for row in FORMATS if any(name in _names(row, verb) for verb in verbs)]


def _names(row: Format, verb: str) -> tuple[str, ...]:
    names = row.create_options if verb == "create" else row.open_options
    return tuple(name for name in names if name not in UNSAID)


def _flag(name: str, verbs: tuple[str, ...]) -> Callable[[Command], Command]:
    """Return what adds one flag, whose value is read as its word says."""
    word = WORDS.get(name, UNKNOWN)

    def read(_context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        return None if value is None else _read(word, value, parameter)

    text = f"{word.help} ({', '.join(takes(name, *verbs)) or 'any'})"
    return click.option(
        f"--{name.replace('_', '-')}", name, cls=_FormatFlag, metavar=word.metavar, callback=read, help=text
    )


def _read(word: Word, text: str, parameter: click.Parameter) -> Any:
    try:
        return word.read(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param=parameter) from error


def pairs(_context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, Any]:
    """Return texts of the form ``name=value`` as a mapping."""
    found = {}
    for text in texts:
        name, mark, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not mark or not name:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param=parameter)
        found[name] = _read(WORDS.get(name, UNKNOWN), value, parameter)
    return found


def source_flags(command: Command) -> Command:
    """Add a flag for each option of opening, and hand those that were given on as the mapping ``options``."""
    return _flags(command, ("open",), "options")


def format_flags(command: Command) -> Command:
    """Add a flag for each option of opening or creating; they come as the mapping ``given``, see `deal`."""
    return _flags(command, ("open", "create"), "given")


def _flags(command: Command, verbs: tuple[str, ...], known: str) -> Command:
    names = sorted({name for row in FORMATS for verb in verbs for name in _names(row, verb)})
    spelled = {word for option in getattr(command, "__click_params__", ()) for word in option.opts}
    mine = inspect.signature(command).parameters
    names = [name for name in names if name not in mine and f"--{name.replace('_', '-')}" not in spelled]
    names += ["format"] if verbs == ("open",) and "source_format" not in mine else []

    @functools.wraps(command)
    def call(*args: Any, **kwargs: Any) -> Any:
        flags = {name: kwargs.pop(name) for name in names}
        pairs = kwargs.pop("option_pairs")
        return command(*args, **{known: {**{n: v for n, v in flags.items() if v is not None}, **pairs}}, **kwargs)

    text = "Any other option that the format of SOURCE takes."
    decorated: Any = click.option(
        "--option", "option_pairs", metavar="NAME=VALUE", multiple=True, callback=pairs, help=text
    )(call)
    for name in reversed(names):
        decorated = _flag(name, verbs)(decorated)
    return decorated  # type: ignore[no-any-return]


def fitting(source: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of the options that the format of ``source`` takes, where there are several sources."""
    row = row_of(split_member(source)[0], given.get("format"), given)
    return {name: value for name, value in given.items() if name in (*row.open_options, "format")}


def deal(
    source: str,
    source_format: str | None,
    target: str,
    target_format: str | None,
    given: Mapping[str, Any],
    of_target: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the source and those of the target; what both take is of the source.

    ``of_target`` are those that were said to be of the target.
    """
    source_row = row_of(split_member(source)[0], source_format, given)
    target_row = format_of_new(target, target_format)
    options: dict[str, Any] = {}
    layout: dict[str, Any] = {}
    for name, value in given.items():
        theirs = WORDS.get(name, UNKNOWN).target_only
        if name in source_row.open_options and value not in theirs:
            options[name] = value
        elif (target_row is not None and name in target_row.create_options) or name == "dtype":
            layout[name] = value  # the dtype of a source that tells its own: what to convert to
        else:
            which = " and ".join(takes(name, "open", "create")) or "no format"
            kinds = f"SOURCE is {source_row.name}, TARGET {target_row.name if target_row else 'of no known format'}"
            raise click.UsageError(f"--{name.replace('_', '-')} is an option of {which}; {kinds}")
    unknown = sorted(of_target.keys() - set(target_row.create_options)) if target_row is not None else []
    if unknown and target_row is not None:
        known = ", ".join(_names(target_row, "create"))
        raise click.UsageError(f"--target-option {unknown[0]}: {target_row.name} takes {known or 'no options'}")
    return options, layout | dict(of_target)
