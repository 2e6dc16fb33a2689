"""Options of the whole test suite."""

from __future__ import annotations

import os

import pytest

# OpenBLAS reads it when numpy is first imported. On a busy machine its second thread spins, and the
# reference becomes eight times slower.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="rewrite the golden files")


@pytest.fixture
def update_golden(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--update-golden"))
