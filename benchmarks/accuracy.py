"""Test errors of the examples after training for a stated time, seed by seed, scored by the generated C.

    python benchmarks/accuracy.py                                    # the recipes, each as a command
    python benchmarks/accuracy.py mnist-mlp-1min --seeds 1,2,3       # train, compile, score, record
    python benchmarks/accuracy.py --table                            # the records as a Markdown table

All training images are used, the weights are those of the last epoch, and the test images choose nothing.
`bnncc train` with the printed options makes the same bits on the same machine; it only looks at the test
images after every epoch too, which costs time. Every record says that C, torch and the reference computed
the same scores.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections import defaultdict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import bnncc
from bnncc._resources import resource_dir
from bnncc.cli.scoring import BackendName, require_equal, score
from bnncc.codegen.package import Package
from bnncc.data import Split
from bnncc.data.load import load_dataset
from bnncc.ir.train_spec import TrainSpec
from bnncc.runtime.arrays import fit_images
from bnncc.training.fit import FitOptions, fit
from bnncc.training.recipe import PRESETS

RECORDS = Path(__file__).parent / "results" / "accuracy.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One row: an example, the data, and what differs from the example's own `train` block.

    `time` is what the recipe was cut to, on two idle cores; `goal` a test error in percent.
    """

    title: str
    example: str
    data: str
    time: str
    goal: float | None = None
    epochs: int | None = None
    batch: int | None = None
    preset: str | None = None
    defines: dict[str, int] = field(default_factory=dict)

    def command(self) -> str:
        """Return the command line that trains it."""
        defines = "".join(f" -D {name}={value}" for name, value in self.defines.items())
        flags = {"preset": self.preset, "epochs": self.epochs, "batch": self.batch}
        given = "".join(f" --{name} {value}" for name, value in flags.items() if value is not None)
        return f"bnncc train examples/{self.example}.bnn --data {self.data}{defines}{given}"

    def spec(self, own: TrainSpec, seed: int) -> TrainSpec:
        """Return the train block ``own`` with what the recipe changes."""
        if self.preset is not None:
            own = PRESETS[self.preset](own, self.data)
        return replace(own, seed=seed, epochs=self.epochs or own.epochs, batch=self.batch or own.batch)


RECIPES = {
    "cifar10-10min": Recipe(
        title="CIFAR-10, the paper's ConvNet at a quarter of its width",
        example="cifar10_convnet_small",
        data="cifar10",
        time="10 min",
        epochs=10,
    ),
    "cifar10-20min": Recipe(
        title="CIFAR-10, the same", example="cifar10_convnet_small", data="cifar10", time="20 min"
    ),
    "mnist-convnet-3min": Recipe(
        title="MNIST, convnet", example="mnist_convnet", data="mnist", time="3 min", goal=0.75
    ),
    "mnist-convnet-15min": Recipe(
        title="MNIST, the same", example="mnist_convnet", data="mnist", time="15 min", goal=0.6, epochs=70
    ),
    "fashion-3min": Recipe(
        title="Fashion-MNIST, convnet",
        example="fashion_convnet",
        data="fashion-mnist",
        time="3 min",
        goal=10,
    ),
    "mnist-mlp-1min": Recipe(
        title="MNIST, MLP 3 x 512", example="mnist_mlp_small", data="mnist", time="1 min", goal=1.8
    ),
    "mnist-mlp-10min": Recipe(
        title="MNIST, MLP 3 x 1024",
        example="mnist_mlp_small",
        data="mnist",
        time="10 min",
        goal=1.1,
        epochs=80,
        defines={"hidden": 1024},
    ),
    "svhn-smoke": Recipe(
        title="SVHN, smoke test: 8,000 training and 2,000 test images of the first 10,000 test crops",
        example="svhn_convnet",
        data="svhn",
        time="3 min",
        epochs=15,
        batch=64,
        preset="modern",
        defines={"width": 32, "hidden": 256},
    ),
}


