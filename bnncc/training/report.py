"""One HTML page about a run: curves, latent weights, kernels, memory, energy; it fetches nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import numpy as np

from bnncc._files import read_bytes
from bnncc.analysis.energy import Numbers, arithmetic_uj, reading_uj, weight_bytes
from bnncc.codegen.packed_weights import decode_weights
from bnncc.diagnostics import DataError
from bnncc.training.charts import Array, draw_histograms, draw_vitals
from bnncc.training.curves import draw_curves
from bnncc.training.progress import EpochRecord

_KERNEL_PATTERNS: Final = 2**9

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem;
  color: #1d2329; background: #fff; }
h1 { font-size: 1.7rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin-top: 2.2rem }
p.lead { color: #57606a; margin-top: 0 } p.note { color: #57606a; font-size: .9rem }
img { max-width: 100%; height: auto } .wide { overflow-x: auto }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem;
  margin: 1.4rem 0 }
.figures div { border: 1px solid #d8dee4; border-radius: .5rem; padding: .7rem 1rem; background: #f6f8fa }
.figures b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums }
.figures span { color: #57606a; font-size: .9rem }
tr:hover td { background: #f6f8fa }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; border-bottom: 1px solid #d8dee4; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left } .text { white-space: normal; text-align: left !important }
"""

