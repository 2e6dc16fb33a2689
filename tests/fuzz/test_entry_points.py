"""The C entry points with hostile arguments: a short, deterministic run of the fuzzer of ``make fuzz``."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.fuzz.build import build


@pytest.mark.skipif(shutil.which("gcc") is None, reason="the sanitizers are gcc's")
def test_hostile_arguments_are_survived(tmp_path):
    program = build(tmp_path, "gcc", ("-DWITHOUT_LIBFUZZER",))
    subprocess.run([program], check=True, timeout=300)


@pytest.mark.slow
def test_libfuzzer_finds_nothing_in_a_minute(tmp_path):
    clang = next((name for name in ("clang", "clang-19") if shutil.which(name)), None)
    if clang is None:
        pytest.skip("no clang, which brings libFuzzer")
    program = build(tmp_path, clang, ("-fsanitize=fuzzer",))
    subprocess.run([program, "-max_total_time=60", "-seed=1", "-max_len=4096"], cwd=tmp_path, check=True)