def run(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Return the record of one run: train, compile, score."""
    recipe = RECIPES[name]
    source = resource_dir("examples") / f"{recipe.example}.bnn"
    model = bnncc.load(source, **recipe.defines)
    spec = recipe.spec(model.recipe, seed)
    dataset = load_dataset(recipe.data, options.data_dir)
    folder = options.runs / f"{name}-{seed}"
    chosen = FitOptions(
        run_dir=folder,
        threads=options.threads,
        evaluate_every=options.every or spec.epochs,
        overwrite=True,
        source=source.read_text(),
    )
    cpu_start, start = time.process_time(), time.perf_counter()
    result = fit(model.graph, spec, dataset, chosen)
    cpu_s, wall_s = time.process_time() - cpu_start, time.perf_counter() - start
    package = bnncc.compile(model, result.best_path, target=("c",))
    (folder / "packed.safetensors").write_bytes(package.entries["weights.safetensors"])
    curve = {item.epoch: item.accuracy for item in result.history if item.accuracy is not None}
    return {
        "recipe": name,
        "seed": seed,
        "epochs": spec.epochs,
        "threads": options.threads,
        "cpu_s": round(cpu_s, 1),
        "wall_s": round(wall_s, 1),
        "train_images": len(dataset.train),
        "test_images": len(dataset.test),
        "error_by_epoch": {epoch: round(100 * (1 - value), 2) for epoch, value in curve.items()},
        "wrong": wrong_answers(package, dataset.test, options),
    }


def wrong_answers(package: Package, test: Split, options: argparse.Namespace) -> dict[str, int]:
    """Return the number of wrong answers by backend and images; the slow ones see the first images only.

    Raises:
        VerificationError: if a backend computes another score than the compiled C, in any bit.
    """
    port = package.manifest.inputs[0]
    images = fit_images(test.images, port.type, package.manifest.network)
    counts = {
        BackendName.C: len(images),
        BackendName.TORCH: len(images),
        BackendName.REF: options.reference,
        BackendName.EMULATOR: options.emulated,
    }
    judge = score(package, BackendName.C, {port.name: images})
    wrong = {}
    for backend in (backend for backend, count in counts.items() if count):
        count = min(counts[backend], len(images))
        found = score(package, backend, {port.name: images[:count]})
        first = {name: scores[:count] for name, scores in judge.outputs.items()}
        require_equal(replace(judge, outputs=first), found)
        (scores,) = found.outputs.values()
        wrong[f"{backend.value}, {count} images"] = int((scores.argmax(1) != test.labels[:count]).sum())
    return wrong


def table(records: list[dict[str, Any]]) -> str:
    """Return the records as a Markdown table, one row a recipe."""
    lines = [
        "| network | time | goal | test error %, mean ± deviation (seeds) | epochs | CPU s a run | recipe |",
        "|---|---|---|---|---|---|---|",
    ]
    runs: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for record in records:
        runs[record["recipe"]][record["seed"]] = record
    for name, recipe in RECIPES.items():
        found = [runs[name][seed] for seed in sorted(runs[name])]
        if not found:
            continue
        percents = [100 * next(iter(run["wrong"].values())) / run["test_images"] for run in found]
        spread = f" ± {statistics.stdev(percents):.2f}" if len(percents) > 1 else ""
        seeds = ", ".join(f"{percent:.2f}" for percent in percents)
        goal = "" if recipe.goal is None else f"{recipe.goal:g}"
        cpu_s = statistics.mean(run["cpu_s"] for run in found)
        lines.append(
            f"| {recipe.title} | {recipe.time} | {goal} | {statistics.mean(percents):.2f}{spread} ({seeds}) "
            f"| {found[0]['epochs']} | {cpu_s:.0f} | `{name}` |"
        )
    return "\n".join(lines)


def main() -> None:
    """Train what is named, or print the recipes or the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe", nargs="*", choices=[*RECIPES, []])
    parser.add_argument("--seeds", default="1", help="several with commas")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--every", type=int, help="epochs between two points of a learning curve")
    parser.add_argument("--reference", type=int, default=200, help="images for the reference")
    parser.add_argument("--emulated", type=int, default=0, help="images for the emulated CUDA")
    parser.add_argument("--runs", type=Path, default=Path("runs/accuracy"))
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    for name in options.recipe:
        for seed in options.seeds.split(","):
            record = run(name, int(seed), options)
            line = json.dumps(record)
            print(line, flush=True)
            with RECORDS.open("a") as file:
                file.write(line + "\n")
    if options.table:
        print(table([json.loads(line) for line in RECORDS.read_text().splitlines()]))
    elif not options.recipe:
        for name, recipe in RECIPES.items():
            print(f"{name:<20} {recipe.command()}")


if __name__ == "__main__":
    main()
