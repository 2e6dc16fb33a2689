"""Templates see one variable, use every field of their arguments, and no other."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import jinja2
import pytest
from jinja2 import meta, nodes

from bnncc._resources import resource_dir
from bnncc.targets.c.cmake import ConfigArgs
from bnncc.targets.c.dispatch import DispatchArgs
from bnncc.targets.c.element_wise import MapArgs, MaxPoolArgs, PackArgs
from bnncc.targets.c.float_layers import FloatLayerArgs
from bnncc.targets.c.layers import LayerArgs
from bnncc.targets.c.model import HeaderArgs, ModelArgs
from bnncc.targets.c.packed_steps import StepsArgs
from bnncc.targets.c.weights import WeightsArgs

TEMPLATES = resource_dir("templates")
ARGS = (
    LayerArgs,
    FloatLayerArgs,
    MapArgs,
    PackArgs,
    MaxPoolArgs,
    StepsArgs,
    ModelArgs,
    HeaderArgs,
    WeightsArgs,
    DispatchArgs,
    ConfigArgs,
)
FILES = sorted((TEMPLATES / "c").glob("*.j2"))
ALLOWED_FILTERS = {"join", "indent"}


def parsed(path: Path) -> nodes.Template:
    return jinja2.Environment(autoescape=False).parse(path.read_text(encoding="utf-8"))


def with_includes(path: Path) -> list[nodes.Template]:
    tree = parsed(path)
    included = [TEMPLATES / node.template.value for node in tree.find_all(nodes.Include)]
    return [tree, *(found for item in included for found in with_includes(item))]


def fields_of_k(trees: list[nodes.Template]) -> set[str]:
    attributes = (node for tree in trees for node in tree.find_all(nodes.Getattr))
    return {node.attr for node in attributes if isinstance(node.node, nodes.Name) and node.node.name == "k"}


@pytest.mark.parametrize("args", ARGS, ids=lambda args: args.__name__)
def test_a_template_uses_all_of_its_arguments(args):
    used = fields_of_k(with_includes(TEMPLATES / args.template))
    known = {field.name for field in fields(args)}
    assert used == known


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_template_only_types(path):
    tree = parsed(path)
    allowed = {"k", "group"} if path.name == "layer_tiles.c.j2" else {"k"}
    assert meta.find_undeclared_variables(tree) <= allowed
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 120
    assert not list(tree.find_all((nodes.Assign, nodes.Macro, nodes.Call, nodes.BinExpr)))
    filters = {
        node.name for node in tree.find_all((nodes.Filter, nodes.FilterBlock)) if hasattr(node, "name")
    }
    assert filters <= ALLOWED_FILTERS


def test_every_template_has_arguments():
    reached = {args.template for args in ARGS} | {
        "c/layer_tiles.c.j2",
        "c/layer_bands.c.j2",
        "c/layer_dense.c.j2",
        "c/model_run.c.j2",
    }
    assert {f"c/{path.name}" for path in FILES} == reached


def test_every_function_of_the_headers_is_used():
    headers = {path.name: path.read_text(encoding="utf-8") for path in (TEMPLATES / "include/c").glob("*.h")}
    python = Path(__file__).parents[3] / "bnncc" / "targets" / "c"
    text = "".join(path.read_text(encoding="utf-8") for path in [*FILES, *python.glob("*.py")])
    everything = "".join(headers.values()) + text
    for name in {found for header in headers.values() for found in re.findall(r"\b(bnncc_\w+)\(", header)}:
        stem = re.sub(r"_(signs|pooled|values)$", "_", name) if name.startswith("bnncc_layer_") else name
        assert len(re.findall(rf"\b{stem}", everything)) > 1, f"{name} is not used"
