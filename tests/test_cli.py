"""The commands: what they print, write and return; errors are one line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import click.testing
import numpy as np
import pytest

from chunkarr import settings
from chunkarr.cli import run
from chunkarr.cli.table import COMMANDS


@pytest.fixture
def command(capsys):
    """Return what runs one command line in this process: (exit code, stdout, stderr)."""

    def call(*arguments):
        code = run.run([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


@pytest.fixture
def stack(tmp_path):
    """Return the path of an npy file and its values, shape (6, 5, 4)."""
    values = np.random.default_rng(0).integers(0, 4096, (6, 5, 4)).astype("<u2")
    np.save(tmp_path / "stack.npy", values)
    return str(tmp_path / "stack.npy"), values


def start(*arguments, **options):
    """Start the program in a child process, outside the checkout."""
    command = [sys.executable, "-P", "-c", "from chunkarr.cli import main; main()", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=os.path.sep, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def assert_error(result, code, *words):
    """Check the exit code and that stderr is one line with these words and stdout is empty."""
    assert result[0] == code
    assert result[1] == ""
    lines = result[2].splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("chunkarr: error: ")
    for word in words:
        assert word in lines[0]


def test_help_names_every_command(command):
    code, out, _ = command("--help")
    assert code == 0
    for row in COMMANDS:
        assert row.name in out
        assert row.summary in out


@pytest.mark.parametrize("row", COMMANDS, ids=lambda row: row.name)
def test_every_command_explains_itself(command, row):
    code, out, err = command(row.name, "--help")
    assert (code, err) == (0, "")
    assert out.startswith(f"Usage: chunkarr {row.name}")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "command"),
        (["frobnicate"], "frobnicate"),
        (["convrt"], "did you mean 'convert'?"),
        (["convert"], "TARGET"),
        (["info"], "SOURCE"),
        (["info", "x.npy", "--nope"], "--nope"),
        (["head", "x.npy", "-n", "-1"], "-1"),
        (["convert", "a.npy"], "TARGET"),
        (["convert", "a.npy", "b.npy", "--memory", "much"], "much"),
        (["convert", "a.npy", "b.npy", "--chunks", "1,x"], "1,x"),
        (["convert", "a.npy", "b.npy", "--astype", "float31"], "float31"),
        (["convert", "a.npy", "b.npy", "--astype", "O"], "objects"),
    ],
)
def test_wrong_usage_is_two(command, arguments, word):
    assert_error(command(*arguments), 2, word, "--help")


def test_info_says_what_a_file_holds(command, stack):
    path, values = stack
    code, out, err = command("info", path)
    assert (code, err) == (0, "")
    assert "6 × 5 × 4" in out
    assert "npy" in out
    record = json.loads(command("info", path, "--json")[1])
    assert record["shape"] == [6, 5, 4]
    assert record["dtype"] == "<u2"
    assert record["nbytes"] == values.nbytes
    assert record["format"] == "npy"
    assert record["chunks"] is None


def test_info_of_raw_records(command, tmp_path):
    (tmp_path / "a.raw").write_bytes(bytes(16 + 2 * 30))
    code, out, _ = command("info", tmp_path / "a.raw", "--dtype", ">u2", "--shape=-1,5", "--offset", 16, "--json")
    assert code == 0
    record = json.loads(out)
    assert (record["shape"], record["dtype"], record["format"]) == ([6, 5], ">u2", "raw")


def test_info_lists_what_a_file_of_several_arrays_holds(command, tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, counts=np.zeros((3, 4), "u2"), t=np.zeros(3))
    code, out, _ = command("info", path)
    assert code == 0
    assert "2 members" in out
    assert "counts  3 × 4 uint16" in out
    record = json.loads(command("info", path, "--json")[1])
    assert record["members"][1] == {"name": "t", "shape": [3], "dtype": "<f8", "note": record["members"][1]["note"]}
    assert json.loads(command("info", f"{path}::t", "--json")[1])["shape"] == [3]
    np.savez(path, t=np.zeros(3))
    assert json.loads(command("info", path, "--json")[1])["shape"] == [3]


def test_info_of_records_in_json(command, tmp_path):
    np.save(tmp_path / "r.npy", np.zeros(3, [("x", "<f8"), ("n", ">i4")]))
    record = json.loads(command("info", tmp_path / "r.npy", "--json")[1])
    assert record["dtype"] == [["x", "<f8"], ["n", ">i4"]]


def test_head_prints_the_first_rows(command, stack):
    path, values = stack
    code, out, err = command("head", path, "-n", 2)
    assert (code, err) == (0, "")
    assert out == f"{values[:2]}\n... 4 more of 6\n"
    assert command("head", path, "-n", 6)[1] == f"{values}\n"


@pytest.mark.parametrize("suffix", ["npy", "zarr", "h5", "raw"])
def test_convert_there_and_back(command, stack, tmp_path, suffix):
    path, values = stack
    there, back = tmp_path / f"there.{suffix}", tmp_path / "back.npy"
    assert command("convert", path, there)[0] == 0
    raw = ["--dtype", "<u2", "--shape=-1,5,4"] if suffix == "raw" else []
    code, out, err = command("convert", there, back, *raw)
    assert (code, err) == (0, "")
    assert "6 × 5 × 4 uint16" in out
    np.testing.assert_array_equal(np.load(back), values)
    assert sorted(os.listdir(tmp_path)) == sorted(["stack.npy", there.name, "back.npy"])


def test_convert_chunks_and_type(command, stack, tmp_path):
    path, values = stack
    target = tmp_path / "t.zarr"
    code, out, _ = command("convert", path, target, "--chunks", "2,5,4", "--astype", "f4", "--json")
    assert code == 0
    report = json.loads(out)
    assert report["dtype"] == "float32"
    assert report["nbytes"] == values.size * 4
    assert 0 < report["memory"] <= report["budget"]
    assert report["stored"] > 0
    assert json.loads(command("info", target, "--json")[1])["chunks"] == [2, 5, 4]
    assert command("convert", path, tmp_path / "u.npy", "--dtype", "f8")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "u.npy"), values.astype("f8"))


def test_a_dry_run_writes_nothing(command, stack, tmp_path):
    path, _ = stack
    code, out, _ = command("convert", path, tmp_path / "t.zarr", "--dry-run")
    assert code == 0
    assert "would read" in out
    assert os.listdir(tmp_path) == ["stack.npy"]
    assert_error(command("convert", path, path, "--dry-run"), 1, path, "exists")


def test_quiet_is_quiet(command, stack, tmp_path):
    assert command("convert", stack[0], tmp_path / "t.zarr", "--quiet") == (0, "", "")


def test_a_target_is_replaced_only_on_request(command, stack, tmp_path):
    path, values = stack
    np.save(tmp_path / "t.npy", np.zeros(3))
    assert_error(command("convert", path, tmp_path / "t.npy"), 1, "t.npy", "--overwrite")
    assert np.load(tmp_path / "t.npy").shape == (3,)
    assert command("convert", path, tmp_path / "t.npy", "--overwrite")[0] == 0
    np.testing.assert_array_equal(np.load(tmp_path / "t.npy"), values)


def test_bad_input_is_one_line(command, tmp_path):
    (tmp_path / "bad.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00{'descr'")
    assert_error(command("info", tmp_path / "bad.npy"), 1, "bad.npy")
    assert_error(command("info", tmp_path / "none.npy"), 1, "none.npy", "No such file")
    assert_error(command("convert", tmp_path / "bad.npy", tmp_path / "t.zarr"), 1, "bad.npy")
    assert_error(command("info", tmp_path / "bad.npy", "--shape", "3"), 2, "shape")
    assert os.listdir(tmp_path) == ["bad.npy"]


@pytest.mark.parametrize("name", ["t.npy", "t.zarr", "t.h5", "t.csv", "t.mat", "t.npz"])
def test_a_folder_that_is_not_there_is_named(command, stack, tmp_path, name):
    """The error named a hidden sibling that nobody had asked for."""
    for more in ([], ["--dry-run"]):
        line = command("convert", stack[0], tmp_path / "none" / name, *more)
        assert_error(line, 1, f"{tmp_path / 'none'}: there is no such directory")
    assert os.listdir(tmp_path) == ["stack.npy"]


@pytest.mark.parametrize(
    "arguments", [["digest", "none"], ["diff", "none", "none"], ["verify", "none"], ["info", "none"]]
)
def test_a_name_without_a_suffix_that_is_not_there(command, arguments):
    """It was said to be of no known format."""
    code, out, err = command(*arguments)
    assert (code, out) == (4 if arguments[0] == "diff" else 1, "")
    assert "none: No such file or directory" in err
    assert "none: is not there" in command("recover", "none")[1]


def test_errors_name_options_as_flags(command, stack, tmp_path):
    """Some advised `chunkarr.config.set(memory="1 MiB")`, partial="drop" or options=."""
    line = command("convert", stack[0], tmp_path / "t.zarr", "--memory", "10B")
    advice = line[2].partition("raise it with ")[2].split()
    assert advice[0] == "--memory"
    assert command("convert", stack[0], tmp_path / "t.zarr", *advice[:2])[0] == 0
    (tmp_path / "a.raw").write_bytes(bytes(7))
    assert_error(command("info", tmp_path / "a.raw", "--dtype", "u2"), 1, "--partial drop")
    assert_error(command("rechunk", stack[0], tmp_path / "t.npy", "--chunks", "1,1,1"), 2, "goes into --option")
    code, out, err = command("convert", stack[0], tmp_path / "t.xyz")
    assert (code, out) == (1, "")
    assert "of no known format" in err
    assert len(err) < 500 + len(str(tmp_path))


def test_info_lists_what_a_group_holds(command, stack, tmp_path):
    """It was refused, where that of an HDF5 file was listed."""
    target = tmp_path / "all.zarr"
    assert command("convert", stack[0], f"{target}::run/x")[0] == 0
    assert "run/x  6 × 5 × 4 uint16" in command("info", target)[1]
    assert json.loads(command("info", target, "--json")[1])["members"][0]["name"] == "run/x"
    assert json.loads(command("info", f"{target}::run/x", "--json")[1])["shape"] == [6, 5, 4]


def test_work_that_cannot_fit_is_refused(command, stack, tmp_path):
    assert_error(command("convert", stack[0], tmp_path / "t.zarr", "--memory", "10B"), 1, "10 B")
    assert os.listdir(tmp_path) == ["stack.npy"]


def test_a_defect_is_one_line_too(command, stack, monkeypatch):
    def broken(*_arguments, **_options):
        raise RuntimeError("first\nsecond")

    monkeypatch.setattr("chunkarr.formats.table.open_stored", broken)
    assert_error(command("info", stack[0]), 1, "RuntimeError: first second")


def least_seconds(command, bytecode):
    """Return the shortest of three times that a child process takes; the first one leaves its bytecode."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPYCACHEPREFIX"] = str(bytecode)
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run(command, cwd=os.path.sep, env=environment, stdout=subprocess.DEVNULL, check=True, timeout=60)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


