"""How layers are cut: as text and back, and without any effect on results."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bnncc.diagnostics import DataError
from bnncc.ir.reference import evaluate_bit
from bnncc.ir.types import Elem
from bnncc.runtime.native import NativeExecutable
from bnncc.targets.c.cut import LayerCut, NetworkCut, joined, layer_cut, network_cut, single_changes
from bnncc.targets.c.forms import CForm
from bnncc.targets.c.target import CTarget
from bnncc.toolchain.build_cache import BuildCache
from tests.networks import square
from tests.unit.targets_c.builder import Bits, program_of, random_inputs

CUTS = (*single_changes(), LayerCut(panels=2, band_bytes=1, is_pooled_in_tiles=False))


@pytest.mark.parametrize("cut", CUTS, ids=str)
def test_text_and_back(cut):
    assert layer_cut(str(cut)) == cut
    network = NetworkCut(layers={"conv1": cut, "a b": cut}, chunk_images=8)
    assert network_cut(network.to_texts() | {"march": "generic"}) == network


@pytest.mark.parametrize(
    "text",
    [
        "",
        "panels=4",
        "panels=5 band=auto pool=tile",
        "panels=² band=auto pool=tile",
        "panels=4 band=-1 pool=tile",
        "panels=4 band=auto pool=both",
        "panels=4 band=auto pool=tile more=1",
        f"panels=4 band={1 << 30} pool=tile",
    ],
)
def test_other_texts_are_refused(text):
    with pytest.raises(DataError, match=r"cut of a layer|it is a number from 1"):
        layer_cut(text)


@pytest.mark.parametrize("images", ["0", "x", "99999", ""])
def test_no_chunk_without_images(images):
    with pytest.raises(DataError, match="chunk_images"):
        network_cut({"chunk_images": images})


def test_changes_go_together():
    found = joined([LayerCut(band_bytes=4096), LayerCut(panels=2), LayerCut(panels=3), LayerCut()])
    assert found == LayerCut(panels=2, band_bytes=4096)
    assert joined(single_changes()[1:]).is_pooled_in_tiles is False


@pytest.fixture(scope="module")
def network():
    net = Bits("cuts")
    x = net.layer(net.plain(Elem.U8, 3, 12, 10), 72, square(3, padding=1), has_border=True)
    x = net.layer(x, 100, square(3, padding=1), pool=square(2, stride=2), is_flipped=True, has_border=True)
    net.output(net.layer(x, 70, None, "scores"))
    return net


@pytest.mark.parametrize("cut", [LayerCut(panels=1, band_bytes=4096), CUTS[-1]], ids=str)
def test_results_do_not_depend_on_the_cut(network, cut, tmp_path):
    program = program_of(network.graph(), CForm.PORTABLE)
    layers = {node.result.name: cut for node in program.graph.nodes}
    usual = CTarget(form=CForm.PORTABLE)
    artifact = replace(usual, cut=NetworkCut(layers=layers, chunk_images=4)).emit(program)
    assert artifact.chunk_images == 4
    assert artifact.file("model.c").text != usual.emit(program).file("model.c").text
    inputs = random_inputs(network.graph(), 9)
    found = NativeExecutable.load(artifact, program.blob(), cache=BuildCache(tmp_path)).run(inputs)
    np.testing.assert_array_equal(found["out0"], evaluate_bit(network.graph(), inputs)["out0"])
