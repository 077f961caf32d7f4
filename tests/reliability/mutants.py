"""Edits that break the protocol, each of which a campaign must notice: tests of the tests."""

from __future__ import annotations

import importlib.util
import os
import shutil
from dataclasses import dataclass
from typing import Any

from tests.reliability.server import Server

__all__ = ["MUTANTS", "Mutant", "caught"]

Ask = tuple[Any, ...]  # a campaign and its arguments; the directory goes between the first and the others


def power(name: str, *more: Any) -> Ask:
    """Ask for states after power loss."""
    return "power.losses", name, *(more or (600,))


def kill(name: str) -> Ask:
    """Ask for kills at every call."""
    return "crashing.kills", name, 1.0, 0.2


@dataclass(frozen=True)
class Mutant:
    """A source edit, and the campaign that must notice it."""

    name: str
    module: str  # file below chunkarr
    edits: tuple[tuple[str, str], ...]  # what stands there once, and what comes in its place
    ask: Ask


TXN = "formats/zarr_txn.py"
JOURNAL = "formats/journal.py"
INTO_PLACE = '    calls.replace(os.path.join(change, "COMMIT"), os.path.join(place, "manifest"))\n'

MUTANTS = (
    Mutant(
        "staged files are not synced",
        TXN,
        (("fsio.for_each(fsio.sync_file, [os.path.join(self.directory, name) for name in names])", "pass"),),
        power("zarr-update"),
    ),
    Mutant(
        "the names of staged files are not synced",
        TXN,
        (("            fsio.sync_dir(self.directory)\n            fsio.sync_dir(os", "            str(os"),),
        power("zarr-update"),
    ),
    Mutant(
        "the directory of the first change is not synced",
        TXN,
        (("                fsio.sync_dir(self.path)  #", "                pass  #"),),
        power("zarr-foreign-update"),
    ),
    Mutant(
        "a full change does not sync what came before it",
        "formats/zarr_update.py",
        (("            fsio.sync_tree(self.path)\n", ""),),
        power("zarr-unsynced"),
    ),
    Mutant(
        "what was renamed into place is not synced before the root",
        TXN,
        (("        _sync(touched | everywhere)", "        pass"),),
        power("zarr-update"),
    ),
    Mutant(
        "new directories are not synced before files are renamed into them",
        TXN,
        (("        _sync(made | everywhere)", "        pass"),),
        power("zarr-shards-append"),
    ),
    Mutant(
        "the root comes before the chunks",
        TXN,
        (
            (INTO_PLACE, ""),
            (
                "    for move in (first, objects):\n",
                f"{INTO_PLACE}    for move in (first, objects):\n",
            ),
        ),
        kill("zarr-update"),
    ),
    Mutant(
        "recovery drops what was committed",
        TXN,
        (("    if found is not None and found[1]:\n        _apply(", "    if found is None:\n        _apply("),),
        kill("zarr-update"),
    ),
    Mutant(
        "readers do not look for a committed change",
        "formats/zarr_manifest.py",
        (('commit = load_root(os.path.join(change, "COMMIT"))', "commit = None"),),
        kill("zarr-update"),
    ),
    Mutant(
        "the lock is not looked at",
        "fsio/locking.py",
        (
            (
                "        if fd is not None:\n            return fd\n        left",
                "        return fd if fd is not None else os.open(file, os.O_RDONLY)\n        left",
            ),
        ),
        ("contending.count_in", "zarr", 60),
    ),
    Mutant(
        "a new array appears before it is synced",
        "formats/zarr_target.py",
        (("            fsio.sync_tree(self.part)", "            pass"),),
        power("zarr-create"),
    ),
    Mutant(
        "the journal is not synced before it counts",
        JOURNAL,
        (("            fsio.sync_file(patch.fd)\n        _rename(", "            pass\n        _rename("),),
        power("npy-update"),
    ),
    Mutant(
        "the journal is dropped before the file is synced",
        JOURNAL,
        (
            (
                "                fsio.sync_file(target)\n            _drop(name, durability)",
                "                pass\n            _drop(name, durability)",
            ),
        ),
        power("npy-update"),
    ),
    Mutant(
        "recovery drops the journal instead of copying it",
        JOURNAL,
        (
            (
                "            redo.apply(fd, target, file)\n            fsio.sync_file(target)\n        finally:",
                "            pass\n        finally:",
            ),
        ),
        kill("npy-update"),
    ),
    Mutant(
        "the checksums of the journal's pages are not looked at",
        "formats/redo.py",
        (("        if wrong.size:\n", "        if False:\n"),),
        ("damaging.pending", "npy-update", 1.0),
    ),
)


def caught(mutant: Mutant, directory: str) -> str:
    """Return what the campaign finds in the mutant; "" if nothing."""
    place = os.path.join(directory, "mutant")
    found = importlib.util.find_spec("chunkarr")
    assert found is not None
    assert found.submodule_search_locations is not None
    package = os.path.join(place, "chunkarr")
    shutil.copytree(found.submodule_search_locations[0], package, ignore=shutil.ignore_patterns("__pycache__"))
    file = os.path.join(package, mutant.module)
    with open(file, encoding="utf-8") as source:
        text = source.read()
    for old, new in mutant.edits:
        assert text.count(old) == 1, f"{mutant.module} has changed: change the mutant, too: {old}"
        text = text.replace(old, new)
    with open(file, "w", encoding="utf-8") as source:
        source.write(text)
    with Server(directory, place) as server:
        assert server.ask("mutants.which_package") == package
        campaign, name, *more = mutant.ask
        try:
            answer = server.ask(campaign, name, directory, *more)
        except AssertionError as error:
            return f"{campaign}: {str(error).strip().splitlines()[-1]}"
    tally = answer[0] if isinstance(answer, tuple) else answer
    return f"{campaign}: {len(tally.bad)} bad of {tally.points}: {tally.bad[0][:200]}" if tally and tally.bad else ""


def which_package() -> str:
    """Return where the chunkarr lies that runs."""
    import chunkarr

    return os.path.dirname(chunkarr.__file__)