@pytest.mark.parametrize("arguments", [["--help"], ["info"]], ids=["help", "info"])
def test_answers_at_once(stack, arguments, tmp_path):
    """The aim is 0.25 s; machines that run tests are busy, so the yardstick is importing NumPy just now."""
    arguments = [*arguments, stack[0]] if arguments == ["info"] else arguments
    yardstick = least_seconds([sys.executable, "-P", "-c", "import numpy"], tmp_path)
    ours = least_seconds([sys.executable, "-P", "-c", "from chunkarr.cli import main; main()", *arguments], tmp_path)
    assert ours < max(0.25, 4 * yardstick)


@pytest.mark.parametrize("arguments", [["info"], ["head", "-n", "2"]])
def test_reading_a_file_loads_only_what_it_needs(stack, arguments):
    code = "import sys; from chunkarr.cli.run import run; run(sys.argv[1:]); print(*sorted(sys.modules))"
    child = subprocess.run(
        [sys.executable, "-P", "-c", code, *arguments, stack[0]], cwd=os.path.sep, capture_output=True, text=True,
        check=True, timeout=60,
    )  # fmt: skip
    heavy = {"zarr", "h5py", "scipy", "tqdm", "pandas"} | ({"dask"} if arguments == ["info"] else set())
    assert not heavy & set(child.stdout.splitlines()[-1].split())


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_stops_within_two_seconds_and_leaves_nothing(tmp_path, number, code):
    size = 3 * 2**30  # a hole: takes no disk, but seconds to convert
    with open(tmp_path / "big.raw", "wb") as file:
        file.truncate(size)
    options = ["--dtype", "u1", "--shape=-1,1048576", "--memory", "64MiB", "--codec", "zstd"]
    with start("convert", tmp_path / "big.raw", tmp_path / "t.zarr", *options) as child:
        deadline = time.monotonic() + 30
        while sum(len(names) for _, _, names in os.walk(tmp_path)) < 4:  # until chunks are being written
            assert child.poll() is None, child.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert child.poll() is None, "finished before it could be stopped"
        began = time.monotonic()
        child.send_signal(number)
        out, err = child.communicate(timeout=30)
    assert time.monotonic() - began < 2
    assert child.returncode == code
    assert (out, err) == ("", "chunkarr: interrupted\n")
    assert os.listdir(tmp_path) == ["big.raw"]


