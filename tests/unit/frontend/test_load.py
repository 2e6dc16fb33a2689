from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from bnncc._resources import resource_dir
from bnncc.diagnostics import CompileError, DataError
from bnncc.frontend.load import load_network, load_text, parse_overrides, read_source
from bnncc.ir import train_spec as ts
from bnncc.ir.verify import verify_nn

EXAMPLES = sorted(p for p in resource_dir("examples").glob("*.bnn") if p.name != "blocks.bnn")
NETWORK = "network n { input x: u8[4]\n x -> %s -> output y }\n"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_examples(example: Path) -> None:
    found = load_network(example)
    assert verify_nn(found.graph) == ()
    assert found.has_train_block
    assert found.graph.name == example.stem
    assert [output.name for output in found.graph.outputs] == ["scores"]
    assert found.graph.outputs[0].value.type.shape == (10,)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        ("mnist_mlp", 784 * 4096 + 2 * 4096**2 + 4096 * 10),
        ("mnist_mlp_torch7", 784 * 2048 + 2 * 2048**2 + 2048 * 10),
        ("cifar10_convnet", 14_022_016),
        ("mnist_convnet", 390_432),
    ],
)
def test_published_sizes(name: str, weights: int) -> None:
    """Numbers of binary weights, from the layer sizes in the papers."""
    found = load_network(resource_dir("examples") / f"{name}.bnn").graph
    assert sum(ref.type.count for ref in found.const_refs() if ref.name.endswith(".weight")) == weights


def test_paper_recipe() -> None:
    spec = load_network(resource_dir("examples") / "mnist_mlp.bnn").train
    assert spec == ts.TrainSpec(
        loss=ts.SquaredHinge(),
        optimizer=ts.Adam(lr=0.003),
        schedule=ts.ExponentialSchedule(to=3e-7),
        epochs=1000,
        batch=100,
        validation=10_000,
        select=ts.Selection.BEST,
    )


def test_every_setting() -> None:
    train = """train {
      loss cross_entropy(label_smoothing = 0.1)
      optimizer shift_adamax(2**-6, t7_quirk = true)
      schedule step(every = 4*5)
      augment crop(4)  augment flip  augment affine(zoom = 0)
      weight_init glorot  rate_scale none  weight_clip 2  seed 7
      validation 10  select best  reestimate 20_000  batch 2*8
      accumulate 4  mix cutmix(alpha = 1/2)  distill soft(temperature = 2)
    }"""
    assert load_text(NETWORK % "dense(2)" + train, "a").train == ts.TrainSpec(
        loss=ts.CrossEntropy(label_smoothing=0.1),
        optimizer=ts.ShiftAdaMax(lr=2.0**-6, t7_quirk=True),
        schedule=ts.StepSchedule(every=20),
        augment=(ts.RandomCrop(padding=4), ts.RandomFlip(), ts.RandomAffine(zoom=0.0)),
        weight_init=ts.WeightInit.GLOROT,
        rate_scale=ts.RateScale.NONE,
        weight_clip=2.0,
        seed=7,
        validation=10,
        select=ts.Selection.BEST,
        reestimate=20_000,
        batch=16,
        accumulate=4,
        mix=ts.Cutmix(alpha=0.5),
        distill=ts.Distillation(temperature=2.0),
    )


@pytest.mark.parametrize(
    ("setting", "wanted"),
    [
        ("optimizer adamw(weight_decay = 1/4)", ts.TrainSpec(optimizer=ts.AdamW(weight_decay=0.25))),
        ("optimizer bop(threshold = 0)", ts.TrainSpec(optimizer=ts.Bop(threshold=0.0))),
        ("rate_scale glorot_ap2", ts.TrainSpec(rate_scale=ts.RateScale.GLOROT_AP2)),
        ("ema 1 - 1/8", ts.TrainSpec(ema=0.875)),
    ],
)
def test_settings_beyond_the_paper(setting: str, wanted: ts.TrainSpec) -> None:
    assert load_text(f"{NETWORK % 'dense(2)'} train {{ {setting} }}", "a").train == wanted


@pytest.mark.parametrize(
    "setting", ["ema 1", "optimizer bop(gamma = 0)", "optimizer adamw(weight_decay = -1)"]
)
def test_settings_out_of_bounds(setting: str) -> None:
    with pytest.raises(CompileError) as failure:
        load_text(f"{NETWORK % 'dense(2)'} train {{ {setting} }}", "a")
    assert len(failure.value.diagnostics) == 1


def test_no_train_block() -> None:
    found = load_text(NETWORK % "dense(2)", "a")
    assert (found.train, found.has_train_block) == (ts.TrainSpec(), False)


def test_includes_are_relative_to_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parts" / "deep").mkdir(parents=True)
    (tmp_path / "main.bnn").write_text(
        'include "parts/a.bnn"\ninclude "parts/deep/b.bnn"\n' + NETWORK % "first"
    )
    (tmp_path / "parts" / "a.bnn").write_text('include "deep/b.bnn"\nblock first { second }\n')
    (tmp_path / "parts" / "deep" / "b.bnn").write_text('include "../../c.bnn"\nblock second { third }\n')
    (tmp_path / "c.bnn").write_text("block third { dense(3) }\n")
    monkeypatch.chdir(tmp_path)
    found = load_network(Path("main.bnn"))
    assert [source.name for source in found.sources] == [
        "main.bnn",
        "parts/a.bnn",
        "parts/deep/b.bnn",
        "c.bnn",
    ]
    assert str(found.graph.nodes[0].span) == "c.bnn:1:15"
    assert load_network(tmp_path / "main.bnn").graph == found.graph


def test_text_reads_nothing_from_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.bnn").write_text("block stage { dense(3) }")
    text = 'include "b.bnn"\n' + NETWORK % "stage"
    with pytest.raises(CompileError, match="E0311"):
        load_text(text, "model.bnn")
    found = load_text(text, "model.bnn", includes={"b.bnn": "block stage { dense(5) }"})
    assert found.graph.nodes[0].result.type.shape == (5,)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        load_network(tmp_path / "missing.bnn")
    with pytest.raises(DataError):
        read_source(tmp_path)


def test_read_source(tmp_path: Path) -> None:
    path = tmp_path / "a.bnn"
    path.write_bytes(b"block a { sign }\r\n")
    assert read_source(path) == "block a { sign }\n"


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [("a=64", "a", Fraction(64)), ("a = 1/2", "a", Fraction(1, 2)), ("b_1=-1e-3", "b_1", Fraction(-1, 1000)),
     ("c=same", "c", "same")],
)  # fmt: skip
def test_overrides(text: str, name: str, value: Fraction | str) -> None:
    assert parse_overrides([text]) == {name: value}


@pytest.mark.parametrize(
    "text", ["", "a", "a=", "=3", "a=1/0", "a=1e9999", "a=b c", "1=2", "a=" + "9" * 10_000]
)
def test_bad_overrides(text: str) -> None:
    with pytest.raises(CompileError) as caught:
        parse_overrides(["good=1", text])
    assert [d.code for d in caught.value.diagnostics] == ["E0318"]
