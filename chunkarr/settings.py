"""What the user sets: the memory budget, workers, scratch directory, durability, progress.

Values come, first match wins, from ``config.set``, from the environment (``CHUNKARR_MEMORY``, read
when chunkarr is imported), from YAML files in ``~/.config/chunkarr``, from what the machine and its
control group allow.
"""

from __future__ import annotations

import math
import os
import re
import tempfile
import threading
from collections.abc import Iterator
from functools import cache
from typing import Any

import donfig

from chunkarr.errors import OptionError

__all__ = [
    "Settings",
    "budget",
    "config",
    "durability",
    "enough",
    "format_bytes",
    "isolate",
    "keep",
    "parse_bytes",
    "scratch_directory",
    "workers",
]

DEFAULTS: dict[str, Any] = {
    "memory": None,  # bytes that chunkarr's work may add to each process; None: a quarter of what is free
    "workers": None,  # threads that compute; None: the cores this process may use
    "scratch": None,  # directory of temporary files; None: `chunkarr` in the system's temporary directory
    "durability": "full",  # "full": outputs survive power loss; "process": they survive a killed process
    "isolate": None,  # True: files that a C library parses are parsed in a child process; None: by commands only
    "progress": False,  # True: show bytes, rate and time left on stderr when that is a terminal
}

UNITS = {"": 1, "B": 1} | {
    f"{letter}{suffix}": base**power
    for power, letter in enumerate("KMGTPE", start=1)
    for suffix, base in (("iB", 1024), ("B", 1000))
}
UNKNOWN_MACHINE = 4 * 2**30  # bytes assumed free where the system does not tell