_VITALS_NOTE: Final = (
    "A channel is dead where its sign is the same in every probe image. "
    "Beyond 1 the clipped gradient of a sign is 0."
)
_KERNELS_NOTE: Final = (
    "Among the kernels that read one input channel; Courbariaux, Hubara et al. 2016, section 4.2, report "
    "42 % for their CIFAR-10 network. A 3x3 kernel of bits has 512 forms, so even signs by chance repeat."
)
_ENERGY_NOTE: Final = (
    'In 45 nm, after Horowitz, "Computing\'s energy problem", ISSCC 2014, in pJ: float32 3.7 + 0.9, float16 '
    "1.1 + 0.4, int8 0.2 + 0.1 (addition in int32); 32 products of bits count as six int32 additions of 0.1 "
    "(xor, population count, addition), pixels as eight planes of bits; each weight is read once, from a "
    "1 MiB cache at 100 pJ for 64 bits. An estimate, no measurement."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a run left in its folder, as far as a report needs it.

    Args:
        weights: of ``best.safetensors``; binary ones are latent.
    """

    config: Mapping[str, Any]
    history: tuple[EpochRecord, ...]
    weights: Mapping[str, Array]

    @property
    def layers(self) -> list[dict[str, Any]]:
        """Return the facts of the layers with weights."""
        found: list[dict[str, Any]] = self.config["layers"]
        return found

    @property
    def latent(self) -> dict[str, Array]:
        """Return the latent weights by name."""
        return {layer["weight"]: self.weights[layer["weight"]] for layer in self.layers if layer["is_binary"]}


def read_run(folder: Path) -> Run:
    """Return the run in ``folder``.

    Raises:
        DataError: if it holds none, or files of it are damaged or of an earlier version.
    """
    try:
        config = json.loads(read_bytes(folder / "config.json", "configuration of a run"))
        lines = read_bytes(folder / "metrics.jsonl", "list of metrics").decode().splitlines()
        history = tuple(EpochRecord(**json.loads(line)) for line in lines)
        best = folder / "best.safetensors"
        weights = decode_weights(read_bytes(best, "weights file"), str(best))
        run = Run(config=config, history=history, weights=weights)
        tuple(_recipe(run))  # a configuration of an earlier version fails here, not halfway down the page
        missing = [name for name in (layer["weight"] for layer in run.layers) if name not in weights]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{folder}' holds no run that can be reported: {error!r}.") from error
    if missing or not history:
        what = f"no weight '{missing[0]}'" if missing else "no finished epoch"
        raise DataError(f"'{folder}' holds no run that can be reported: {what}.")
    return run


def unique_kernels(weight: Array) -> float:
    """Return the share of different 3x3 kernels among those that read one channel, averaged over channels.

    Shapes:
        weight: ``[O, C, 3, 3]``, latent.

    Source: Courbariaux, Hubara et al. 2016, section 4.2: 42 % in their CIFAR-10 network.
    """
    outputs = weight.shape[0]
    patterns = (weight >= 0).reshape(outputs, -1, 9) @ (1 << np.arange(9))
    return float(np.mean([len(np.unique(column)) / outputs for column in patterns.T]))


def unique_kernels_by_chance(outputs: int) -> float:
    """Return what `unique_kernels` is on average where signs are drawn by a fair coin."""
    return _KERNEL_PATTERNS * (1 - (1 - 1 / _KERNEL_PATTERNS) ** outputs) / outputs


def report_html(run: Run) -> str:
    """Return the page."""
    name = run.config["identity"]["network"].split()[0]
    body = "\n".join(
        (
            f"<h1>{escape(name)}</h1>",
            f'<p class="lead">{escape(_lead(run))}</p>',
            _headline(run),
            "<h2>Course</h2>",
            _picture(draw_curves(run.history, ""), "loss, error and sign changes over the epochs"),
            *_vitals(run),
            *_latent(run),
            *_kernels(run),
            *_memory(run),
            *_energy(run),
            "<h2>Recipe</h2>",
            _table(("setting", "value"), _recipe(run), "text"),
        )
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}: a training run</title><style>{_STYLE}</style></head>\n"
        f"<body>\n{body}\n</body></html>\n"
    )


def _lead(run: Run) -> str:
    last = run.history[-1]
    measured = "" if last.accuracy is None else f", {last.watched} error {100 * (1 - last.accuracy):.2f} %"
    seconds = sum(record.seconds for record in run.history)
    return (
        f"{run.config['identity']['data']}; {last.epoch} epochs in {seconds:.0f} s on "
        f"{run.config['device']}; last epoch: loss {last.loss:.4f}{measured}."
    )


def _headline(run: Run) -> str:
    """Return the figures that most readers came for."""
    last = run.history[-1]
    full, here = _weight_bytes(run)
    works = [sum(_here_uj(layer)) for layer in run.layers]
    figures = [(f"{100 * (1 - last.train_accuracy):.2f} %", "training error")]
    if last.accuracy is not None:
        figures.insert(0, (f"{100 * (1 - last.accuracy):.2f} %", f"{last.watched} error"))
    figures += [
        (f"{here / 1024:,.1f} KiB", f"weights, {full / here:.0f} times smaller"),
        (f"{sum(works):,.2f} uJ", "an image, estimated"),
        (f"{sum(record.seconds for record in run.history):,.0f} s", f"{last.epoch} epochs"),
    ]
    cells = (f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>" for value, what in figures)
    return f'<div class="figures">{"".join(cells)}</div>'


def _weight_bytes(run: Run) -> tuple[int, int]:
    """Return the bytes of all weights as float32, and as they are."""
    counts = [(_count(layer["shape"]), _numbers(layer)) for layer in run.layers]
    full = sum(weight_bytes(Numbers.FLOAT32, count) for count, _ in counts)
    return full, sum(weight_bytes(numbers, count) for count, numbers in counts)


def _vitals(run: Run) -> Iterator[str]:
    if not run.history[-1].layers:
        return
    yield "<h2>Layers in training</h2>"
    figures = (
        {"flipped": "weights that changed sign, %", "clipped": "latent weights at the bound, %"},
        {"saturated": "operands of signs beyond 1, %", "dead": "dead channels, %"},
    )
    for titles in figures:
        if any(what in values for values in run.history[-1].layers.values() for what in titles):
            yield _picture(draw_vitals(run.history, titles), ", ".join(titles.values()))
    yield _note(_VITALS_NOTE)


def _latent(run: Run) -> Iterator[str]:
    if run.latent:
        yield "<h2>Latent weights</h2>"
        yield _picture(draw_histograms(run.latent), "histograms of the latent weights of each layer")


def _kernels(run: Run) -> Iterator[str]:
    rows = [
        (
            name.removesuffix(".weight"),
            f"{weight.shape[0]} x {weight.shape[1]}",
            f"{100 * unique_kernels(weight):.0f} %",
            f"{100 * unique_kernels_by_chance(weight.shape[0]):.0f} %",
        )
        for name, weight in run.latent.items()
        if weight.ndim == 4 and weight.shape[2:] == (3, 3)
    ]
    if rows:
        yield "<h2>Unique 3x3 kernels</h2>"
        yield _table(("layer", "outputs x inputs", "unique", "by chance"), rows)
        yield _note(_KERNELS_NOTE)


def _count(shape: Sequence[int]) -> int:
    return int(np.prod(shape))


def _memory(run: Run) -> Iterator[str]:
    yield "<h2>Memory of the weights</h2>"
    rows = []
    for layer in run.layers:
        weights = _count(layer["shape"])
        full = weight_bytes(Numbers.FLOAT32, weights)
        here = weight_bytes(_numbers(layer), weights)
        rows.append((layer["name"], f"{weights:,}", f"{full:,}", f"{here:,}", f"{full / here:.0f}"))
    full, here = _weight_bytes(run)
    total = sum(_count(layer["shape"]) for layer in run.layers)
    rows.append(("all", f"{total:,}", f"{full:,}", f"{here:,}", f"{full / here:.0f}"))
    yield _table(("layer", "weights", "bytes, float32", "bytes, here", "times smaller"), rows)


def _numbers(layer: Mapping[str, Any]) -> Numbers:
    return Numbers.BITS if layer["is_binary"] else Numbers.FLOAT32


def _here_uj(layer: Mapping[str, Any]) -> tuple[float, float]:
    """Return microjoules of arithmetic and of reading the weights, of a layer as it is."""
    numbers = _numbers(layer)
    if numbers is Numbers.BITS and layer["input_bits"] > 8:
        # Real activations: a binary weight turns the product into an addition, priced as of float32.
        return layer["macs"] * 0.9e-6, reading_uj(numbers, _count(layer["shape"]))
    return (
        arithmetic_uj(numbers, layer["macs"], layer["input_bits"]),
        reading_uj(numbers, _count(layer["shape"])),
    )


def _energy(run: Run) -> Iterator[str]:
    yield "<h2>Energy of one image, estimated</h2>"
    macs = sum(layer["macs"] for layer in run.layers)
    weights = sum(_count(layer["shape"]) for layer in run.layers)
    rows = [
        (numbers.value, arithmetic_uj(numbers, macs), reading_uj(numbers, weights))
        for numbers in (Numbers.FLOAT32, Numbers.FLOAT16, Numbers.INT8)
    ]
    parts = [_here_uj(layer) for layer in run.layers]
    rows.append(("this network", sum(part[0] for part in parts), sum(part[1] for part in parts)))
    yield _table(
        ("computed with", "arithmetic, uJ", "reading weights, uJ", "sum, uJ"),
        [(name, f"{work:,.3f}", f"{read:,.3f}", f"{work + read:,.3f}") for name, work, read in rows],
    )
    yield _note(f"{macs:,} products an image. {_ENERGY_NOTE}")


def _recipe(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the settings as a train block writes them."""
    clauses: Mapping[str, Any] = run.config["clauses"]
    for key, value in sorted(run.config["recipe"].items()):
        match value:
            case {}:
                yield key, _clause(clauses[key], value)
            case [*parts]:
                shown = [_clause(word, part) for word, part in zip(clauses[key], parts, strict=True)]
                yield key, ", ".join(shown) or "none"
            case _:
                yield key, "none" if value is None else str(value)
    for key, value in sorted(run.config["versions"].items()):
        yield f"version of {key}", str(value)


def _clause(word: str, arguments: Mapping[str, object]) -> str:
    inside = ", ".join(f"{name} = {value}" for name, value in arguments.items())
    return f"{word}({inside})" if inside else word


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _picture(png: bytes, what: str) -> str:
    return f'<img alt="{escape(what)}" src="data:image/png;base64,{base64.b64encode(png).decode()}">'


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    cell = f'<td class="{kind}">' if kind else "<td>"
    head = "".join(f"{cell.replace('td', 'th', 1)}{escape(title)}</th>" for title in titles)
    lines = "\n".join(
        "<tr>" + "".join(f"{cell}{escape(str(value))}</td>" for value in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table>\n<tr>{head}</tr>\n{lines}\n</table></div>'
