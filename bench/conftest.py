"""Where the tiny inputs of the tests lie."""

from __future__ import annotations

import pytest

from bench.data import TINY
from bench.harness import Data

__all__: list[str] = []


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Data:
    return Data(tmp_path_factory.mktemp("inputs"), TINY)
