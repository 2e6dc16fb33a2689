"""wgmma against NumPy: every N, every swizzle, A from shared memory and from registers, bits and bytes.

The layouts are written here as the PTX ISA tables them (matrix fragments of m64nNk256 and m64nNk32; canonical
K-major layouts of shared memory), not as the executor computes them.
"""

from __future__ import annotations

import numpy as np
import pytest

from bnncc import emulator

from .ptx_kernels import HEAD

SIZES = (8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256)
MODES = {"none": 0, "128": 1, "64": 2, "32": 3}
KINDS = {
    "b1": ("k256", "b1.b1.and.popc"),
    "s8.s8": ("k32", "s8.s8"),
    "u8.s8": ("k32", "u8.s8"),
    "u8.u8": ("k32", "u8.u8"),
}
IMAGE_BYTES = 48 << 10


def kernel(columns: int, kind: str, *, from_registers: bool, code: dict[str, str] | None = None) -> str:
    """Return a kernel that copies an image to shared memory, multiplies, and stores its fragments."""
    depth, types = KINDS[kind]
    count = columns // 2
    regs = ", ".join(f"%c{i}" for i in range(count))
    a = "{%a0, %a1, %a2, %a3}" if from_registers else "%da"
    parts = {
        "proxy": "fence.proxy.async;",
        "fence": "wgmma.fence.sync.aligned;",
        "commit": "wgmma.commit_group.sync.aligned;",
        "wait": "wgmma.wait_group.sync.aligned 0;",
        "after": "",
        **(code or {}),
    }
    multiply = f"wgmma.mma_async.sync.aligned.m64n{columns}{depth}.s32.{types} {{{regs}}}, {a}, %db, "
    return (
        HEAD
        + f"""
.visible .entry k(.param .u64 pimage, .param .u64 pout, .param .u64 pa, .param .u64 da, .param .u64 db)
{{
  .shared .align 1024 .b8 tile[{IMAGE_BYTES}];
  .reg .b32 %r<8>, %c<{count}>, %a<4>;
  .reg .b64 %d<8>, %da, %db;
  .reg .pred %p;
  mov.u32 %r0, %tid.x;
  ld.param.u64 %da, [da];
  ld.param.u64 %db, [db];
  ld.param.u64 %d0, [pimage];
  mov.u32 %r1, tile;
  mad.wide.u32 %d1, %r0, 16, %d0;
  mad.lo.u32 %r2, %r0, 16, %r1;
  mov.u32 %r3, 0;
COPY:
  ld.global.v4.u32 {{%r4, %r5, %r6, %r7}}, [%d1];
  st.shared.v4.u32 [%r2], {{%r4, %r5, %r6, %r7}};
  add.u64 %d1, %d1, 2048;
  add.u32 %r2, %r2, 2048;
  add.u32 %r3, %r3, 2048;
  setp.lt.u32 %p, %r3, {IMAGE_BYTES};
  @%p bra COPY;
  {parts["proxy"]}
  bar.sync 0;
  ld.param.u64 %d0, [pa];
  mad.wide.u32 %d1, %r0, 16, %d0;
  ld.global.v4.u32 {{%a0, %a1, %a2, %a3}}, [%d1];
  {" ".join(f"mov.u32 %c{i}, {i + 1};" for i in range(count))}
  {parts["fence"]}
  {multiply} 1;
  {multiply} 1;
  {parts["commit"]}
  {parts["wait"]}
  ld.param.u64 %d0, [pout];
  mad.wide.u32 %d1, %r0, {4 * count}, %d0;
  {" ".join(f"st.global.u32 [%d1+{4 * i}], %c{i};" for i in range(count))}
  {parts["after"]}
  ret;
}}
"""
    )


