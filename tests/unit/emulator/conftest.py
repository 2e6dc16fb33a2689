from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from bnncc import emulator
from bnncc.toolchain.build_cache import BuildCache

Loader = Callable[..., emulator.EmulatedModule]
Executed = dict[str, set[str]]
COVERAGE = "test_coverage.py"


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> BuildCache:
    return BuildCache(tmp_path_factory.mktemp("emulator-cache"))


@pytest.fixture(scope="session")
def executed() -> Executed:
    """Return the PTX texts that were loaded in this session, and which of their kernels were launched."""
    return {}


@pytest.fixture(scope="module")
def load(cache: BuildCache, executed: Executed) -> Iterator[Loader]:
    with ExitStack() as stack:

        def loaded(text: str, **options: object) -> emulator.EmulatedModule:
            module = stack.enter_context(emulator.load(text, cache=cache, **options))
            launch, kernels = module.launch, executed.setdefault(text, set())

            def noted(kernel: str, *arguments: object, **named: object) -> emulator.LaunchReport:
                kernels.add(kernel)
                return launch(kernel, *arguments, **named)

            module.launch = noted  # type: ignore[method-assign]  # noted for the coverage test
            return module

        yield loaded


@pytest.fixture
def memory() -> Iterator[emulator.DeviceMemory]:
    with emulator.DeviceMemory(1 << 26) as found:
        yield found


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What was executed is looked at last, and only where everything of this folder was."""
    here = Path(__file__).parent
    last = [item for item in items if item.path == here / COVERAGE]
    present = {item.path for item in items}
    items[:] = [item for item in items if item not in last]
    if not present.issuperset(here.glob("test_*.py")):
        for item in last:
            item.add_marker(pytest.mark.skip(reason="other tests of this folder were left out"))
    items += last
