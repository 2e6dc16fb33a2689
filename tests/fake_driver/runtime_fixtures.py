"""Fixtures of processes that have the fake driver: a session, a network, a stream; nothing left over."""

from __future__ import annotations

import gc

import pytest

from tests.fake_driver.driver import attached
from tests.fake_driver.runtime_networks import KINDS, ForeignStream, load_small, open_session


@pytest.fixture(scope="module")
def fake():
    return attached()


@pytest.fixture
def session(fake):
    with open_session(fake) as opened:
        yield opened
    fake.fail("")


@pytest.fixture
def network(session):
    loaded = load_small(session)
    yield loaded
    loaded.close()


@pytest.fixture
def stream(session):
    made = ForeignStream(session)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _nothing_left(fake):
    before = {kind: fake.alive(kind) for kind in KINDS}
    yield
    gc.collect()
    assert {kind: fake.alive(kind) for kind in KINDS} == before
