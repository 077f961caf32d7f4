"""Texts on the command line, and conversions of them that are killed and go on."""

from __future__ import annotations

import csv
import os
import random
import shlex
import signal
import subprocess
import sys
import textwrap

import numpy as np
import pytest

import chunkarr as ca
from chunkarr.cli import run
from tests.oracle import same


@pytest.fixture
def command(capsys):
    """Return what runs one command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = run.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


GUESSED = {
    "a.csv": "a;b\n1,5;2\n3;4,25\n",
    "b.csv": "n,word\n1,x\n2,y z\n",
    "c.csv": "time,speed\n(s),(m/s)\n1,2\n3,4\n5,6\n",
    "d.txt": " 1 2\n 3  4\n",
    "e.csv": '"1,234","2"\n"5,678","3"\n',
}


@pytest.mark.parametrize("name", GUESSED)
def test_info_prints_the_command_that_does_what_was_guessed(command, tmp_path, name):
    path = tmp_path / name
    path.write_text(GUESSED[name])
    code, out, _ = command("info", path)
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("guessed"))
    words = shlex.split(line.removeprefix("guessed"))
    assert words[:2] == ["chunkarr", "convert"]
    target = tmp_path / "out.zarr"
    code, _, err = command(*[str(target) if word == "OUTPUT" else word for word in words[1:]], "--quiet")
    assert (code, err) == (0, "")
    expected = ca.open(path)
    found = ca.open(target)
    assert found.dtype == expected.dtype
    assert found.compute().tolist() == expected.compute().tolist()


def test_a_bad_field_is_one_line_and_can_be_set_aside(command, tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("1,2\n3,x\n4,5\n")
    code, _, err = command("convert", path, tmp_path / "x.npy", "--dtype", "f8")
    assert code == 1
    assert err.strip() == f'chunkarr: error: {path}:2:2: in column 2: "x" is not a number'
    assert os.listdir(tmp_path) == ["x.csv"]
    code, _, _ = command("convert", path, tmp_path / "x.npy", "--dtype", "f8", "--rejects", tmp_path / "bad.csv")
    assert code == 0
    same(np.load(tmp_path / "x.npy"), np.array([[1.0, 2.0], [4.0, 5.0]]))
    assert (tmp_path / "bad.csv").read_text().splitlines()[-1] == "3,x"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the kill is of POSIX")
@pytest.mark.parametrize("name", ["x.zarr", "x.npy"])
def test_a_killed_conversion_goes_on_where_it_was(tmp_path, name):
    table = np.random.default_rng(0).normal(size=(300_000, 5))
    ca.savetxt(tmp_path / "x.csv", table, fmt=None, delimiter=",")
    code = """
        import os, signal, sys
        import chunkarr as ca
        from chunkarr.engine import resuming
        from chunkarr.formats.text import TextStored
        resuming.BATCH_BYTES = 1 << 18
        read, count = TextStored._read_block, 0

        def counted(*arguments):
            global count
            count += 1
            if count == 28:
                os.kill(os.getpid(), signal.SIGKILL)
            read(*arguments)

        TextStored._read_block = counted
        with ca.config.set(workers=1):
            ca.convert(sys.argv[1], sys.argv[2], resume=True)
    """
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    arguments = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "x.csv"), str(tmp_path / name)]
    assert subprocess.run(arguments, cwd=root, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / name).exists()
    report = ca.convert(tmp_path / "x.csv", tmp_path / name, resume=True)
    assert 0 < report.resumed < table.nbytes
    same(ca.open(tmp_path / name).compute(), table)
    assert sorted(os.listdir(tmp_path)) == ["x.csv", name]


@pytest.mark.parametrize(
    "dtype", [f"{order}M8[{unit}]" for order in "<>" for unit in ("Y", "M", "D", "h", "m", "s", "ns")]
)
def test_times_of_any_unit_and_byte_order_come_back(tmp_path, dtype):
    """NumPy takes the bytes of big-endian times for its own; hours alone and years beyond 9999 were not read."""
    values = np.array([5, "NaT", -7, 9_000], dtype)
    same(ca.save(tmp_path / "t.csv", values), values)
    assert (tmp_path / "t.csv").read_text().split() == values.astype(values.dtype.newbyteorder("=")).astype(
        str
    ).tolist()
    wide = np.stack([values, values], 1)
    same(ca.save(tmp_path / "w.csv.gz", wide), wide)
    table = np.array([(1, v) for v in values], [("n", "i4"), ("t", dtype)])
    same(ca.save(tmp_path / "r.tsv", table), table)


def test_eight_digits_are_no_year(tmp_path):
    (tmp_path / "t.csv").write_text("2024-01-01\n20240102\n")
    with pytest.raises(ca.TextError, match="20240102"):
        ca.open(tmp_path / "t.csv", dtype="M8[D]", header=False)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt"])
@pytest.mark.parametrize("values", [["", "a", "", ""], [["", "a"], ["b", ""]], [["name", "x"], ["a", "b"]], [["", ""]]])
def test_words_come_back(tmp_path, name, values):
    """An empty word alone made a blank line, which is no row; the first row was taken for names."""
    for kind in ("U", "S"):
        words = np.array(values).astype(kind)
        same(ca.save(tmp_path / name, words, overwrite=True), words)
        assert ca.open(tmp_path / name, header=False).size == words.size


@pytest.mark.parametrize("columns", [4_000])
@pytest.mark.parametrize("rows", [1, 3])
def test_rows_longer_than_the_sample(tmp_path, columns, rows):
    """Columns were counted in the part of the first row that the sample had."""
    table = np.random.default_rng(0).normal(size=(rows, columns))
    ca.save(tmp_path / "t.csv", table)
    same(ca.open(tmp_path / "t.csv"), table)
    text = (tmp_path / "t.csv").read_text()
    names = ",".join(f"name {k} of many" for k in range(columns))
    (tmp_path / "t.csv").write_text(f"# one\n# two\n# three\n{names}\n{text}")
    same(ca.open(tmp_path / "t.csv"), table)


def test_any_number_of_lines_is_skipped(tmp_path):
    """All of them, or more than the sample has, were refused."""
    (tmp_path / "t.csv").write_text(f"{'x' * 999}\n" * 100 + "1,2\n3,4")
    same(ca.open(tmp_path / "t.csv", skiprows=100), np.array([[1, 2], [3, 4]]))
    same(ca.open(tmp_path / "t.csv", skiprows=101), np.array([[3, 4]]))
    assert ca.open(tmp_path / "t.csv", skiprows=102).size == 0
    with pytest.raises(ca.OptionError, match="skiprows=103"):
        ca.open(tmp_path / "t.csv", skiprows=103)


@pytest.mark.parametrize("dtype", ["u1", "?", "i4", "f8", "S1"])
def test_small_values_become_text_in_little_memory(tmp_path, dtype):
    """A box had as many bytes of values whatever these were, and small ones a hundred times of that as text."""
    values = np.ones((100_000, 4)).astype("i8").astype(dtype)
    with ca.config.set(memory="24MiB"):
        ca.savetxt(tmp_path / "t.csv", values, fmt=None, delimiter=",", durability="process")
    same(ca.open(tmp_path / "t.csv", header=False, dtype=dtype), values)


def test_savetxt_writes_what_loadtxt_reads(tmp_path):
    """The names were written as Latin-1, which neither NumPy nor chunkarr took them for."""
    ca.savetxt(tmp_path / "t.txt", np.ones((2, 2)), header="größe €")
    assert (tmp_path / "t.txt").read_text(encoding="utf-8").startswith("# größe €\n")
    same(ca.open(tmp_path / "t.txt"), np.ones((2, 2)))


@pytest.mark.parametrize("seed", range(8))
def test_samples_that_begin_within_quotes_tell_nothing(tmp_path, seed):
    """What was quoted was taken for what was not, and columns of numbers and dates for words."""
    chance = random.Random(seed)
    words = ["new\nline", 'a "word"', "it,s", "", "w" * 9]
    rows = [[f"2024-01-{k % 28 + 1:02d}", chance.choice(words), str(k * 7)] for k in range(6_000)]
    with open(tmp_path / "t.csv", "w", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["day", "word", "n"], *rows])
    a = ca.open(tmp_path / "t.csv")
    assert a.dtype == [("day", "M8[D]"), ("word", "U9"), ("n", "i8")]
    assert [list(map(str, row)) for row in a[-3:].compute().tolist()] == rows[-3:]
