"""A network on a Cortex-M3 without an operating system, emulated: the scores are those of the reference."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from bnncc.cli.building import _write_sources
from bnncc.driver import CompileOptions, compile_network
from bnncc.runtime.session import Session

EXAMPLES = Path(__file__).parents[3] / "examples"
TOOLS = ("arm-none-eabi-gcc", "qemu-system-arm", "make")
MISSING = [name for name in TOOLS if shutil.which(name) is None]
CODE_BYTES, STATIC_BYTES = 32 << 10, 4 << 10


@pytest.mark.skipif(bool(MISSING), reason=f"no {' and no '.join(MISSING)}")
def test_mnist_runs_on_a_microcontroller(tmp_path, monkeypatch):
    monkeypatch.setenv("BNNCC_CACHE_DIR", str(tmp_path / "cache"))
    weights = EXAMPLES / "weights" / "mnist_mlp_small.safetensors"
    options = CompileOptions(weights=weights, targets=("c",), march="generic")
    package = compile_network(EXAMPLES / "mnist_mlp_small.bnn", options)
    _write_sources(package, tmp_path)
    images = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    images[0], images[1] = 0, 255
    rows = ",\n".join("{" + ", ".join(map(str, image.ravel())) + "}" for image in images)
    text = f"#include <stdint.h>\nstatic const uint8_t images[][784] = {{\n{rows}\n}};\n"
    (tmp_path / "images.h").write_text(text)

    folders = [f"{name}={tmp_path}" for name in ("GENERATED", "IMAGES", "OUT")]
    command = ["make", "-s", "-C", str(EXAMPLES / "cortex_m"), *folders]
    shown = subprocess.run([*command, "run"], check=True, capture_output=True, text=True, timeout=120)
    words = np.array([int(word, 16) for word in shown.stdout.split()], np.uint32)
    expected = Session(package, "ref")(images)
    np.testing.assert_array_equal(words.view(np.float32).reshape(3, 10), expected)

    shown = subprocess.run([*command, "size"], check=True, capture_output=True, text=True)
    flash, data, ram = map(int, shown.stdout.splitlines()[1].split()[:3])
    blob_bytes = len((tmp_path / "model.weights").read_bytes())
    report = package.text("report.json")
    assert f'"weights_bytes": {blob_bytes}' in report
    assert flash - blob_bytes - images.nbytes < CODE_BYTES, "code and constants"
    assert (data, ram <= STATIC_BYTES) == (0, True), "the workspace of an image, and its scores"
