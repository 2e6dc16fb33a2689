"""The example programs in C and C++: they find the network with CMake, run, and are right."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bnncc.runtime.native import machine_named
from bnncc.runtime.session import Session

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake: pip install cmake")
@pytest.mark.parametrize("march", ["generic", "dispatch"])
def test_c_programs_run_digits(march, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BNNCC_CACHE_DIR", str(tmp_path / "cache"))
    command = [sys.executable, "-m", "bnncc", "compile", str(EXAMPLES / "digits.bnn"), "--target", "c"]
    command += ["--march", march, "--random-weights", "--emit", "generated", "-o", "digits.bnnpkg"]
    subprocess.run(command, check=True, capture_output=True)
    images = np.random.default_rng(0).integers(0, 17, (70, 1, 8, 8), dtype=np.uint8)
    expected = Session(tmp_path / "digits.bnnpkg", "ref")(images).argmax(axis=1)
    (tmp_path / "images").write_bytes(images.tobytes())

    configure = ["cmake", "-S", str(EXAMPLES / "c_program"), "-B", "build"]
    configure += [f"-DGENERATED={tmp_path / 'generated'}", "-DCMAKE_C_FLAGS=-Wall -Wextra -Werror"]
    configure += ["-DCMAKE_CXX_FLAGS=-Wall -Wextra -Werror"]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", "build"], check=True, capture_output=True)

    digits = ["build/digits", "generated/model.weights", "images"]
    ran = subprocess.run(digits, check=True, capture_output=True, text=True)
    np.testing.assert_array_equal(np.array(ran.stdout.split(), int), expected)
    form = machine_named("native").form.value if march == "dispatch" else "portable"
    assert re.fullmatch(rf"{form} kernels, peak resident set \d+ KiB\n", ran.stderr)
    threads = ["build/digits_threads", *digits[1:], "3"]
    shown = subprocess.run(threads, check=True, capture_output=True, text=True).stdout
    np.testing.assert_array_equal(np.array(shown.split(), int), expected)
    with (tmp_path / "images").open("rb") as stream:
        shown = subprocess.run(
            ["build/digits_inside"], stdin=stream, check=True, capture_output=True, text=True
        ).stdout
    np.testing.assert_array_equal(np.array(shown.split(), int), expected)

    # The library inside the package has the same forms, and is found without a compiler.
    monkeypatch.setenv("CC", "/nonexistent")
    with Session(tmp_path / "digits.bnnpkg", "c", trust=True) as session:
        np.testing.assert_array_equal(session(images).argmax(axis=1), expected)

    (tmp_path / "short").write_bytes(b"too short")
    digits[1] = "short"
    refused = subprocess.run(digits, check=False, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "does not hold the" in refused.stderr
