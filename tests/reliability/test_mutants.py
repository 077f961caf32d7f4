"""Each edit that breaks the protocol is noticed: the campaigns would find it."""

from __future__ import annotations

import pytest

from tests.reliability.mutants import MUTANTS, caught

QUICK = ("recovery drops the journal instead of copying it", "the journal is not synced before it counts")


@pytest.mark.parametrize(
    "mutant",
    [pytest.param(m, id=m.name, marks=() if m.name in QUICK else pytest.mark.nightly) for m in MUTANTS],
)
def test_an_edit_that_breaks_the_protocol_is_noticed(mutant, tmp_path, reached):
    said = caught(mutant, str(tmp_path))
    assert said, f"nothing notices that {mutant.name}"
    reached("mutants caught", 1)
    print(f"{mutant.name}: {said}")
