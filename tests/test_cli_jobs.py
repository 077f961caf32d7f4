"""Commands from file to file: several sources, options of formats, growing, reducing."""

from __future__ import annotations

import json

import numpy as np
import pytest

import chunkarr as ca
from chunkarr import progress
from chunkarr.cli import run
from chunkarr.cli.formats import UNSAID, WORDS
from chunkarr.formats import text_index
from chunkarr.formats.table import FORMATS
from tests.oracle import same


@pytest.fixture
def command(capsys, tmp_path, monkeypatch):
    """Return what runs a command line in a folder of its own: (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(line):
        code = run.run(line.split())
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def frames(tmp_path):
    """Make frames in raw files whose natural order is not that of their letters; return the values, shape (3, 4, 5)."""
    values = np.random.default_rng(5).integers(0, 4096, (3, 4, 5)).astype(">u2")
    for number, frame in zip((1, 9, 10), values, strict=True):
        frame.tofile(tmp_path / f"f{number}.raw")
    return values


RAW = "--dtype >u2 --shape 4,5"


@pytest.mark.parametrize(
    ("sources", "how", "expected"),
    [
        ("f*.raw", "--stack", lambda v: v),
        ("--stack f*.raw", "", lambda v: v),
        ("f*.raw", "--stack 1", lambda v: np.stack(v, 1, dtype=v.dtype)),
        ("f*.raw", "--stack -1", lambda v: np.stack(v, -1, dtype=v.dtype)),
        ("f10.raw f1.raw", "--stack", lambda v: v[[2, 0]]),
        (".", "--concat 0", lambda v: v.reshape(12, 5)),
        ("f*.raw", "--concat 1", lambda v: np.concatenate(v, 1, dtype=v.dtype)),
        ("f9.raw", "", lambda v: v[1]),
        ("f9.raw", "--stack", lambda v: v[1:2]),
    ],
)
@pytest.mark.parametrize("target", ["t.npy", "t.zarr"])
def test_several_sources(command, frames, tmp_path, sources, how, expected, target):
    code, out, err = command(f"convert {sources} {target} {how} {RAW}")
    assert (code, err) == (0, "")
    same(ca.open(tmp_path / target), expected(frames))
    assert "->" in out


def test_concat(command, frames, tmp_path):
    assert command(f"concat f*.raw t.npy {RAW} --axis -1 --quiet") == (0, "", "")
    same(ca.open(tmp_path / "t.npy"), np.concatenate(frames, -1, dtype=">u2"))


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("convert f*.raw t.npy " + RAW, 2, ["3 sources", "--stack 0", "--concat 0"]),
        ("convert f*.raw t.npy --stack 0 --concat 0 " + RAW, 2, ["--stack 0", "--concat 0"]),
        ("convert g*.raw t.npy --stack " + RAW, 1, ["g*.raw", "matches"]),
        ("convert f*.raw t.npy --stack 3 " + RAW, 2, ["stack along axis 3", "-3 ... 2"]),
        ("convert f1.raw other.npy t.npy --stack " + RAW, 2, ["other.npy", "does not take"]),
        ("convert f1.raw", 2, ["TARGET"]),
        ("convert folder t.npy", 1, ["folder", "1 of .npy", "1 of .raw"]),
        ("convert other.npy t.npy --shards 3", 2, ["--shards", "zarr"]),
        ("convert other.npy t.npy --option shape", 2, ["NAME=VALUE"]),
        ("convert other.npy t.npy --target-option depth=1", 2, ["depth", "order"]),
        ("convert f1.raw t.npy --append --overwrite " + RAW, 2, ["--append"]),
        ("concat other.npy folder/x.npy t.npy", 1, ["x.npy", "(2,)", "(7, 2)"]),
        ("append other.npy none.npy", 1, ["none.npy", "No such file"]),
        ("append other.npy folder/x.npy", 1, ["(2,)", "(7, 2)"]),
        ("append other.npy other.npy --axis 2", 2, ["axis 2"]),
        ("reduce other.npy t.npy --func frob", 2, ["frob", "nanmean"]),
        ("reduce other.npy t.npy --block 2", 2, ["block", "(7, 2)"]),
        ("reduce other.npy t.npy --block 2,2 --axis 0", 2, ["--block", "--axis"]),
    ],
)
def test_what_cannot_be(command, frames, tmp_path, line, code, words):
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "x.npy", np.zeros(2))
    (tmp_path / "folder" / "y.raw").write_bytes(b"")
    np.save(tmp_path / "other.npy", np.zeros((7, 2)))
    before = sorted(p.name for p in tmp_path.rglob("*"))
    found, out, err = command(line)
    assert (found, out) == (code, "")
    assert len(err.splitlines()) == 1
    for word in words:
        assert word in err
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("target", ["t.npy", "t.zarr", "t.raw", "t.h5"])
def test_append(command, frames, tmp_path, target):
    raw = {"dtype": ">u2", "shape": (-1, 5)} if target == "t.raw" else {}
    assert command(f"convert f1.raw {target} {RAW}")[0] == 0
    plan = json.loads(command(f"append f9.raw f10.raw {target} {RAW} --dry-run --json")[1])
    assert (plan["shape"], plan["sources"], plan["stored"]) == ([12, 5], 2, 0)
    assert 0 < plan["memory"] <= plan["budget"]
    same(ca.open(tmp_path / target, **raw), frames[0])
    code, out, err = command(f"append f9.raw f10.raw {target} {RAW}")
    assert (code, err) == (0, "")
    assert "12 × 5" in out
    same(ca.open(tmp_path / target, **raw), frames.reshape(12, 5))


def test_convert_and_append(command, frames, tmp_path):
    for _ in range(2):  # the first makes it
        assert command(f"convert f*.raw t.zarr --append --stack {RAW} --chunks 2,4,5")[0] == (0 if _ == 0 else 2)
    assert command(f"convert f*.raw t.zarr --append --stack {RAW}")[0] == 0
    same(ca.open(tmp_path / "t.zarr"), np.concatenate([frames, frames], dtype=">u2"))
    assert json.loads(command("info t.zarr --json")[1])["chunks"] == [2, 4, 5]


def test_reduce(command, frames, tmp_path):
    np.save(tmp_path / "a.npy", frames)
    for words, expected in (
        ("--block 1,2,5", frames.reshape(3, 2, 2, 1, 5).mean((2, 4))),
        ("--axis 0 --func max", frames.max(0)),
        ("--axis 1,2 --func median --keepdims", np.median(frames, (1, 2), keepdims=True)),
        ("--func sum", np.asarray(frames.sum())),
        ("--axis 0 --func std --astype f4", frames.std(0).astype("f4")),
    ):
        assert command(f"reduce a.npy t.npy --overwrite {words}")[0] == 0, words
        np.testing.assert_allclose(np.load(tmp_path / "t.npy"), expected, rtol=1e-6)
    assert command(f"reduce f*.raw t.zarr --stack --axis 0 --chunks 2,5 {RAW}")[0] == 0
    np.testing.assert_allclose(ca.open(tmp_path / "t.zarr"), frames.mean(0))


def test_a_dry_run_names_passes_and_memory(command, frames, tmp_path):
    before = sorted(tmp_path.iterdir())
    code, out, _ = command(f"convert f*.raw t.zarr --stack {RAW} --dry-run")
    assert code == 0
    for word in ("f1.raw and 2 more", "3 × 4 × 5", ">u2", "120 B", "1 pass", "of memory planned", "allowed"):
        assert word in out
    assert sorted(tmp_path.iterdir()) == before


def test_options_go_where_they_belong(command, frames, tmp_path):
    """--order describes raw records; of a target it is --target-option order."""
    assert command("convert f1.raw t.npy --dtype >u2 --shape 5,4 --order F --target-option order=F")[0] == 0
    found = np.load(tmp_path / "t.npy")
    assert found.flags.f_contiguous
    np.testing.assert_array_equal(found, frames[0].reshape(-1).reshape(5, 4, order="F"))
    assert command("convert t.npy u.npy --order C --dtype f4")[0] == 0  # of TARGET, as npy takes none when opened
    assert np.load(tmp_path / "u.npy").flags.c_contiguous
    assert np.load(tmp_path / "u.npy").dtype == np.float32
    assert command("convert f1.raw v.npy --option dtype=u1 --option shape=40 --option offset=0")[0] == 0
    assert np.load(tmp_path / "v.npy").shape == (40,)


def test_a_resumed_stack(command, frames, tmp_path):
    assert command(f"convert f*.raw t.npy --stack --resume {RAW}")[0] == 0
    same(ca.open(tmp_path / "t.npy"), frames)


@pytest.mark.parametrize("name", ["info", "convert"])
def test_options_of_all_formats_are_flags(command, name):
    out = command(f"{name} --help")[1]
    for row in FORMATS:
        for option in set(row.open_options) - set(UNSAID):
            assert f"--{option.replace('_', '-')}" in out


def test_every_option_is_said_in_words():
    options = {name for row in FORMATS for name in (*row.open_options, *row.create_options)} - set(UNSAID)
    assert options <= set(WORDS)
    assert set(WORDS) - options == {"format"}


def test_text_on_the_command_line(command, tmp_path):
    (tmp_path / "t.csv").write_text("a;b;c\n1,5;x;3\nNA;y;4\n")
    line = "convert t.csv t.npy --delimiter ; --decimal , --missing NA,none --usecols a,c --dtype f8"
    assert command(line)[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), [[1.5, 3], [np.nan, 4]])
    assert command("convert t.npy t.tsv --delimiter \\t")[0] == 0
    assert (tmp_path / "t.tsv").read_text().splitlines() == ["1.5\t3.0", "nan\t4.0"]


def test_columns_of_a_text_become_arrays_of_a_group(command, tmp_path):
    """Both formats take --layout, and "columns" was said to be none of a text."""
    (tmp_path / "t.csv").write_text("n,name\n1,a\n2,b\n")
    assert command("convert t.csv t.zarr --layout columns")[0] == 0
    np.testing.assert_array_equal(ca.open(tmp_path / "t.zarr::n"), [1, 2])
    assert command("convert t.csv u.zarr --layout records --target-option layout=columns")[0] == 0
    same(ca.open(tmp_path / "u.zarr"), ca.open(tmp_path / "t.zarr").compute())


def test_a_text_of_names_alone_has_no_rows(command, tmp_path):
    """The names were taken for a row of words, which made words of the numbers that were joined with it."""
    for name, rows in (("day1.csv", "1,2.5\n"), ("day2.csv", "")):
        (tmp_path / name).write_text("n,x\n" + rows)
    assert json.loads(command("info day2.csv --json")[1])["shape"] == [0, 2]
    assert command("concat day1.csv day2.csv t.npy")[0] == 0
    same(ca.open(tmp_path / "t.npy"), np.array([[1, 2.5]]))
    (tmp_path / "one.csv").write_text("word\n")
    assert json.loads(command("info one.csv --json")[1])["shape"] == [1]


def test_info_names_the_columns_of_a_matrix(command, tmp_path):
    (tmp_path / "t.csv").write_text("time,x,y\n1,2.5,3\n")
    assert "columns time, x, y\n" in command("info t.csv")[1]
    assert json.loads(command("info t.csv --usecols x,y --json")[1])["columns"] == ["x", "y"]
    (tmp_path / "u.csv").write_text("1,2.5,3\n")
    assert "columns" not in command("info u.csv")[1]


def test_the_rows_of_a_large_text_are_counted_visibly(tmp_path, monkeypatch):
    """Nothing was shown while a text was looked through, for minutes where it is large."""
    heard = []

    class Ear:
        def start(self, total, label):
            heard.append((total, label))

        def advance(self, n):
            heard.append(n)

        def close(self):
            heard.append("closed")

    (tmp_path / "t.csv").write_text("1,2\n" * 1_000_000)
    monkeypatch.setattr(text_index, "SHOWN", 1 << 20)
    monkeypatch.setattr(text_index, "reporter", lambda choice: Ear() if choice else progress.Silent())
    ca.open(tmp_path / "t.csv")
    assert heard == []
    with ca.config.set(progress=True):
        ca.open(tmp_path / "t.csv")
    assert (heard[0], sum(heard[1:-1]), heard[-1]) == ((4_000_000, "rows"), 4_000_000, "closed")


def test_records_said_as_a_structure_of_c(tmp_path, capsys):
    values = np.array([(1, 2.5), (3, 4.5)], [("n", "<i4"), ("x", "<f4")])
    values.tofile(tmp_path / "a.raw")
    arguments = ["convert", str(tmp_path / "a.raw"), str(tmp_path / "a.npy")]
    assert run.run([*arguments, "--dtype", "struct { int32_t n; float x; };"]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), values)
    assert run.run([*arguments, "--dtype", "struct { thing n; };"]) == 2
    assert "thing" in capsys.readouterr().err
