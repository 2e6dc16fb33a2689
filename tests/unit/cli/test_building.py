"""``compile``, ``passes``, ``inspect``: from a source to a package, and back to every stage of it."""

from __future__ import annotations

import json

import numpy as np
import pytest

from bnncc.codegen.package import Package
from bnncc.diagnostics import DataError, PlatformError
from bnncc.runs import pointer_path, remember_run
from bnncc.runtime import builds


def test_two_builds_give_the_same_bytes(bnncc, folder, package) -> None:
    first = (folder / package).read_bytes()
    (folder / "sub").mkdir()
    (folder / "sub" / "tiny.bnn").write_text((folder / "tiny.bnn").read_text())
    arguments = ("--target", "c", "--random-weights", "--seed", "3", "-o", "again.bnnpkg")
    assert bnncc("compile", "sub/tiny.bnn", *arguments).code == 0
    assert (folder / "again.bnnpkg").read_bytes() == first


def test_stdout_is_the_package(bnncc) -> None:
    result = bnncc("compile", "tiny.bnn", "--target", "c", "-o", "x.bnnpkg")
    assert result.out == "x.bnnpkg\n"
    assert "untrained" in result.err
    assert "conv" not in result.out


def test_weights_come_from_the_first_place_that_has_any(bnncc, folder, package) -> None:
    def origin(*arguments: str) -> str:
        assert bnncc("compile", "tiny.bnn", "--target", "c", *arguments).code == 0
        return Package.load("tiny.bnnpkg").manifest.weights.origin

    weights = Package.load(package).entry("weights.safetensors")
    assert origin() == "random"
    (folder / "model.safetensors").write_bytes(weights)
    assert origin() == "beside"
    (folder / "run").mkdir()
    (folder / "run" / "best.safetensors").write_bytes(weights)
    remember_run("tiny", folder / "run" / "best.safetensors", {})
    assert origin() == "run"
    assert origin("--weights", "run") == "file"
    assert origin("--weights", "model.safetensors") == "file"
    assert origin("--random-weights") == "random"


def test_parameters_of_the_last_run_count(bnncc, folder) -> None:
    assert bnncc("compile", "tiny.bnn", "--target", "c", "-D", "width=7", "-o", "seven.bnnpkg").code == 0
    seven = Package.load("seven.bnnpkg")
    (folder / "best.safetensors").write_bytes(seven.entry("weights.safetensors"))
    remember_run("tiny", folder / "best.safetensors", {"width": "7"})
    assert bnncc("compile", "tiny.bnn", "--target", "c").code == 0
    assert Package.load("tiny.bnnpkg").manifest.overrides == {"width": "7"}
    assert bnncc("compile", "tiny.bnn", "--target", "c", "-D", "width=8").code == 1


def test_a_damaged_note_of_a_run_is_named(bnncc, folder) -> None:
    pointer_path("tiny").parent.mkdir()
    pointer_path("tiny").write_text("{")
    result = bnncc("compile", "tiny.bnn", "--target", "c")
    assert result.code == 5
    assert "latest-tiny.json" in result.err


def test_weights_that_do_not_fit(bnncc, package) -> None:
    assert bnncc("compile", "tiny.bnn", "--target", "c", "--weights", "no.safetensors").code == 5
    assert bnncc("compile", "tiny.bnn", "--target", "c", "--weights", "tiny.bnn").code == 5


@pytest.mark.parametrize(
    "arguments",
    [
        ("--target", "fpga"),
        ("--target", ""),
        ("--stop-after", "nothing"),
        ("--print-ir-after", "nothing"),
        ("-D", "width"),
        ("-D", "width=1", "-D", "width=2"),
        ("--seed", "-1"),
    ],
)
def test_usage_errors(bnncc, arguments) -> None:
    assert bnncc("compile", "tiny.bnn", *arguments).code == 2


@pytest.mark.parametrize("arguments", [("--arch", "sm_12"), ("--target", "c", "--march", "z80")])
def test_unknown_machines_are_named(bnncc, arguments) -> None:
    result = bnncc("compile", "tiny.bnn", *arguments)
    assert result.code == 4
    assert arguments[-1] in result.err


