"""Settings are checked when they are set, and the default budget respects the machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from chunkarr import settings
from chunkarr.buffers import memory_error
from chunkarr.errors import OptionError


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("512", 512),
        (512, 512),
        ("512B", 512),
        ("64 MiB", 64 * 2**20),
        (" 2GiB ", 2 * 2**30),
        ("1.5KiB", 1536),
        ("1kB", 1000),
        ("1KB", 1000),
        ("0.5GB", 500_000_000),
        ("9223372036854775807", 2**63 - 1),
    ],
)
def test_bytes_with_units(text, number):
    assert settings.parse_bytes(text) == number


@pytest.mark.parametrize(
    "text",
    ["", "MiB", "0", "-1", "1 XB", "1mib", "1e9", "1.3B", "nan", "1_000", "1  GiB", "8EiB", True, -5, 2**63, 1.5],
)
def test_what_is_no_number_of_bytes_is_refused(text):
    with pytest.raises(OptionError, match=r"bytes|unit"):
        settings.parse_bytes(text)


@pytest.mark.parametrize("number", [1, 1023, 1024, 10**6, 2**31, 5 * 2**40, 2**62, 0, 1024**2 - 1])
def test_formatted_bytes_name_a_unit(number):
    text = settings.format_bytes(number)
    assert text.split()[1] in settings.UNITS
    if number:
        assert abs(settings.parse_bytes(f"{number}B") - number) == 0
        assert float(text.split()[0]) * settings.UNITS[text.split()[1]] == pytest.approx(number, rel=0.05)


def test_a_value_can_be_set_for_a_block_or_for_good():
    before = settings.budget()
    with settings.config.set(memory="2GiB", workers=3):
        assert settings.budget() == 2 * 2**30
        assert settings.workers() == 3
        assert settings.config.get("memory") == "2GiB"
        settings.config.set(workers=5)
        assert settings.workers() == 5
    assert settings.budget() == before


@pytest.mark.parametrize(
    "values",
    [
        {"memroy": "1GiB"},
        {"memory": 1.5},
        {"memory": "memory"},
        {"workers": 0},
        {"workers": True},
        {"workers": "2"},
        {"scratch": 3},
        {"durability": "none"},
        {"progress": "yes"},
    ],
)
def test_wrong_settings_are_refused_and_nothing_is_set(values):
    before = dict(settings.config.config)
    with pytest.raises(OptionError, match=next(iter(values))[:5]):
        settings.config.set(**{"durability": "full"} | values)
    with pytest.raises(TypeError):
        settings.config.set(values)
    assert dict(settings.config.config) == before


def test_none_means_the_machines_own_default(tmp_path):
    with settings.config.set(memory=None, workers=None, scratch=None):
        assert settings.budget() == settings.default_budget() > 0
        assert 1 <= settings.workers() <= os.cpu_count()
        assert os.path.basename(settings.scratch_directory()) == "chunkarr"
    with settings.config.set(scratch=tmp_path):
        assert settings.scratch_directory() == str(tmp_path)


def child(code, **environment):
    """Run Python code in a fresh process outside the checkout and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], env=os.environ | environment, cwd=os.path.sep,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return done.stdout.strip() or done.stderr.strip().splitlines()[-1]


def test_the_environment_sets_what_it_names():
    code = "from chunkarr import settings as s; print(s.budget(), s.workers(), s.durability())"
    values = {"CHUNKARR_MEMORY": "3MiB", "CHUNKARR_WORKERS": "7", "CHUNKARR_DURABILITY": "process"}
    assert child(code, **values) == f"{3 * 2**20} 7 process"
    assert "OptionError: workers must be" in child(code, CHUNKARR_WORKERS="many")


def test_a_file_sets_what_it_names(tmp_path):
    (tmp_path / "chunkarr.yaml").write_text("memory: 5MiB\n")
    code = "from chunkarr import settings as s; print(s.budget())"
    assert child(code, CHUNKARR_CONFIG=str(tmp_path)) == str(5 * 2**20)


def machine(root, files):
    """Lay out a file system as the kernel shows it."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_limits_of_control_groups_version_2(tmp_path):
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/user/job\n",
            "proc/meminfo": "MemTotal: 4000 kB\nMemFree: 1 kB\nMemAvailable:    2000 kB\n",
            "sys/fs/cgroup/user/job/memory.max": "max\n",
            "sys/fs/cgroup/user/memory.max": "1048576\n",
            "sys/fs/cgroup/user/job/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/user/cpu.max": "max 100000\n",
        },
    )
    assert settings.machine_memory(root) == 2000 * 1024
    assert settings.group_memory(root) == 2**20
    assert settings.group_cores(root) == 1.5


def test_limits_of_control_groups_version_1_in_a_container(tmp_path):
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "9:name=systemd:/x\n4:memory:/docker/abc\n1:cpu,cpuacct:/docker/abc\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "8388608\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us": "100000\n",
        },
    )
    assert settings.group_memory(root) == 8 * 2**20
    assert settings.group_cores(root) == 0.5


def test_no_limits(tmp_path):
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "4:memory:/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
        },
    )
    assert settings.group_memory(root) is None
    assert settings.group_cores(root) is None
    assert settings.group_memory(str(tmp_path / "nothing")) is None


@pytest.mark.parametrize("needed", [1, 1023, 1025, 14_575_207, 2**40 + 1])
def test_the_budget_that_an_error_names_is_accepted_and_enough(needed):
    message = str(memory_error("the work", needed, 1))
    (named,) = re.findall(r'memory="([^"]+)"', message)
    assert needed <= settings.parse_bytes(named)


def test_the_budget_that_an_error_advises_counts_what_others_hold():
    """With 64 MiB it advised 23, because 48 were held already."""
    with settings.config.set(memory="64MiB"):
        assert 'memory="76 MiB"' in str(memory_error("a cell", 21 << 20, 16 << 20))
        assert 'memory="111 MiB"' in str(memory_error("a cell", 100 << 20, 64 << 20))