def parse_bytes(value: str | int) -> int:
    """Return a number of bytes, given as an integer or as text with a unit.

    Parameters
    ----------
    value : str or int
        ``1024``, ``"1024"``, ``"64 MiB"``, ``"1.5GB"``: powers of 1024 with ``i``, of 1000 without.

    Raises
    ------
    OptionError
        If it is anything else, zero or negative, or not a whole number of bytes.

    Examples
    --------
    >>> parse_bytes("2GiB"), parse_bytes("1.5 kB"), parse_bytes(4096)
    (2147483648, 1500, 4096)
    """
    number: float
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and (match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([A-Za-z]*)", value.strip())):
        digits, unit = match.groups()
        scale = UNITS.get("KB" if unit == "kB" else unit)
        if scale is None:
            raise OptionError(f"{value!r} has the unit {unit!r}; known are {', '.join(u for u in UNITS if u)}")
        number = int(digits) * scale if digits.isdigit() else float(digits) * scale
    else:
        raise OptionError(f'{value!r} is not a number of bytes; write for example 268435456 or "256MiB"')
    if not 1 <= number < 2**63 or number != int(number):
        raise OptionError(f"{value!r} is not a whole number of bytes between 1 and 2**63 - 1")
    return int(number)


def format_bytes(number: int) -> str:
    """Return ``number`` bytes in the largest binary unit that leaves at least one.

    Examples
    --------
    >>> format_bytes(268435456), format_bytes(1536), format_bytes(7)
    ('256 MiB', '1.5 KiB', '7 B')
    """
    if abs(number) < 1024:
        return f"{number} B"
    power = min(int(math.log2(abs(number))) // 10, 6)
    value = number / 1024**power
    return f"{value:.{0 if value == int(value) else 1}f} {'KMGTPE'[power - 1]}iB"


def enough(number: int) -> str:
    """Return ``number`` bytes rounded up to a whole binary unit, as a setting that is accepted.

    Examples
    --------
    >>> enough(14_575_207), enough(1100), enough(7)
    ('14 MiB', '2 KiB', '7 B')
    """
    power = min(max(number.bit_length() - 1, 0) // 10, 6)
    unit = "B" if power == 0 else f"{'KMGTPE'[power - 1]}iB"
    return f"{-(-number // 1024**power)} {unit}"


def _check(key: str, value: object) -> None:
    """Raise OptionError if ``value`` is nothing that ``key`` can be set to."""
    if key not in DEFAULTS:
        raise OptionError(f"there is no setting {key!r}; the settings are {', '.join(DEFAULTS)}")
    if key == "memory" and value is not None:
        if not isinstance(value, str | int):
            raise OptionError(f"memory must be a number of bytes, is {value!r}")
        parse_bytes(value)
    elif key == "workers" and value is not None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise OptionError(f"workers must be an integer >= 1, is {value!r}")
    elif key == "scratch" and not isinstance(value, str | os.PathLike | None):
        raise OptionError(f"scratch must be the path of a directory, is {value!r}")
    elif key == "durability" and value not in ("full", "process"):
        raise OptionError(f"durability must be 'full' or 'process', is {value!r}")
    elif key == "isolate" and value not in (True, False, None):
        raise OptionError(f"isolate must be True or False, is {value!r}")
    elif key == "progress" and value not in (True, False):
        raise OptionError(f"progress must be True or False, is {value!r}")


class Settings(donfig.Config):  # type: ignore[misc]  # donfig ships no types
    """The settings of this process; every value is checked when it is set.

    Examples
    --------
    >>> import chunkarr
    >>> with chunkarr.config.set(memory="64MiB"):
    ...     chunkarr.config.get("memory")
    '64MiB'

    Without ``with`` a value stays for the rest of the process: ``chunkarr.config.set(workers=4)``.
    """

    def set(self, arg: dict[str, Any] | None = None, **kwargs: Any) -> Any:
        """Set values, for a ``with`` block or for good.

        Raises
        ------
        OptionError
            If a name is not a setting or a value not one that it takes; nothing is set then.
        """
        for key, value in {**(arg or {}), **kwargs}.items():
            _check(key, value)
        return super().set(arg, **kwargs)


config = Settings("chunkarr", defaults=[DEFAULTS])


def _setting(key: str) -> Any:
    """Return a setting; what the environment or a file say is checked here, at first use."""
    value = config.get(key)
    _check(key, value)
    return value


_kept = 0  # bytes held between statements, by all batches
_keeping = threading.Lock()


def budget() -> int:
    """Return the bytes that chunkarr's work may add to this process, besides what batches keep."""
    value = _setting("memory")
    return max(1, (default_budget() if value is None else parse_bytes(value)) - _kept)


def keep(nbytes: int) -> None:
    """Count bytes that stay held between statements (negative: given back); so much less is left for other work."""
    global _kept  # noqa: PLW0603 - the budget is the process's
    with _keeping:
        _kept += nbytes


def workers() -> int:
    """Return the number of threads that compute."""
    value = _setting("workers")
    return usable_cores() if value is None else int(value)


def scratch_directory() -> str:
    """Return the directory for temporary files; it need not exist yet."""
    value = _setting("scratch")
    return os.path.join(tempfile.gettempdir(), "chunkarr") if value is None else os.path.abspath(os.fspath(value))


def durability() -> str:
    """Return ``"full"`` or ``"process"``: what finished outputs survive."""
    return str(_setting("durability"))


def isolate() -> bool:
    """Say whether files that a C library parses (HDF5) are parsed in a child process of its own."""
    return bool(_setting("isolate"))


@cache
def default_budget() -> int:
    """Return a quarter of the memory that was free when this was first asked, in bytes.

    Free is what the machine has available, or less if a control group allows less.
    """
    free = min((n for n in (machine_memory(), group_memory()) if n is not None), default=UNKNOWN_MACHINE)
    return max(free // 4, 1)


@cache
def usable_cores() -> int:
    """Return the cores that this process may use: affinity and the control group's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    quota = group_cores()
    return max(1, cores if quota is None else min(cores, math.ceil(quota)))


def machine_memory(root: str = "/") -> int | None:
    """Return the bytes that the machine has available, or None if it does not tell."""
    for line in _lines(os.path.join(root, "proc/meminfo")):
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def group_memory(root: str = "/") -> int | None:
    """Return the smallest memory limit of this process's control groups in bytes, or None."""
    limits = [
        int(text)
        for folder, version in _group_folders(root, "memory")
        for text in _lines(os.path.join(folder, "memory.max" if version == 2 else "memory.limit_in_bytes"))
        if text.isdigit()
    ]
    return min((n for n in limits if n < 2**60), default=None)  # v1 writes almost 2**63 for "no limit"


def group_cores(root: str = "/") -> float | None:
    """Return the smallest processor quota of this process's control groups in cores, or None."""
    quotas = []
    for folder, version in _group_folders(root, "cpu"):
        if version == 2:
            words = " ".join(_lines(os.path.join(folder, "cpu.max"))).split()
        else:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            words = [line for name in names for line in _lines(os.path.join(folder, name))]
        if len(words) == 2 and words[0].isdigit() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def _group_folders(root: str, controller: str) -> Iterator[tuple[str, int]]:
    """Yield (folder, version) of each control group that holds this process, with its parents.

    A line of /proc/self/cgroup is ``id:controllers:path``; version 2 has id 0 and no controllers. In a
    container the path may lie outside what is mounted, where only the mount's own folder is there.
    """
    for line in _lines(os.path.join(root, "proc/self/cgroup")):
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            version, mount = 2, os.path.join(root, "sys/fs/cgroup")
        elif controller in controllers.split(","):
            version, mount = 1, os.path.join(root, "sys/fs/cgroup", controller)
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", "..")]
        for depth in range(len(parts), -1, -1):
            yield os.path.join(mount, *parts[:depth]), version


def _lines(path: str) -> list[str]:
    """Return the stripped lines of a small system file, none if it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return [line.strip() for line in file]
    except OSError:
        return []
