from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from bnncc import emulator
from bnncc.toolchain.build_cache import BuildCache

Loader = Callable[..., emulator.EmulatedModule]


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> BuildCache:
    return BuildCache(tmp_path_factory.mktemp("emulator-cache"))


@pytest.fixture(scope="module")
def load(cache: BuildCache) -> Iterator[Loader]:
    with ExitStack() as stack:
        yield lambda text, **options: stack.enter_context(emulator.load(text, cache=cache, **options))


@pytest.fixture
def memory() -> Iterator[emulator.DeviceMemory]:
    with emulator.DeviceMemory(1 << 26) as found:
        yield found
