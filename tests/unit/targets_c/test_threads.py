"""Work shared among threads: batches and single images, any number of threads, the same bits."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading

import numpy as np
import pytest

import bnncc.runtime.threads
from bnncc.diagnostics import PlatformError
from bnncc.ir.reference import evaluate_bit
from bnncc.ir.types import Elem
from bnncc.runtime.native import NativeExecutable, build_library
from bnncc.runtime.threads import parts_of, physical_cores, thread_count, usable_cores
from bnncc.targets.c.forms import CForm
from bnncc.targets.c.model import thread_files
from bnncc.targets.c.target import CTarget
from bnncc.toolchain.build_cache import BuildCache
from tests.networks import square
from tests.unit.targets_c.builder import Bits, program_of, random_inputs


def test_little_work_stays_on_one_thread():
    assert parts_of(100, 1000, 8) == 1
    assert parts_of(0, 1 << 40, 8) == 1
    assert parts_of(3, 1 << 24, 8) == 2
    assert parts_of(1, 1 << 40, 8) == 8


def test_numbers_of_threads():
    assert thread_count(3, {"BNNCC_NUM_THREADS": "5"}) == 3
    assert thread_count(None, {"BNNCC_NUM_THREADS": " 5 "}) == 5
    assert thread_count(None, {}) == usable_cores()
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
    for wrong in ("0", "-1", "many", "1.5", "²"):
        with pytest.raises(PlatformError, match=r"BNNCC_NUM_THREADS is .*; give a number of threads"):
            thread_count(None, {"BNNCC_NUM_THREADS": wrong})
    with pytest.raises(PlatformError, match="cannot run on 0 threads"):
        thread_count(0, {})


def test_logical_cores_of_one_core_count_once(tmp_path):
    for cpu in os.sched_getaffinity(0):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text("0-99\n")
    assert physical_cores(tmp_path) == 1
    assert physical_cores(tmp_path / "nowhere") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize(
    ("quota", "granted"), [("100000 100000", 1), ("150000 100000", 2), ("max 100000", 99), ("", 99)]
)
def test_control_groups_limit_the_number(tmp_path, quota, granted):
    (tmp_path / "cpu.max").write_text(quota)
    assert usable_cores(tmp_path / "cpu.max") == min(granted, physical_cores())


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    net = Bits("shared")
    x = net.layer(net.plain(Elem.U8, 3, 20, 20), 130, square(3, padding=1), has_border=True)
    x = net.layer(x, 128, square(3, padding=1), pool=square(2, stride=2), is_flipped=True, has_border=True)
    net.output(net.layer(x, 10, None, "scores"))
    program = program_of(net.graph(), CForm.PORTABLE)
    artifact = CTarget(form=CForm.PORTABLE).emit(program)
    library = build_library(artifact, cache=BuildCache(tmp_path_factory.mktemp("cache")))
    inputs = random_inputs(net.graph(), 17)
    expected = evaluate_bit(net.graph(), inputs)["out0"]

    def load(threads: int) -> NativeExecutable:
        return NativeExecutable.load(artifact, program.blob(), library=library, threads=threads)

    return load, inputs, expected


@pytest.mark.parametrize("threads", [1, 2, 3, 5, 17, 40])
def test_every_number_of_threads_gives_the_same_bits(network, threads, monkeypatch):
    monkeypatch.setattr(bnncc.runtime.threads, "_PART_WORK", 1)  # also one image is shared
    load, inputs, expected = network
    executable = load(threads)
    assert parts_of(17, executable.artifact.work_per_image, threads) > 1 or threads == 1
    for count in (17, 8, 3, 1, 0, 17):
        few = {name: array[:count] for name, array in inputs.items()}
        np.testing.assert_array_equal(executable.run(few)["out0"], expected[:count])
    executable.close()
    np.testing.assert_array_equal(executable.run(inputs)["out0"], expected)
    executable.close()


def test_callers_at_the_same_time_add_no_threads(network):
    load, inputs, expected = network
    executable = load(3)
    before, most, wrong = threading.active_count(), 0, 0

    def work():
        nonlocal most, wrong
        for _ in range(3):
            wrong += not np.array_equal(executable.run(inputs)["out0"], expected)
            most = max(most, threading.active_count())

    callers = [threading.Thread(target=work) for _ in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    executable.close()
    assert wrong == 0
    assert most <= before + len(callers) + 2


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # forking with threads is the test
def test_a_forked_process_has_its_own_threads(network):
    load, inputs, expected = network
    executable = load(2)
    executable.run(inputs)
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(executable.run(inputs)["out0"], expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    executable.close()


POOL = """
#include "bnncc_threads.h"
#include <stdatomic.h>
#include <stdio.h>

static atomic_uint seen[40];

static void part(void *job, size_t i)
{
    atomic_fetch_add(&seen[i], *(unsigned *)job);
}

int main(void)
{
    for (size_t threads = 0; threads < 6; ++threads) {
        bnncc_threads *const pool = bnncc_threads_start(threads);
        unsigned total = 0;
        for (unsigned loop = 1; loop < 2000; ++loop) {
            const size_t parts = loop % 40;
            unsigned expected = 0;
            bnncc_threads_for_each(pool, parts, part, &loop);
            for (size_t i = 0; i < 40; ++i) {
                expected += i < parts ? loop : 0;
                total += atomic_exchange(&seen[i], 0);
            }
            if (total != expected)
                return 1;
            total = 0;
        }
        bnncc_threads_stop(pool);
    }
    bnncc_threads_stop(NULL);
    puts("right");
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the sanitizers are gcc's")
@pytest.mark.parametrize("sanitizer", ["thread", "address,undefined"])
def test_the_threads_in_c_do_every_part_once(tmp_path, sanitizer):
    for item in thread_files():
        (tmp_path / item.name).write_text(item.text)
    (tmp_path / "main.c").write_text(POOL)
    flags = [
        "-std=c11",
        "-O1",
        "-pedantic",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-pthread",
        f"-fsanitize={sanitizer}",
    ]
    command = ["gcc", *flags, "main.c", "bnncc_threads.c", "-o", "pool"]
    subprocess.run(command, cwd=tmp_path, check=True)
    shown = subprocess.run([tmp_path / "pool"], check=True, capture_output=True, text=True)
    assert (shown.stdout, shown.stderr) == ("right\n", "")