def test_tiers(bnncc) -> None:
    result = bnncc("compile", "tiny.bnn", "--target", "cuda", "--arch", "sm_80,sm_120", "--json")
    rows = json.loads(result.out)["targets"]["cuda"]
    both = [row for row in rows if row["tier"] in {"popc", "bmma"}]
    assert {row["tier"] for row in both} == {"popc", "bmma"}
    for row in both:
        is_popc = row["tier"] == "popc"
        assert row["chosen"]["sm_120"]["batches"] == ("always" if is_popc else "never")
        assert "no single-bit products" in row["chosen"]["sm_120"]["reason"]
        assert row["chosen"]["sm_80"]["batches"].startswith("below " if is_popc else "from ")
        assert "popc at 4096 images" in row["chosen"]["sm_80"]["reason"]
    table = bnncc("compile", "tiny.bnn", "--target", "cuda", "--arch", "sm_80").err
    assert "runs" in table
    assert "(bmma)" in table


def test_a_tier_is_kept(bnncc) -> None:
    arguments = ("--target", "cuda", "--arch", "sm_80", "--tier", "popc", "-o", "popc.bnnpkg")
    assert bnncc("compile", "tiny.bnn", *arguments).code == 0
    package = Package.load("popc.bnnpkg")
    assert package.manifest.target("cuda").options["tier"] == "popc"
    assert "bmma" not in package.text("src/model.cu")


@pytest.mark.parametrize(
    ("tier", "arch"), [("bmma", "sm_120"), ("wgmma", "sm_80"), ("wgmma-registers", "sm_89")]
)
def test_tiers_that_cannot_be_had(bnncc, tier: str, arch: str) -> None:
    result = bnncc("compile", "tiny.bnn", "--target", "cuda", "--arch", f"sm_90a,{arch}", "--tier", tier)
    assert result.code == 4
    assert f"tier '{tier}' cannot be had on {arch}:" in result.err
    assert bnncc("compile", "tiny.bnn", "--tier", "fast").code == 2


def test_stop_and_print(bnncc, folder) -> None:
    result = bnncc(
        "compile", "tiny.bnn", "--stop-after", "fold-batch-norm", "--print-ir-after", "lower-to-bits"
    )
    assert result.code == 0
    assert "000.lower-to-bits" in result.out
    assert "bit.batch_norm" in result.out
    assert not (folder / "tiny.bnnpkg").exists()


def test_print_verify_and_time_every_pass(bnncc) -> None:
    names = json.loads(bnncc("passes", "--json").out)
    result = bnncc(
        "compile", "tiny.bnn", "--target", "c", "--print-ir-after-all", "--verify-each", "--time-passes"
    )
    assert result.code == 0
    for name in names:
        assert f".{name}\n" in result.out
        assert f" ms  {name}\n" in result.err


def test_verify_each_finds_a_wrong_pass(bnncc, monkeypatch) -> None:
    from dataclasses import replace

    from bnncc.ir.graph import digest_of, freeze
    from bnncc.passes import pipeline

    class Wrong:
        """Turn the first table of thresholds upside down."""

        name = "check-ranges"

        def run(self, graph):
            fold = next(node for node in graph.nodes if type(node).__name__ == "Threshold")
            array = freeze(graph.array(fold.bounds) + 4)
            ref = replace(fold.bounds, digest=digest_of(array))
            nodes = tuple(replace(node, bounds=ref) if node is fold else node for node in graph.nodes)
            return replace(graph, nodes=nodes, constants={**graph.constants, ref.digest: array})

    passes = tuple(Wrong() if item.name == Wrong.name else item for item in pipeline.BIT_PASSES)
    monkeypatch.setattr(pipeline, "BIT_PASSES", passes)
    assert bnncc("compile", "tiny.bnn", "--target", "c").code == 0
    result = bnncc("compile", "tiny.bnn", "--target", "c", "--verify-each")
    assert result.code == 3
    assert "'check-ranges' changed the meaning" in result.err


