"""The house: what is installed is what is tested, imports are light, names are what modules say."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.metadata
import json
import os
import pkgutil
import subprocess
import sys

import pytest

import chunkarr

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACKAGE = os.path.dirname(os.path.abspath(chunkarr.__file__))
MODULES = ["chunkarr", *sorted(m.name for m in pkgutil.walk_packages([PACKAGE], "chunkarr."))]
HEAVY = ("dask", "distributed", "h5py", "numcodecs", "pyarrow", "scipy", "tqdm", "zarr")


def child(*arguments, **environment):
    """Run the interpreter outside the checkout and return the finished process."""
    command = [sys.executable, "-P", *arguments]
    return subprocess.run(
        command, cwd=os.path.sep, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=60
    )


def editable():
    """Say whether the package was installed with ``pip install -e``."""
    try:
        text = importlib.metadata.distribution("chunkarr").read_text("direct_url.json")
    except importlib.metadata.PackageNotFoundError:
        return False
    return bool(text and json.loads(text).get("dir_info", {}).get("editable"))


def test_the_installed_package_is_tested_not_the_checkout():
    on_purpose = "PYTHONPATH" in os.environ or editable()
    if on_purpose and "CHUNKARR_TEST_INSTALLED" not in os.environ:
        pytest.skip("the checkout is tested on purpose: PYTHONPATH or an editable installation")
    assert "site-packages" in PACKAGE
    assert not PACKAGE.startswith(HERE + os.sep) or "site-packages" in PACKAGE[len(HERE) :]
    assert child("-c", "import chunkarr; print(chunkarr.__file__)").stdout.strip() == chunkarr.__file__


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test)
    assert runner.failures == 0


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_offers(name):
    module = importlib.import_module(name)
    if not os.path.getsize(module.__file__):  # a package that only holds modules
        return
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    missing = [item for item in module.__all__ if not hasattr(module, item)]
    assert not missing


@pytest.mark.parametrize("name", MODULES[1:])  # the root is a list of names
def test_a_module_is_a_room(name):
    with open(importlib.import_module(name).__file__, encoding="utf-8") as file:
        source = file.read()
    assert len(source.splitlines()) <= 500
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    lines = {node.name: node.end_lineno - node.body[1 % len(node.body)].lineno for node in functions}
    # from the second statement on: the docstring does not count
    assert not {name: count for name, count in lines.items() if count > 60}


@pytest.mark.parametrize("module", ["chunkarr", "chunkarr.cli"])
def test_importing_loads_nothing_heavy(module):
    code = f"import sys, {module}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    done = child("-X", "importtime", "-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_the_version_is_the_installed_one():
    try:
        installed = importlib.metadata.version("chunkarr")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("chunkarr is not installed: the checkout is tested through PYTHONPATH")
    assert chunkarr.__version__ == installed
