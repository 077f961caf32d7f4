"""Records as text: ctypes says how a C compiler lays structures out."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from chunkarr.errors import OptionError
from chunkarr.formats.record_types import record_type

FIELDS = "uint8_t flag; double energy; short a, b[3]; int32_t n; char name[5]; unsigned char last;"


def structure(pack: int) -> type[ctypes.Structure]:
    fields = [
        ("flag", ctypes.c_uint8), ("energy", ctypes.c_double), ("a", ctypes.c_short), ("b", ctypes.c_short * 3),
        ("n", ctypes.c_int32), ("name", ctypes.c_char * 5), ("last", ctypes.c_ubyte),
    ]  # fmt: skip
    return type("S", (ctypes.Structure,), {"_pack_": pack, "_fields_": fields} if pack else {"_fields_": fields})


@pytest.mark.parametrize(
    ("text", "pack"),
    [
        (f"struct {{ {FIELDS} }};", 0),
        (f"typedef struct s {{ {FIELDS} }} t;", 0),
        (FIELDS, 0),
        (f"packed struct {{ {FIELDS} }}", 1),
        (f"struct {{ {FIELDS} }} __attribute__((packed));", 1),
        (f"#pragma pack(1)\nstruct s {{ // a record\n {FIELDS} /* two\nlines */ }};", 1),
    ],
)
def test_structures_lie_as_compilers_lay_them(text: str, pack: int) -> None:
    found, expected = record_type(text), structure(pack)
    assert found.itemsize == ctypes.sizeof(expected)
    assert {name: found.fields[name][1] for name in found.names} == {
        name: getattr(expected, name).offset for name, _ in expected._fields_
    }
    assert found["b"] == np.dtype(("i2", (3,)))
    assert found["name"] == np.dtype("S5")


def test_structures_within_structures() -> None:
    found = record_type("struct { char tag; struct { float x, y; } corner[2][4]; char words[3][8]; double complex z; }")
    assert found["corner"] == np.dtype(([("x", "f4"), ("y", "f4")], (2, 4)))
    assert found["words"] == np.dtype(("S8", (3,)))
    assert found.fields["z"] == (np.dtype("c16"), 96)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<f8", "<f8"),
        (" >u2 ", ">u2"),
        ("f4, i2", "f4, i2"),
        ("[('a', '<f8'), ('b', 'u1', (2, 3))]", [("a", "<f8"), ("b", "u1", (2, 3))]),
        ('[["a", "<f8"], ["b", [["c", "S3"]], [2]]]', [("a", "<f8"), ("b", [("c", "S3")], (2,))]),
        (
            "{'names': ['a'], 'formats': ['u1'], 'offsets': [4], 'itemsize': 8}",
            {"names": ["a"], "formats": ["u1"], "offsets": [4], "itemsize": 8},
        ),
    ],
)
def test_numpys_ways_to_say_it(text: str, expected: object) -> None:
    assert record_type(text) == np.dtype(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("float99", "not one that NumPy knows"),
        ("struct { long x; }", "4 or 8 bytes: write int32_t or int64_t"),
        ("struct { int *x; }", "no pointers"),
        ("struct { int x : 3; }", "no bit fields"),
        ("struct { int x }", "';' is expected, not '}'"),
        ("struct { int x;", "'}' is expected, not 'its end'"),
        ("struct { }", "at least one field"),
        ("struct { int; }", "type '' is not known"),
        ("struct { int x[n]; }", "the size of x is a number, not 'n'"),
        ("struct { int x; } s; int y;", "'int' comes after"),
        ("struct { char x[99999999999]; }", "not one that NumPy knows|elements"),
        ("struct { int a; int a; }", "not one that NumPy knows"),
        ("[" * 100, "nested deeper than 64"),
        ("[('a',)]", "a field is"),
        ("[__import__('os')]", "not one that NumPy knows"),
        ("u1," * 30000, "at most 65536 are read"),
    ],
)
def test_what_is_no_record_is_refused(text: str, reason: str) -> None:
    with pytest.raises(OptionError, match=reason):
        record_type(text)
