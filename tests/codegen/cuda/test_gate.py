"""The machine code of every kernel: what it was written for, nothing emulated or spilled, as checked in."""

from __future__ import annotations

import difflib
import re

import pytest

from bnncc.diagnostics import PlatformError
from bnncc.targets.cuda.device import DEVICES
from bnncc.toolchain.find_cuda import find_cuda_compiler
from bnncc.toolchain.gate import BlockShape, instruction_counts, machine_code
from bnncc.toolchain.occupancy import Limiter
from bnncc.toolchain.sass import disassemble
from tests.codegen.cuda.machine_code import COMMAND, TABLE, Gated, all_gated, find_compiler, table_text, tools

COUNTED = {"popc": "POPC", "dp4a": "IDP"}
TENSOR = {
    "bmma": r"BMMA\.168256\.{form}\.POPC",
    "imma": r"IMMA\.16832\.[US]8\.S8",
    "wgmma": r"BGMMA\.64x\d+x256\.AND\.POPC",
}
WHOLE_WARP = re.compile(r"__cuda_sm70_(votesync|shflsync)_\w+")
"""No emulation: ballots and shuffles that the assembler cannot prove to be reached by whole warps."""
SPILLING = frozenset({"bnncc_conv_kernels_persistent"})
"""Nine odd convolutions in one kernel, which no network has."""


@pytest.fixture(scope="module")
def kernels() -> tuple[Gated, ...]:
    try:
        return all_gated(find_compiler())
    except PlatformError as error:
        pytest.skip(str(error))


def is_of_example(item: Gated) -> bool:
    return item.code.report.kernel.startswith(
        ("bnncc_cifar10_convnet_", "bnncc_mnist_mlp_", "bnncc_mnist_convnet_", "bnncc_digits_")
    )


def complaints(item: Gated) -> list[str]:
    """Return what is wrong with a kernel, whatever it does."""
    code, report, has = item.code, item.code.report, item.code.instructions
    calls = {name for name in has.callees if not WHOLE_WARP.fullmatch(name)}
    wrong = {
        "spills": report.spill_store_bytes + report.spill_load_bytes > 0,
        "uses local memory": has.local_accesses + report.stack_bytes > 0,
        f"calls {', '.join(calls)}": bool(calls),
        "cannot be launched": code.occupancy.blocks == 0,
        "lacks its instruction": not is_intended(item),
    }
    return [text for text, is_wrong in wrong.items() if is_wrong]


def is_intended(item: Gated) -> bool:
    """Return whether a kernel multiplies with the instructions of its tiers, and with nothing else."""
    has = item.code.instructions
    assert item.tiers <= {*COUNTED, *TENSOR}, f"no rule for a tier of {item.code.report.kernel}"
    counted = all(has.count(COUNTED[tier]) > 0 for tier in item.tiers & set(COUNTED))
    if item.tiers == {"bmma"}:
        counted &= has.count("POPC") == 0  # tensor cores count the ones of rows, too
    used = {name for name in has.counts if "MMA" in name}
    wanted = [re.compile(tensor_core(tier, item.arch)) for tier in item.tiers & set(TENSOR)]
    return (
        counted
        and all(any(shape.fullmatch(name) for shape in wanted) for name in used)
        and all(any(shape.fullmatch(name) for name in used) for shape in wanted)
    )


def tensor_core(tier: str, arch: str) -> str:
    """Return the instruction of a tier, as a pattern."""
    if tier == "imma":
        return r"IMMA\.8816\.[US]8\.S8" if arch == "sm_75" else TENSOR[tier]
    form = DEVICES[arch].b1_form
    assert form is not None, f"{arch} has no such instructions"
    if tier == "bmma" and arch == "sm_75":
        return rf"BMMA\.88128\.{form.name}\.POPC"
    return TENSOR[tier].format(form=form.name)


def test_every_kernel(kernels):
    checked = [item for item in kernels if item.code.report.kernel not in SPILLING]
    found = {f"{item.code.report.kernel} on {item.arch}": complaints(item) for item in checked}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_the_exceptions_are_needed(kernels):
    spilling = {item.code.report.kernel for item in kernels if item.code.report.spill_store_bytes}
    assert spilling == SPILLING


