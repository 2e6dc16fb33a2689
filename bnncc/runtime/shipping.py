"""What a C program needs of a package besides its sources: the weights, and a package for CMake."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from bnncc.codegen.package import Package
from bnncc.passes.pipeline import lower_network
from bnncc.runtime.builds import emit_c
from bnncc.runtime.contents import graph_of
from bnncc.targets.c.cmake import cmake_config
from bnncc.targets.c.cut import network_cut
from bnncc.targets.c.forms import MACHINES, machines_called
from bnncc.targets.c.weights import weights_header

WEIGHTS_FILE: Final = "model.weights"


def weight_files(package: Package) -> Mapping[str, bytes]:
    """Return the weights, as ``model.weights`` and ``model_weights.h``, and a package for CMake.

    Nothing if ``package`` holds no C.

    Raises:
        DataError: the package is damaged.
    """
    info = package.manifest.target("c")
    if info is None:
        return {}
    machines = machines_called(info.options.get("march", "")) or (MACHINES["generic"],)
    artifact, blob = emit_c(lower_network(graph_of(package)), machines, network_cut(info.options))
    texts = (weights_header(artifact, blob), cmake_config(artifact, WEIGHTS_FILE))
    return {WEIGHTS_FILE: blob} | {item.name: item.text.encode() for item in texts}
