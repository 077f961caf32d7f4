"""File calls: whole or absent, named errors, litter swept and only litter."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chunkarr import fsio
from chunkarr.errors import CorruptChunkError, TargetExistsError, UnsafeInputError
from chunkarr.formats.scratch import ScratchArray

posix = pytest.mark.skipif(os.name == "nt", reason="POSIX locks and links")


def content(path: Path) -> bytes:
    return path.read_bytes()


def make_tree(path: Path, text: bytes) -> str:
    path.mkdir()
    (path / "sub").mkdir()
    (path / "sub" / "x").write_bytes(text)
    return str(path)


# --- bytes ---


@pytest.mark.parametrize("dtype", ["u1", ">i4", "M8[s]", [("a", "u1"), ("b", ">f8")], "S3", "?", "c16"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_bytes_of_is_a_view_of_the_memory(dtype: object, order: str) -> None:
    array = np.zeros((3, 4), dtype, order=order)
    view = fsio.bytes_of(array)
    assert view.nbytes == array.nbytes
    memoryview(view)[:] = b"\x01" * array.nbytes
    assert array.tobytes("A") == b"\x01" * array.nbytes


def test_bytes_of_refuses_gaps() -> None:
    with pytest.raises(ValueError, match="not one block"):
        fsio.bytes_of(np.zeros((4, 4))[:, ::2])


@pytest.mark.parametrize("buffer", [b"", np.zeros((0, 3)), np.zeros(3, "V0"), bytearray()])
def test_nothing_is_written_for_empty_buffers(tmp_path: Path, buffer: object) -> None:
    path = tmp_path / "f"
    fsio.write_new(str(path), buffer, b"ab", buffer)
    assert content(path) == b"ab"


def test_write_and_read_loop_over_short_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite, preadv, writev, write = os.pwrite, os.preadv, os.writev, os.write
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: pwrite(fd, memoryview(data)[:3], at))
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, [memoryview(views[0])[:3]], at))
    monkeypatch.setattr(os, "writev", lambda fd, views: writev(fd, [memoryview(views[0])[:3]]))
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, memoryview(data)[:3]))
    data = np.arange(5, dtype="i4")
    path = str(tmp_path / "f")
    fsio.write_new(path, b"01234567", b"89", data)
    fd = fsio.open_write(path)
    out = np.empty(5, "i4")
    fsio.read_into(fd, out, 10, path)
    np.testing.assert_array_equal(out, data)
    fsio.write_at(fd, data[::-1].copy(), 2)
    fsio.read_into(fd, out, 2, path)
    np.testing.assert_array_equal(out, data[::-1])
    os.close(fd)


def test_calls_work_without_positional_reads_and_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("preadv", "pwrite", "writev", "posix_fallocate"):
        monkeypatch.delattr(os, name, raising=False)
    path = str(tmp_path / "f")
    fd = fsio.open_new(path, 10)
    fsio.write_at(fd, np.arange(4, dtype="u1"), 6, path)
    out = np.empty(4, "u1")
    fsio.read_into(fd, out, 6, path)
    assert out.tolist() == [0, 1, 2, 3]
    os.close(fd)


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    path = str(tmp_path / "short")
    fsio.write_new(path, b"1234")
    fd = fsio.open_read(path)
    with pytest.raises(CorruptChunkError, match=r"short: ends at byte 4, but bytes 2 to 8 were"):
        fsio.read_into(fd, np.empty(6, "u1"), 2, path)
    os.close(fd)


# --- opening ---


@pytest.mark.skipif(not os.path.isdir("/dev/shm"), reason="needs a file system in memory")
def test_in_memory_nothing_is_reserved_and_holes_are_made() -> None:
    with tempfile.TemporaryFile(dir="/dev/shm") as file:
        fsio.calls.reserve(file.fileno(), 1 << 20)
        assert os.fstat(file.fileno()).st_blocks == 0
        with pytest.raises(OSError, match="No space left") as caught:
            fsio.calls.reserve(file.fileno(), 1 << 60)
        assert caught.value.errno == errno.ENOSPC
        page = mmap.PAGESIZE
        file.write(b"x" * 4 * page)
        file.flush()
        fsio.calls.give_back(file.fileno(), [(page, 2 * page), (3 * page, 4 * page)])
        assert os.fstat(file.fileno()).st_blocks == 2 * page // 512
        file.seek(0)
        assert file.read() == (b"x" * page + bytes(page)) * 2


def test_a_file_system_without_a_limit_is_not_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlimited = SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=4096)  # as of tmpfs mounted with size=0
    monkeypatch.setattr(os, "statvfs", lambda _: unlimited)
    monkeypatch.setattr(fsio.calls, "_in_memory", lambda _fd: True)
    assert fsio.calls.free_bytes(str(tmp_path)) is None
    os.close(fsio.open_new(str(tmp_path / "f"), 100_000))
    array = ScratchArray(str(tmp_path), (1000,), "f8", (1000,))
    array.remove()


def test_a_file_on_a_disk_has_no_holes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsio.calls, "_TMPFS", -1)
    path = tmp_path / "f"
    path.write_bytes(b"x" * (1 << 16))
    with path.open("r+b") as file:
        fsio.calls.give_back(file.fileno(), [(0, 1 << 16)])
    assert content(path) == b"x" * (1 << 16)


def test_open_new_reserves_and_never_overwrites(tmp_path: Path) -> None:
    path = str(tmp_path / "f")
    os.close(fsio.open_new(path, 100_000))
    assert os.stat(path).st_size == 100_000
    with pytest.raises(FileExistsError):
        fsio.open_new(path)
    with pytest.raises(FileExistsError):
        fsio.write_new(path, b"x")
    assert os.stat(path).st_size == 100_000


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    path = str(tmp_path / "f")
    monkeypatch.setattr(fsio.calls, "_in_memory", lambda _fd: False)
    for call in ("posix_fallocate", "write", "pwrite"):
        monkeypatch.setattr(os, call, fail)
    for work in (lambda: fsio.open_new(path, 100), lambda: fsio.write_new(path, b"x")):
        with pytest.raises(OSError, match=os.strerror(code)) as caught:
            work()
        assert (caught.value.errno, caught.value.filename) == (code, path)
        assert os.listdir(tmp_path) == []
    fd = fsio.open_new(path)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        fsio.write_at(fd, b"x", 0, path)
    os.close(fd)
    assert caught.value.filename == path


def test_reserving_is_optional(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, "no")

    monkeypatch.setattr(os, "posix_fallocate", fail, raising=False)
    os.close(fsio.open_new(str(tmp_path / "f"), 5))
    assert os.stat(tmp_path / "f").st_size == 5


@posix
def test_links_and_pipes_are_refused_where_asked(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"x")
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(UnsafeInputError, match=r"link: is a symbolic link"):
        fsio.open_read(str(tmp_path / "link"), follow=False)
    os.close(fsio.open_read(str(tmp_path / "link")))
    os.mkfifo(tmp_path / "pipe")
    fd = fsio.open_read(str(tmp_path / "pipe"))  # must not wait for a writer
    with pytest.raises(OSError, match="pipe"):
        fsio.read_into(fd, np.empty(1, "u1"), 0, "pipe")
    os.close(fd)


# --- publishing ---


@pytest.mark.parametrize("durability", ["full", "process"])
@pytest.mark.parametrize("flags", [True, False], ids=["renameat2", "plain"])
@pytest.mark.parametrize("tree", [False, True], ids=["file", "tree"])
def test_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tree: bool, flags: bool, durability: str) -> None:
    if not flags:
        monkeypatch.setattr(fsio.calls, "_LIBC", None)
    final = tmp_path / "a"

    def write(text: bytes) -> str:
        part = fsio.hidden_sibling(str(final))
        return make_tree(Path(part), text) if tree else (Path(part).write_bytes(text), part)[1]

    def read() -> bytes:
        return content(final / "sub" / "x" if tree else final)

    fsio.publish(write(b"one"), str(final), False, durability)
    assert read() == b"one"
    refused = write(b"two")
    with pytest.raises(TargetExistsError, match=r"a: exists already; pass overwrite=True"):
        fsio.publish(refused, str(final), False, durability)
    assert read() == b"one"
    final.chmod(0o750)
    fsio.publish(refused, str(final), True, durability)
    assert read() == b"two"
    assert stat.S_IMODE(final.stat().st_mode) == 0o750
    assert os.listdir(tmp_path) == ["a"]


def test_a_file_does_not_replace_a_directory(tmp_path: Path) -> None:
    make_tree(tmp_path / "a", b"precious")
    (tmp_path / "part").write_bytes(b"new")
    with pytest.raises(TargetExistsError, match="is a directory"):
        fsio.publish(str(tmp_path / "part"), str(tmp_path / "a"), True, "full")
    assert content(tmp_path / "a" / "sub" / "x") == b"precious"


def test_a_tree_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"old")
    part = make_tree(tmp_path / "part", b"new")
    fsio.publish(part, str(tmp_path / "a"), True, "full")
    assert content(tmp_path / "a" / "sub" / "x") == b"new"
    assert os.listdir(tmp_path) == ["a"]


def test_the_old_tree_comes_back_if_the_second_rename_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fsio.calls, "_LIBC", None)
    old, part = make_tree(tmp_path / "a", b"old"), make_tree(tmp_path / "part", b"new")
    rename = os.rename

    def fail(source: str, target: str) -> None:
        if source == part:
            raise OSError(errno.EIO, "broken")
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises(OSError, match="broken"):
        fsio.publish(part, old, True, "full")
    assert content(tmp_path / "a" / "sub" / "x") == b"old"


def test_the_old_tree_comes_back_after_a_kill_between_two_renames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fsio.calls, "_LIBC", None)
    old, part = make_tree(tmp_path / "a", b"old"), make_tree(Path(fsio.hidden_sibling(str(tmp_path / "a"))), b"new")

    class Killed(BaseException):
        pass

    def kill(name: str, call: Any, args: tuple[Any, ...]) -> Any:
        if name == "rename" and not os.path.lexists(old):
            raise Killed
        return call(*args)

    with pytest.raises(Killed), fsio.calls.watched(kill):
        fsio.publish(part, old, True, "full")
    assert not os.path.exists(old)
    assert fsio.restore(old)
    assert content(tmp_path / "a" / "sub" / "x") == b"old"
    assert fsio.sweep(old) == [part]
    assert os.listdir(tmp_path) == ["a"]


@posix
def test_a_link_is_followed_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("far/real")
    part = fsio.hidden_sibling(str(link))
    assert Path(part).parent == tmp_path / "far"
    Path(part).write_bytes(b"new")
    fsio.publish(part, str(link), True, "full")
    assert link.is_symlink()
    assert content(tmp_path / "far" / "real") == b"new"


@pytest.mark.parametrize("flags", [True, False], ids=["renameat2", "plain"])
def test_only_one_of_many_wins_without_overwrite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: bool) -> None:
    if not flags:
        monkeypatch.setattr(fsio.calls, "_LIBC", None)
    final = str(tmp_path / "a")
    outcomes: list[str] = []
    barrier = threading.Barrier(8)

    def race(i: int) -> None:
        part = fsio.hidden_sibling(final)
        Path(part).write_bytes(b"%d" % i)
        barrier.wait()
        try:
            fsio.publish(part, final, False, "process")
            outcomes.append(str(i))
        except TargetExistsError:
            fsio.discard(part)

    threads = [threading.Thread(target=race, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [content(tmp_path / "a").decode()] == outcomes


def test_publish_refuses_an_unknown_durability(tmp_path: Path) -> None:
    (tmp_path / "part").write_bytes(b"")
    with pytest.raises(ValueError, match=r'"full" or "process"'):
        fsio.publish(str(tmp_path / "part"), str(tmp_path / "a"), False, "some")  # type: ignore[arg-type]
    assert os.listdir(tmp_path) == ["part"]


# --- litter ---


@posix
@pytest.mark.parametrize("tree", [False, True], ids=["file", "tree"])
def test_sweep_removes_what_nobody_holds(tmp_path: Path, tree: bool) -> None:
    final = str(tmp_path / "a.npy")
    part, lock = fsio.new_part(final, directory=tree)
    other, other_lock = fsio.new_part(str(tmp_path / "a.npy.b"), directory=tree)
    os.close(other_lock)
    assert fsio.sweep(final) == []
    os.close(lock)
    assert fsio.sweep(final) == [part]
    assert os.listdir(tmp_path) == [os.path.basename(other)]


@posix
def test_the_lock_dies_with_the_process(tmp_path: Path) -> None:
    final = str(tmp_path / "a")
    code = (
        "import sys, time; from chunkarr import fsio; print(fsio.new_part(sys.argv[1])[0], flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, final], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        part = child.stdout.readline().strip()
        assert fsio.sweep(final) == []
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert fsio.sweep(final) == [part]


@posix
def test_a_lock_is_held_once(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"")
    lock = fsio.hold(str(path))
    assert fsio.try_hold(str(path)) is None
    os.close(lock)
    again = fsio.try_hold(str(path))
    assert again is not None
    os.close(again)
    with pytest.raises(FileNotFoundError):
        fsio.hold(str(tmp_path / "absent"))


def test_long_names_have_siblings_that_fit(tmp_path: Path) -> None:
    final = str(tmp_path / ("é" * 120 + ".npy"))
    part, lock = fsio.new_part(final)
    os.close(lock)
    assert len(os.fsencode(os.path.basename(part))) <= 255
    if os.name != "nt":
        assert fsio.sweep(final) == [part]


def test_sweep_and_discard_never_raise(tmp_path: Path) -> None:
    assert fsio.sweep(str(tmp_path / "absent" / "a")) == []
    fsio.discard(str(tmp_path / "absent"))
    fsio.discard(make_tree(tmp_path / "tree", b"x"))
    assert os.listdir(tmp_path) == []


def test_sync_tree_reaches_every_file_and_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = make_tree(tmp_path / "tree", b"x")
    synced = []
    monkeypatch.setattr(fsio.publishing, "sync_file", synced.append)
    fsio.sync_tree(tree)
    assert synced == [os.path.join(tree, "sub", "x"), os.path.join(tree, "sub"), tree]


def test_sync_works_on_this_system(tmp_path: Path) -> None:
    fsio.sync_tree(make_tree(tmp_path / "tree", b"x"))
    with pytest.raises(FileNotFoundError):
        fsio.sync_file(str(tmp_path / "absent"))
