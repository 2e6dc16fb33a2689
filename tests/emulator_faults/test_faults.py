"""Every right kernel is silent and exact under 50 random schedules; every planted fault is named."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from bnncc import emulator
from bnncc.diagnostics import PlatformError
from bnncc.toolchain.build_cache import BuildCache
from bnncc.toolchain.cuda_compiler import compile_cuda
from bnncc.toolchain.find_cuda import find_cuda_compiler
from tests.emulator_faults.case import ARCH, SOURCES, WRONG_RESULT, Case, source_text
from tests.emulator_faults.cases import cases

CASES = cases()
RANDOM_SCHEDULES = 50
FEW = (
    emulator.Schedule.ascending(),
    emulator.Schedule.descending(),
    *(emulator.Schedule.random(seed) for seed in range(1, 5)),
)
Modules = dict[tuple[str, bool], emulator.EmulatedModule]


@pytest.fixture(scope="module")
def modules(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Modules]:
    try:
        compiler = find_cuda_compiler("nvrtc")
    except PlatformError as missing:
        pytest.skip(str(missing))
    cache = BuildCache(tmp_path_factory.mktemp("cache"))
    made: Modules = {}
    for source in SOURCES:
        for is_faulty in (False, True):
            text = source_text(source, is_faulty=is_faulty)
            ptx = compile_cuda(compiler, text, ARCH, "ptx", cache=cache, has_lines=True).data.decode()
            made[source, is_faulty] = emulator.load(ptx, name=f"{source}.ptx", cache=cache)
    yield made
    for module in made.values():
        module.close()


def run(case: Case, module: emulator.EmulatedModule, schedule: emulator.Schedule) -> None:
    """Launch, and compare every output."""
    options = emulator.LaunchOptions(schedule=schedule, cooperative=case.is_cooperative, timeout_s=20)
    with emulator.DeviceMemory(1 << 22, seed=schedule.seed) as memory:
        buffers = {name: memory.upload(array) for name, array in case.inputs.items()}
        lengths = {**case.scratch, **{name: array.nbytes for name, array in case.outputs.items()}}
        buffers |= {name: memory.alloc(length) for name, length in lengths.items() if name not in buffers}
        for step in case.steps:
            args = [buffers[item] if isinstance(item, str) else item for item in step.arguments]
            module.launch(
                step.kernel, step.grid, (step.block,), args, shared_bytes=step.shared_bytes, options=options
            )
        for name, expected in case.outputs.items():
            np.testing.assert_array_equal(buffers[name].download(expected.dtype, expected.shape), expected)


def name_of(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_right_kernels_are_silent_and_exact(modules: Modules, case: Case) -> None:
    module = modules[case.source, False]
    for schedule in (*FEW[:2], *(emulator.Schedule.random(seed) for seed in range(RANDOM_SCHEDULES))):
        run(case, module, schedule)


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_planted_faults_are_named(modules: Modules, case: Case) -> None:
    found: set[str] = set()
    for schedule in FEW:
        try:
            run(case, modules[case.source, True], schedule)
        except emulator.EmulatorFault as fault:
            found |= {finding.kind.name.lower() for finding in fault.findings}
            for finding in fault.findings:
                assert finding.kernel in [step.kernel for step in case.steps]
                assert finding.place is None or finding.place.source is not None
        except AssertionError:
            found.add(WRONG_RESULT)
    assert case.found_by[0] in found, f"found {found or 'nothing'}"
    assert found <= {*case.found_by, WRONG_RESULT}, f"found {found}, which this fault does not explain"


def test_there_are_enough() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 30