def test_vectors_of_the_examples(kernels):
    for item in filter(is_of_example, kernels):
        has, name = item.code.instructions, f"{item.code.report.kernel} on {item.arch}"
        if item.tiers == {"popc"}:
            assert has.count("POPC") % 4 == 0, f"{name}: whole vectors of 128 bits"
            assert "LDG.128" in has.counts, name
        if item.tiers == {"dp4a"}:
            assert "LDS.128" in has.counts, name
        if item.tiers == {"bmma"}:
            assert "LDSM.4" in has.counts, name
            assert ("LDGSTS.128" in has.counts) == (item.arch != "sm_75"), name


def test_the_table_is_checked_in(kernels):
    compiler = find_compiler()
    kept = TABLE.read_text(encoding="utf-8")
    made_by = tools(compiler)
    if not kept.startswith(f"# {made_by}."):
        pytest.skip(f"{kept.splitlines()[0]} Here: {made_by}")
    found = table_text(kernels, made_by)
    lines = difflib.unified_diff(kept.splitlines(), found.splitlines(), "checked in", "now", n=0, lineterm="")
    assert found == kept, f"look at the difference, then run `{COMMAND}`:\n" + "\n".join(lines)


PLANTED = """
extern "C" __global__ void divide(const double *x, double *y) { y[threadIdx.x] = 1.0 / x[threadIdx.x]; }
extern "C" __global__ void __launch_bounds__(128) indexed(const int *x, int *y, int n) {
    int kept[64];
    for (int i = 0; i < n; i++) kept[x[64 * threadIdx.x + i] & 63] = i;
    y[threadIdx.x] = kept[n & 63];
}
extern "C" __global__ void __launch_bounds__(1024, 2) crowded(const int4 *x, int4 *y) {
    int4 kept[12];
    for (int i = 0; i < 12; i++) kept[i] = x[1024 * i + threadIdx.x];
    __syncthreads();
    for (int i = 0; i < 12; i++) y[1024 * (kept[11 - i].x & 15) + threadIdx.x] = kept[i];
}
"""


def test_planted_faults_are_seen():
    try:
        image = find_cuda_compiler("nvrtc").compile(PLANTED, "sm_80", "cubin")
        codes = disassemble(image.data)
    except PlatformError as error:
        pytest.skip(str(error))
    shapes = {name: BlockShape(threads=128) for name in ("divide", "indexed")}
    shapes["crowded"] = BlockShape(threads=1024, dynamic_shared_bytes=90 << 10)
    found = {code.report.kernel: code for code in machine_code(image, codes, shapes)}
    assert found["divide"].instructions.callees
    assert found["indexed"].instructions.local_accesses > 0
    assert found["indexed"].report.stack_bytes == 256
    crowded = found["crowded"]
    assert crowded.report.spill_store_bytes > 0
    assert crowded.instructions.local_accesses > 0
    assert crowded.report.barriers == 1
    assert crowded.instructions.counts["LDG.128"] == 12
    assert (crowded.occupancy.blocks, crowded.occupancy.limiter) == (1, Limiter.SHARED)
    for code in found.values():
        assert complaints(Gated(tiers=frozenset(), arch="sm_80", code=code))


def test_names_are_short():
    names = ("LDG.E.128.CONSTANT", "LDG.E.U8.CONSTANT.SYS", "LDG.E", "LDSM.16.M88.4", "LDSM.16.MT88.2")
    counts = instruction_counts((*names, "BMMA.168256.AND.POPC", "BAR.SYNC.DEFER_BLOCKING", "IADD3", "POPC"))
    assert counts == {
        "BAR": 1,
        "BMMA.168256.AND.POPC": 1,
        "LDG": 1,
        "LDG.128": 1,
        "LDG.U8": 1,
        "LDSM.4": 1,
        "LDSM.MT88.2": 1,
        "POPC": 1,
    }


def test_without_nvdisasm(monkeypatch):
    monkeypatch.setattr("bnncc.toolchain.sass.toolkit_roots", lambda _: ())
    with pytest.raises(PlatformError, match="pip install nvidia-cuda-nvdisasm"):
        disassemble(b"", {"PATH": ""})