def test_sources_are_written(bnncc, folder) -> None:
    assert bnncc("compile", "tiny.bnn", "--target", "c", "--emit", "out").code == 0
    assert (folder / "out" / "model.c").read_bytes() == Package.load("tiny.bnnpkg").entry("src/model.c")
    assert (folder / "out" / "model.h").is_file()


def test_without_a_cuda_compiler_the_source_is_there(bnncc, monkeypatch) -> None:
    def missing(*_args: object) -> None:
        raise PlatformError("no CUDA compiler found")

    monkeypatch.setattr(builds, "find_cuda_compiler", missing)
    result = bnncc("compile", "tiny.bnn", "--target", "cuda", "--arch", "sm_80")
    assert result.code == 0
    assert "sm_80" in result.err
    assert "no CUDA compiler" in result.err
    package = Package.load("tiny.bnnpkg")
    assert "__global__" in package.text("src/model.cu")
    assert package.manifest.target("cuda").missing


def test_without_a_c_compiler_the_source_is_there(bnncc, monkeypatch) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    result = bnncc("compile", "tiny.bnn", "--target", "c")
    assert result.code == 0
    package = Package.load("tiny.bnnpkg")
    assert package.manifest.target("c").options["march"] == "generic"
    assert not package.names("bin/")


def test_json_report(bnncc) -> None:
    report = json.loads(bnncc("compile", "tiny.bnn", "--target", "c", "--json").out)
    assert report["package"] == "tiny.bnnpkg"
    assert report["is_trained"] is False
    assert [row["op"] for row in report["targets"]["c"]] == ["IntegerLayer", "XnorLayer"]


@pytest.mark.parametrize(
    ("view", "word"),
    [
        ("dsl", "network tiny"),
        ("nn", "nn.conv2d"),
        ("bit", "bit.layer"),
        ("kernel", "kernel.xnor_layer"),
        ("ir", "bit.layer"),
        ("c", "bnncc_tiny_run"),
        ("manifest", '"schema": "bnncc-package/1"'),
        ("report", '"weights_bytes"'),
    ],
)
def test_inspect(bnncc, package, view, word) -> None:
    result = bnncc("inspect", package, "--view", view)
    assert result.code == 0
    assert word in result.out
    assert "\x1b" not in result.out


def test_inspect_cuda_stages_of_a_package_for_c(bnncc, package) -> None:
    assert "rows8x128" in bnncc("inspect", package, "--view", "kernel", "--target", "cuda").out
    assert bnncc("inspect", package, "--view", "cuda").code == 5
    assert bnncc("inspect", package, "--view", "ptx").code == 5


def test_inspect_one_layer(bnncc, package) -> None:
    whole = bnncc("inspect", package, "--view", "c").out
    part = bnncc("inspect", package, "--view", "c", "--layer", "conv1").out
    assert "tiny_conv1" in part
    assert len(part) < len(whole) / 2
    lines = bnncc("inspect", package, "--view", "kernel", "--layer", "conv1").out
    assert all("conv1" in line for line in lines.splitlines())
    assert bnncc("inspect", package, "--view", "kernel", "--layer", "nothing").code == 5


def test_a_package_can_be_compiled_from_arrays(folder) -> None:
    import bnncc as api

    model = api.load("tiny.bnn", width=5)
    arrays = {
        ref.name: np.ones(ref.type.shape, np.float32 if "norm" in ref.name else np.int8)
        for ref in model.graph.const_refs()
    }
    first, second = (api.compile(model, arrays, target=("c",)) for _ in range(2))
    assert first.manifest.weights.origin == "file"
    assert first.to_bytes() == second.to_bytes()
    assert api.compile(model, arrays, target="c").to_bytes() == first.to_bytes()
    with pytest.raises(DataError, match="no weights file"):
        api.compile(model, "no.safetensors")
    with pytest.raises(DataError, match="no target 'fpga'"):
        api.compile(model, arrays, target="c, fpga")
