"""What one field of a text means: the slow way, for samples, for the few fields that are odd, and for errors."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

__all__ = ["GIVEN_TIME", "KINDS", "MISSING", "Words", "kind_of", "merge", "missing_numbers", "parse", "shown"]

KINDS = ("missing", "bool", "int", "float", "complex", "time", "text")  # what a column may hold
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "None", "none")

NAT = np.datetime64("NaT", "s")  # one without a unit is deprecated

_INT = re.compile(r"[+-]?[0-9]+")
_HEX = re.compile(r"[+-]?0[xX][0-9a-fA-F]{1,16}")
_FLOAT = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eEdD][+-]?[0-9]+)?")
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}(-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,18})?)?)?)?Z?|NaT")
# In a column that is known to be of times: years beyond 9999, hours alone; eight digits are no year.
GIVEN_TIME = re.compile(
    r"([0-9]{4}|[+-]?[0-9]{5,})-[0-9]{2}(-[0-9]{2}([T ][0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,18})?)?)?)?)?Z?|NaT"
)
_YEAR = re.compile(r"[+-]?[0-9]{4,}")
_GROUPS = re.compile(r"[0-9]{1,3}(.)[0-9]{3}(?:\1[0-9]{3})*")
_NOT_NUMBERS = {"nan": math.nan, "inf": math.inf, "infinity": math.inf}
# As Microsoft's C library prints them; a # begins no comment there.
_PRINTED = re.compile(r"([+-]?)1\.#(INF|QNAN|SNAN|IND)0*|[+-]?nan\((ind|snan|[0-9]*)\)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Words:
    """How numbers are written besides digits."""

    decimal: str = "."
    thousands: str = ""
    missing: tuple[str, ...] = MISSING
    quote: str = '"'
    encoding: str = "utf-8"

    def text(self, field: bytes) -> str:
        """Return a field as text: without spaces and quotes around it."""
        found = field.decode(self.encoding).strip()
        mark = self.quote
        if mark and len(found) >= 2 and found[0] == found[-1] == mark:
            return found[1:-1].replace(mark + mark, mark)
        return found

    def number(self, text: str) -> str:
        """Return a number as Python writes it: no separators of thousands, a point."""
        text = text.strip()
        if self.thousands and self.thousands in text:
            head = text.lstrip("+-").partition(self.decimal)[0]
            match = _GROUPS.fullmatch(head)
            if match is not None and match[1] == self.thousands:
                text = text.replace(self.thousands, "")
        if self.decimal != "." and "." not in text:
            text = text.replace(self.decimal, ".")
        return text

    def to_float(self, text: str) -> float:
        """Return a field as a double; missing is NaN.

        >>> words = Words(decimal=",")
        >>> words.to_float("1,5"), words.to_float("1.5D3"), words.to_float("-1.#INF"), words.to_float("0x1F")
        (1.5, 1500.0, -inf, 31.0)

        Raises
        ------
        ValueError
            If it is no number.
        """
        if text in self.missing:
            return math.nan
        number = self.number(text)
        if _FLOAT.fullmatch(number):
            return float(number.translate(_EXPONENTS))
        if _HEX.fullmatch(number):
            return float(int(number, 16))
        sign = -1.0 if number.startswith("-") else 1.0
        known = _NOT_NUMBERS.get(number.lstrip("+-").lower()) if len(number) < 11 else None
        if known is not None:
            return sign * known
        if printed := _PRINTED.fullmatch(number):
            return sign * math.inf if (printed[2] or "").upper() == "INF" else math.nan
        raise ValueError(f"{shown(text)} is not a number")

    def to_int(self, text: str) -> int:
        """Return a field as an integer.

        Raises
        ------
        ValueError
            If it is none.
        """
        number = self.number(text)
        if _INT.fullmatch(number) and len(number) < 64:
            return int(number)
        if _HEX.fullmatch(number):
            return int(number, 16)
        raise ValueError(f"{shown(text)} is not an integer")

    def to_complex(self, text: str) -> complex:
        """Return a field as a complex number; missing is NaN.

        Raises
        ------
        ValueError
            If it is none.
        """
        if text in self.missing:
            return complex(math.nan, math.nan)
        number = self.number(text).replace(" ", "").replace("i", "j") if "inf" not in text.lower() else text
        try:
            return complex(number)
        except ValueError:
            try:
                return complex(self.to_float(text))
            except ValueError:
                raise ValueError(f"{shown(text)} is not a complex number") from None

    def to_bool(self, text: str) -> bool:
        """Return a field as a truth value.

        Raises
        ------
        ValueError
            If it is none.
        """
        known = {"true": True, "false": False, "1": True, "0": False}.get(text.lower()) if len(text) < 6 else None
        if known is None:
            raise ValueError(f"{shown(text)} is neither true nor false")
        return known

    def to_time(self, text: str) -> np.datetime64:
        """Return a field as a time; missing is NaT.

        Raises
        ------
        ValueError
            If it is none.
        """
        if text in self.missing:
            return NAT
        if not GIVEN_TIME.fullmatch(text):
            raise ValueError(f"{shown(text)} is not a time like 2024-01-31T12:00:00")
        return NAT if text == "NaT" else np.datetime64(text.removesuffix("Z"))


_EXPONENTS = str.maketrans("dD", "ee")


def shown(text: str) -> str:
    """Return a field as an error shows it: quoted, not too long."""
    return f'"{text[:60]}..."' if len(text) > 60 else f'"{text}"'


def kind_of(text: str, words: Words) -> str:
    """Return what a field may be: the first of `KINDS` that fits.

    >>> [kind_of(t, Words()) for t in ("", "1", "1.", "nan", "(1+2j)", "2024-01-31", "True", "1_000")]
    ['missing', 'int', 'float', 'float', 'complex', 'time', 'bool', 'text']
    """
    if text in words.missing:
        return "missing"
    if text.lower() in ("true", "false"):
        return "bool"
    for kind, convert in (("int", words.to_int), ("float", words.to_float)):
        try:
            convert(text)
        except ValueError:
            continue
        return kind
    if _TIME.fullmatch(text):
        try:
            words.to_time(text)
        except ValueError:
            return "text"
        return "time"
    if text[-1:] in ("j", "i") or text[-2:] in ("j)", "i)"):
        try:
            words.to_complex(text)
        except ValueError:
            return "text"
        return "complex"
    return "text"


def merge(one: str, other: str) -> str:
    """Return what holds fields of both kinds; "" is that of no fields.

    >>> merge("int", "missing"), merge("float", "int"), merge("time", "int"), merge("time", "missing")
    ('float', 'float', 'text', 'time')
    """
    if one == other or not one:
        return other
    pair = {one, other}
    if "missing" in pair:
        other = (pair - {"missing"}).pop()
        return {"int": "float", "bool": "text"}.get(other, other)
    if pair <= {"int", "float", "complex"}:
        return "complex" if "complex" in pair else "float"
    return "text"


@lru_cache(16)
def missing_numbers(words: Words) -> tuple[float, ...]:
    """Return the numbers that words for what is missing would be.

    >>> missing_numbers(Words(missing=("NA", "-999")))
    (-999.0,)
    """
    plain, found = replace(words, missing=()), []
    for text in words.missing:
        with suppress(ValueError):
            found.append(plain.to_float(text))
    return tuple(number for number in found if not math.isnan(number))


def parse(words: Words, text: str, dtype: np.dtype[Any]) -> Any:
    """Return a field as a value that an array of ``dtype`` takes.

    Raises
    ------
    ValueError
        If it has none.
    """
    kind = dtype.kind
    if kind == "f":
        return words.to_float(text)
    if kind in "iu":
        value = words.to_int(text) if text not in words.missing else None
        if value is None:
            raise ValueError(f"{shown(text)} is missing, which an integer cannot be; use a floating dtype")
        limits = np.iinfo(dtype)
        if not limits.min <= value <= limits.max:
            raise ValueError(f"{value} does not fit {dtype}, which holds {limits.min} to {limits.max}")
        return value
    if kind == "c":
        return words.to_complex(text)
    if kind == "b":
        return words.to_bool(text)
    if kind == "M":
        if np.datetime_data(dtype) == ("Y", 1) and _YEAR.fullmatch(text):
            return np.datetime64(text, "Y")
        time = words.to_time(text)
        if not np.isnat(time) and time.astype(dtype) != time:
            raise ValueError(f"{shown(text)} is finer than the unit of {dtype}")
        return time
    if kind == "S":
        return text.encode(words.encoding)
    return text
