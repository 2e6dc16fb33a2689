"""Loading, launching, limits, time, crashes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from bnncc import emulator
from bnncc.diagnostics import InternalError, PlatformError
from bnncc.toolchain.build_cache import BuildCache

from .ptx_kernels import HEAD

TEXT = (
    HEAD
    + """
.visible .entry scale(.param .u64 out, .param .u32 by, .param .f32 real, .param .u16 short)
{
  .reg .b16 %h;
  .reg .b32 %r<6>;
  .reg .b64 %d<3>;
  ld.param.u64 %d1, [out];
  ld.param.u32 %r1, [by];
  ld.param.u16 %h, [short];
  ld.param.f32 %r4, [real];
  cvt.u32.u16 %r5, %h;
  mov.u32 %r2, %tid.x;
  mad.wide.u32 %d1, %r2, 4, %d1;
  mad.lo.u32 %r3, %r2, %r1, %r5;
  xor.b32 %r3, %r3, %r4;
  st.global.u32 [%d1], %r3;
  ret;
}
.visible .entry idle()
{
  ret;
}
.visible .entry forever(.param .u64 out)
{
  .reg .b32 %r<3>;
LOOP:
  add.u32 %r1, %r1, 1;
  bra LOOP;
}
.visible .entry crash(.param .u64 out)
{
  .local .align 8 .b8 depot[8];
  .reg .b32 %r<3>;
  .reg .b64 %d<3>;
  mov.u64 %d1, 3;
  ld.param.u64 %d2, [out];
  st.global.u64 [%d2], %d1;
  ret;
}
.visible .entry shared(.param .u64 out)
{
  .shared .align 4 .b8 tile[40000];
  .reg .b32 %r<3>;
  st.shared.u32 [tile], 1;
  ret;
}
.visible .entry exact()
.reqntid 32, 1, 1
{ ret; }
"""
)


@pytest.fixture(scope="module")
def module(load) -> emulator.EmulatedModule:
    return load(TEXT, name="api.ptx")


def test_kernels_are_described(module) -> None:
    scale = module.kernels[0]
    assert [kernel.name for kernel in module.kernels] == [
        "scale",
        "idle",
        "forever",
        "crash",
        "shared",
        "exact",
    ]
    assert [(item.name, item.size_bytes, item.offset) for item in scale.parameters] == [
        ("out", 8, 0),
        ("by", 4, 8),
        ("real", 4, 12),
        ("short", 2, 16),
    ]
    assert module.kernels[4].static_shared_bytes == 40000


@pytest.mark.parametrize("by", [3, -1, np.int32(-1), np.uint32(7)])
def test_arguments(module, memory, by) -> None:
    out = memory.alloc(64)
    report = module.launch("scale", (1,), (8,), [out + 16, by, 1.5, np.uint16(9)])
    expected = (np.arange(8) * (int(by) & 0xFFFFFFFF) + 9 & 0xFFFFFFFF) ^ 0x3FC00000
    np.testing.assert_array_equal(out.download(np.uint32, 8, 16), expected)
    assert (report.blocks, report.threads, report.findings) == (1, 8, ())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([None, 1, 1.0], "3 arguments; the kernel takes 4"),
        ([None, 1 << 32, 1.0, 1], "argument 1: 4294967296 does not fit a parameter of 4 bytes"),
        ([None, np.int64(1), 1.0, 1], "argument 1: 8 bytes for a parameter of 4 bytes"),
        ([None, 1, 1, 1], "argument 2: 1 does not fit"),
        ([None, 1, b"123", 1], "argument 2: 3 bytes"),
    ],
)
def test_arguments_that_do_not_fit(module, args, message: str) -> None:
    with pytest.raises(emulator.EmulatorFault, match=message):
        module.launch("scale", (1,), (1,), args)


@pytest.mark.parametrize(
    ("kernel", "grid", "block", "shared", "message"),
    [
        ("exact", (1,), (1025,), 0, r"block \(1025, 1, 1\) exceeds"),
        ("exact", (1,), (64, 32), 0, "2048 threads in a block; 1024 are allowed"),
        ("exact", (1,), (1, 1, 65), 0, r"exceeds \(1024, 1024, 64\)"),
        ("exact", (1, 65536), (32,), 0, "exceeds"),
        ("exact", (0,), (32,), 0, "below 1"),
        ("exact", (1,), (16,), 0, r"block \(16, 1, 1\); the kernel was compiled for \(32, 1, 1\)"),
        (
            "shared",
            (1,),
            (1,),
            10000,
            "50000 bytes of shared memory, 10000 of them dynamic; 49152 are allowed without opting in",
        ),
    ],
)
def test_geometry_is_checked(module, kernel, grid, block, shared, message) -> None:
    args = [] if kernel == "exact" else [None]
    with pytest.raises(emulator.EmulatorFault, match=message) as caught:
        module.launch(kernel, grid, block, args, shared_bytes=shared)
    assert caught.value.findings[0].kind == emulator.FaultKind.LAUNCH


def test_opting_in_and_other_limits(module, load, memory) -> None:
    opted = emulator.LaunchOptions(opt_in_shared=True)
    module.launch("shared", (1,), (1,), [None], shared_bytes=60000, options=opted)
    small = load(TEXT, limits=emulator.DeviceLimits(capability=(7, 5), multiprocessors=1))
    with pytest.raises(emulator.EmulatorFault, match="100000 bytes of shared memory"):
        small.launch("shared", (1,), (1,), [None], shared_bytes=60000, options=opted)
    with pytest.raises(emulator.EmulatorFault, match="17 blocks in a cooperative launch; 16 can be resident"):
        small.launch("exact", (17,), (32,), [], options=emulator.LaunchOptions(cooperative=True))


def test_registers_are_counted_where_they_are_known(module, load) -> None:
    def options(registers: int, *, cooperative: bool = False) -> emulator.LaunchOptions:
        return emulator.LaunchOptions(registers=registers, cooperative=cooperative)

    # 128 registers in 512 threads are the whole file of 65536.
    module.launch("idle", (1,), (512,), [], options=options(128))
    message = "128 registers in each of 513 threads: a block takes 81920; 65536 are allowed"
    with pytest.raises(emulator.EmulatorFault, match=message) as caught:
        module.launch("idle", (1,), (513,), [], options=options(128))
    assert caught.value.findings[0].kind == emulator.FaultKind.LAUNCH
    few = load(TEXT, limits=emulator.DeviceLimits(multiprocessors=2))
    few.launch("idle", (16,), (32,), [], options=options(255, cooperative=True))
    with pytest.raises(emulator.EmulatorFault, match="17 blocks in a cooperative launch; 16 can be resident"):
        few.launch("idle", (17,), (32,), [], options=options(255, cooperative=True))


def test_unknown_names(module) -> None:
    with pytest.raises(InternalError, match=r"no kernel 'nothing' in 'api\.ptx': scale, idle, forever"):
        module.launch("nothing", (1,), (1,), [])
    with pytest.raises(InternalError, match="no variable 'nothing'"):
        module.read_variable("nothing")


def test_an_endless_loop_is_ended(module, memory) -> None:
    start = time.monotonic()
    with pytest.raises(emulator.EmulatorFault, match=r"timeout.*\n.*kernel 'forever', .*PTX line \d\d"):
        module.launch("forever", (1,), (4,), [None], options=emulator.LaunchOptions(timeout_s=0.3))
    assert time.monotonic() - start < 20
    module.launch("exact", (1,), (32,), [])  # the module lives on


def test_a_lost_child_is_replaced(module, memory) -> None:
    module.launch("exact", (1,), (32,), [])
    os.kill(module._child._process.pid, signal.SIGSEGV)
    module._child._process.wait()
    module.launch("exact", (1,), (32,), [])
    os.kill(module._child._process.pid, signal.SIGSTOP)  # an answer that never comes
    child = module._child
    with pytest.raises(Exception, match="no answer in 0 s"):
        child.ask({"do": "buffers", "ranges": []}, timeout_s=0.2)
    out = memory.alloc(4)
    module.launch("scale", (1,), (1,), [out, 1, 0.0, 5])
    assert out.download(np.uint32, 1)[0] == 5


def test_in_process(load, memory) -> None:
    module = load(TEXT, in_process=True)
    out = memory.alloc(8)
    module.launch("scale", (1,), (2,), [out, 2, 0.0, 1])
    assert out.download(np.uint32, 2).tolist() == [1, 3]


def test_several_memories_and_modules(load) -> None:
    first, second = load(TEXT), load(TEXT)
    with emulator.DeviceMemory(1 << 20) as left, emulator.DeviceMemory(1 << 20) as right:
        a, b = left.alloc(4), right.alloc(4)
        for module, buffer, value in (
            (first, a, 1),
            (second, b, 2),
            (first, b, 3),
            (first, a, 4),
            (second, a, 5),
        ):
            module.launch("scale", (1,), (1,), [buffer, 0, 0.0, value])
            assert buffer.download(np.uint32, 1)[0] == value
        assert b.download(np.uint32, 1)[0] == 3
        options = emulator.LaunchOptions(memory=right)
        with pytest.raises(emulator.EmulatorFault, match="another memory"):
            first.launch("scale", (1,), (1,), [a, 0, 0.0, 1], options=options)


def test_memory_is_reused_and_limited() -> None:
    with emulator.DeviceMemory(1 << 16) as memory:
        buffers = [memory.alloc(1000) for _ in range(8)]
        assert all(buffer.address % 256 == 0 for buffer in buffers)
        with pytest.raises(PlatformError, match="no 60000 bytes left of 65536"):
            memory.alloc(60000)
        for buffer in buffers[::2] + buffers[1::2]:
            memory.free(buffer)
        assert memory.alloc(60000).offset == 0
        with pytest.raises(IndexError):
            buffers[0].download(np.uint8, 1)


def test_a_second_load_comes_from_the_cache(cache: BuildCache, monkeypatch: pytest.MonkeyPatch) -> None:
    emulator.load(TEXT, name="api.ptx", cache=cache).close()

    def never(*args: object) -> None:
        raise AssertionError(args)

    monkeypatch.setattr("bnncc.emulator.build.parse_module", never)
    emulator.load(TEXT, name="api.ptx", cache=cache).close()


INTERRUPTED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
from bnncc import emulator
from bnncc.toolchain.build_cache import BuildCache
from pathlib import Path
module = emulator.load(Path(sys.argv[1]).read_text(), cache=BuildCache(Path(sys.argv[2])))
module.launch("exact", (1,), (32,), [])
try:
    print(module._child._process.pid, flush=True)
    module.launch("forever", (1,), (1,), [None])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_interrupting_ends_the_child(cache: BuildCache, tmp_path) -> None:
    (tmp_path / "k.ptx").write_text(TEXT)
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "k.ptx"), str(cache.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.send_signal(signal.SIGINT)
        assert parent.stdout.read() == "interrupted\n"
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)


def test_a_killed_parent_takes_the_child_along(cache: BuildCache, tmp_path) -> None:
    (tmp_path / "k.ptx").write_text(TEXT)
    command = [sys.executable, "-c", INTERRUPTED, str(tmp_path / "k.ptx"), str(cache.root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.kill()
    deadline = time.monotonic() + 30
    while Path(f"/proc/{child}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return  # ended; nobody has collected it
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def test_a_module_outlives_the_thread_that_started_it(cache: BuildCache) -> None:
    module = emulator.load(TEXT, cache=cache)
    first = threading.Thread(target=lambda: module.launch("exact", (1,), (32,), []))
    first.start()
    first.join()
    started = module._child
    time.sleep(0.5)
    assert started.is_alive
    module.launch("exact", (1,), (32,), [])
    assert module._child is started
    module.close()