def test_a_reader_that_has_enough_is_no_error(stack):
    with start("head", stack[0]) as child:
        child.stdout.close()
        assert child.stderr.read() == ""


@pytest.mark.filterwarnings("default")
def test_warnings_are_lines(command, tmp_path):
    np.save(tmp_path / "nan.npy", np.array([np.nan]))
    code, _, err = command("convert", tmp_path / "nan.npy", tmp_path / "t.npy", "--astype", "u1")
    assert code == 0
    assert err.startswith("chunkarr: warning: ")
    assert len(err.splitlines()) == 1


def test_options_do_not_outlive_the_command(command, stack):
    before = settings.budget()
    command("head", stack[0], "--memory", "64MiB")
    assert settings.budget() == before


def test_the_group_is_a_click_command(stack):
    result = click.testing.CliRunner().invoke(run.chunkarr, ["info", stack[0]])
    assert result.exit_code == 0
    assert "uint16" in result.output


def test_demo_checks_itself_and_draws(tmp_path):
    arguments = ["--size", "4MiB", "--memory", "32MiB", "--picture", tmp_path / "p.png"]
    with start("demo", *arguments, env=os.environ | {"TMPDIR": str(tmp_path)}) as child:
        out, err = child.communicate(timeout=60)
    assert (child.returncode, err) == (0, "")
    assert out.count("checked: ") == 4
    assert "peak of anonymous memory" in out
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == ["p.png"]