def place(matrix: np.ndarray, mode: str, image: np.ndarray, start: int) -> int:
    """Write rows of 32 bytes into ``image`` in a canonical K-major layout; return its descriptor."""
    rows = matrix.shape[0]
    for row in range(rows):
        for chunk in range(2):
            if mode == "none":  # core matrices of 8 rows x 16 bytes: first those along M or N
                at = start + chunk * (rows * 16) + row // 8 * 128 + row % 8 * 16
            else:
                pitch = int(mode)
                swizzled = {"128": chunk ^ row % 8, "64": chunk ^ row // 2 % 4, "32": chunk ^ row // 4 % 2}
                at = start + row * pitch + swizzled[mode] * 16
            image[at : at + 16] = matrix[row, 16 * chunk : 16 * chunk + 16]
    leading, stride = (rows * 16, 128) if mode == "none" else (16, 8 * int(mode))
    return start >> 4 | leading >> 4 << 16 | stride >> 4 << 32 | MODES[mode] << 62


def fragment_of_d(product: np.ndarray) -> np.ndarray:
    """Return what each thread of the warpgroup holds of the 64 x N result."""
    columns = product.shape[1]
    held = np.empty((128, columns // 2), np.int64)
    for thread in range(128):
        group, in_group = thread % 32 >> 2, thread % 4
        for i in range(columns // 2):
            row = 16 * (thread // 32) + group + (8 if i % 4 >= 2 else 0)
            held[thread, i] = product[row, 8 * (i // 4) + 2 * in_group + i % 2]
    return held


def fragment_of_a(matrix: np.ndarray) -> np.ndarray:
    """Return the four words of A that each thread holds."""
    held = np.empty((128, 4), np.uint32)
    words = matrix.view(np.uint32)
    for thread in range(128):
        group, in_group = thread % 32 >> 2, thread % 4
        for i in range(4):
            held[thread, i] = words[16 * (thread // 32) + group + 8 * (i % 2), in_group + 4 * (i // 2)]
    return held


def product_of(a: np.ndarray, b: np.ndarray, kind: str) -> np.ndarray:
    if kind == "b1":
        one, other = (np.unpackbits(x, axis=1, bitorder="little").astype(np.int64) for x in (a, b))
    else:
        first, second = kind.split(".")
        one = a.view(np.int8 if first == "s8" else np.uint8).astype(np.int64)
        other = b.view(np.int8 if second == "s8" else np.uint8).astype(np.int64)
    return one @ other.T


def run(module, memory, columns: int, kind: str, mode: str, schedule: emulator.Schedule) -> None:
    rng = np.random.default_rng(columns)
    a, b = (rng.integers(0, 256, (rows, 32), dtype=np.uint8) for rows in (64, columns))
    image = np.zeros(IMAGE_BYTES, np.uint8)
    descriptor_a = place(a, mode, image, 0)
    descriptor_b = place(b, mode, image, 8192)
    out = memory.alloc(4 * 64 * columns)
    args = [memory.upload(image), out, memory.upload(fragment_of_a(a)), descriptor_a, descriptor_b]
    module.launch("k", (1,), (128,), args, options=emulator.LaunchOptions(schedule=schedule))
    start = np.arange(1, columns // 2 + 1)
    expected = start + fragment_of_d(2 * product_of(a, b, kind))
    np.testing.assert_array_equal(out.download(np.int32, (128, columns // 2)), expected)


SCHEDULES = (emulator.Schedule.ascending(), emulator.Schedule.descending(), emulator.Schedule.random(2))


@pytest.mark.parametrize("columns", SIZES)
def test_every_n(load, memory, columns: int) -> None:
    kind = list(KINDS)[SIZES.index(columns) % len(KINDS)]
    module = load(kernel(columns, kind, from_registers=columns % 32 == 16))
    for schedule in SCHEDULES:
        run(module, memory, columns, kind, "none", schedule)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("from_registers", [False, True])
def test_every_layout(load, memory, kind: str, from_registers: bool) -> None:
    module = load(kernel(64, kind, from_registers=from_registers))
    for mode in MODES:
        run(module, memory, 64, kind, mode, emulator.Schedule.ascending())


FAULTS = {
    "no proxy fence": ({"proxy": ""}, "without a fence.proxy.async since"),
    "no wgmma.fence": ({"fence": ""}, "without a wgmma.fence"),
    "no wait": ({"wait": ""}, "has not been waited for"),
    "no commit": ({"commit": ""}, "has not been waited for"),
    "too little waited for": ({"wait": "wgmma.wait_group.sync.aligned 1;"}, "has not been waited for"),
    "used before the wait": (
        {"commit": "wgmma.commit_group.sync.aligned; add.u32 %r3, %c3, 1;"},
        "an accumulator is used",
    ),
    "overwritten before the wait": (
        {
            "wait": "mov.u32 %r1, tile; st.shared.v4.u32 [%r1], {%r4, %r5, %r6, %r7}; "
            "wgmma.wait_group.sync.aligned 0;"
        },
        "an unfinished wgmma or bulk copy is reading",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_missing_fences_and_waits(load, memory, name: str) -> None:
    code, expected = FAULTS[name]
    module = load(kernel(16, "b1", from_registers=False, code=code))
    for schedule in SCHEDULES:
        with pytest.raises(emulator.EmulatorFault, match=expected):
            run(module, memory, 16, "b1", "none", schedule)


def test_a_wrong_stride_is_out_of_bounds_or_wrong(load, memory) -> None:
    module = load(kernel(8, "b1", from_registers=False))
    image, out, a = memory.upload(np.zeros(IMAGE_BYTES, np.uint8)), memory.alloc(2048), memory.alloc(2048)
    a.upload(np.zeros(2048, np.uint8))
    with pytest.raises(emulator.EmulatorFault, match="shared access of 16 bytes"):
        module.launch(
            "k", (1,), (128,), [image, out, a, 0x0400 << 32, 8192 >> 4 | 0x3FFF << 32 | 0x3FFF << 16]
        )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (".and.popc", ".xor.popc"),
        ("m64n16k256", "m64n16k128"),
        ("m64n16k256", "m64n40k256"),
        ("{%c0, ", "{"),
    ],
)
def test_unknown_forms_are_refused(load, old: str, new: str) -> None:
    text = kernel(16, "b1", from_registers=False).replace(old, new)
    with pytest.raises(emulator.PtxError, match="wgmma"):
        load(text)
