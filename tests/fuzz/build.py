"""Build the fuzzer of the C entry points: ``python -m tests.fuzz.build FOLDER`` (needs clang)."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np

from bnncc.ir.types import Elem
from bnncc.runtime.executable import NUMPY_DTYPES
from bnncc.targets.c.artifact import CArtifact, CPort
from bnncc.targets.c.dispatch import Part, emit_dispatch
from bnncc.targets.c.forms import DISPATCH, machines_called
from bnncc.targets.c.weights import weights_header
from tests.codegen.c.test_builds import small_network
from tests.codegen.c.test_golden import mlp, overlapping_pool
from tests.unit.targets_c.builder import merged, program_of

HARNESS = Path(__file__).with_name("entry_points.c")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
WARNINGS = ("-Wall", "-Wextra", "-Werror")


def network() -> tuple[CArtifact, bytes]:
    """Return every kind of layer, input and output, in every form of this machine's architecture."""
    graph = merged(
        "fuzzed", {make.__name__: make().graph() for make in (small_network, overlapping_pool, mlp)}
    )
    machines = machines_called(DISPATCH.get(platform.machine(), "generic"))
    return emit_dispatch(tuple(Part(machine=m, program=program_of(graph, m.form)) for m in machines))


def description(artifact: CArtifact) -> str:
    """Return ``network.h``."""
    ports = [(port, 0) for port in artifact.inputs] + [(port, 1) for port in artifact.outputs]
    rows = ",\n".join(f"    {{{_fields(port)}, {is_output}}}" for port, is_output in ports)
    call = ", ".join(f"(void *)(at)[{index}]" for index in range(len(ports)))
    return (
        "#include <stddef.h>\n"
        f"#define PREFIX {artifact.prefix}\n#define CALL_PORTS(at) {call}\n"
        "typedef struct {\n    size_t bytes_per_image, element_bytes;\n    int is_sign, is_output;\n} port;\n"
        f"enum {{ PORTS = {len(ports)} }};\nstatic const port port_of[PORTS] = {{\n{rows},\n}};\n"
    )


def _fields(port: CPort) -> str:
    size = NUMPY_DTYPES[port.elem.value].itemsize
    return f"{int(np.prod(port.shape)) * size}, {size}, {int(port.elem is Elem.SIGN)}"


def build(folder: Path, cc: str, flags: tuple[str, ...]) -> Path:
    """Return the program in ``folder``, compiled with sanitizers."""
    folder.mkdir(parents=True, exist_ok=True)
    artifact, blob = network()
    texts = {file.name: file.text for file in (*artifact.files, weights_header(artifact, blob))}
    texts |= {"network.h": description(artifact), HARNESS.name: HARNESS.read_text(encoding="utf-8")}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    common = [cc, "-std=c11", "-D_POSIX_C_SOURCE=200112L", "-O1", "-g1", *WARNINGS, *SANITIZERS, *flags]
    own = dict(artifact.own_flags)
    sources = ["model.c", *own, HARNESS.name]
    for name in sources:
        command = [*common, *artifact.flags, *own.get(name, ()), "-c", name]
        subprocess.run(command, cwd=folder, check=True)
    objects = [str(Path(name).with_suffix(".o")) for name in sources]
    subprocess.run([*common, *objects, "-o", "fuzz"], cwd=folder, check=True)
    return folder / "fuzz"


if __name__ == "__main__":
    found = next((name for name in ("clang", "clang-19") if shutil.which(name)), None)
    if found is None:
        sys.exit("no clang, which brings libFuzzer (Debian: apt install clang)")
    print(build(Path(sys.argv[1]), found, ("-fsanitize=fuzzer",)))
