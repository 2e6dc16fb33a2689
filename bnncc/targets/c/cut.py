"""How the work of a network is cut: tiles and bands of each layer, images that go through it together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from bnncc.diagnostics import DataError

TILE_PANELS: Final = 4
"""Panels of 16 outputs in one tile: with 4 windows, 16 vectors of sums stay in 32 registers."""

BAND_BYTES: Final = 32 << 10
"""Most bytes of framed image that are worked on at a time: they stay in the first-level cache."""

GATHER_BYTES: Final = 8 << 10
"""Most bytes of gathered pixels that an integer layer works on at a time."""

MOST_BAND_BYTES: Final = 1 << 24
MOST_CHUNK_IMAGES: Final = 1 << 12

_POOLS: Final = {"tile": True, "pass": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerCut:
    """How one layer is cut; results are the same for every cut.

    Args:
        panels: of 16 outputs that a tile computes, at most `TILE_PANELS`.
        band_bytes: of windows that are worked on at a time; None: `BAND_BYTES`, gathered ones `GATHER_BYTES`.
        is_pooled_in_tiles: whether pooled 2x2 pixels are one tile; else pooling is a pass of its own.
    """

    panels: int = TILE_PANELS
    band_bytes: int | None = None
    is_pooled_in_tiles: bool = True

    def __str__(self) -> str:
        """Return it as text that `layer_cut` reads, ``panels=4 band=32768 pool=tile``."""
        band = "auto" if self.band_bytes is None else str(self.band_bytes)
        return f"panels={self.panels} band={band} pool={'tile' if self.is_pooled_in_tiles else 'pass'}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCut:
    """How a network is cut.

    Args:
        layers: by the name of the layer's result; others are cut as `LayerCut` says without arguments.
        chunk_images: images that go through the network together; None: as many as fit the cache.
    """

    layers: Mapping[str, LayerCut] = field(default_factory=dict)
    chunk_images: int | None = None

    def of(self, value: str) -> LayerCut:
        """Return how the layer that makes ``value`` is cut."""
        return self.layers.get(value, LayerCut())

    def to_texts(self) -> dict[str, str]:
        """Return it as options of a manifest, nothing where nothing differs: `network_cut` reads them."""
        texts = {f"cut.{name}": str(cut) for name, cut in sorted(self.layers.items())}
        return texts if self.chunk_images is None else {**texts, "chunk_images": str(self.chunk_images)}


def network_cut(options: Mapping[str, str]) -> NetworkCut:
    """Return the cut that the options of a manifest say.

    Raises:
        DataError: one of them is no cut.
    """
    texts = {name.removeprefix("cut."): text for name, text in options.items() if name.startswith("cut.")}
    layers = {name: layer_cut(text) for name, text in texts.items()}
    chunk = options.get("chunk_images")
    chunk_images = None if chunk is None else _number(chunk, "chunk_images", MOST_CHUNK_IMAGES)
    return NetworkCut(layers=layers, chunk_images=chunk_images)


def layer_cut(text: str) -> LayerCut:
    """Return the cut that ``text`` spells.

    Raises:
        DataError: it spells none.
    """
    words = [word.partition("=") for word in text.split()]
    found = {name: value for name, _, value in words}
    if [name for name, _, _ in words] != ["panels", "band", "pool"] or found["pool"] not in _POOLS:
        raise DataError(f"'{text[:80]}' is no cut of a layer; one is '{LayerCut()}'")
    band = found["band"]
    return LayerCut(
        panels=_number(found["panels"], "panels", TILE_PANELS),
        band_bytes=None if band == "auto" else _number(band, "band", MOST_BAND_BYTES),
        is_pooled_in_tiles=_POOLS[found["pool"]],
    )


def _number(text: str, name: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
        raise DataError(f"'{name}' is '{text[:40]}'; it is a number from 1 to {most}")
    return int(text)


def single_changes() -> tuple[LayerCut, ...]:
    """Return the usual cut, then every cut that differs from it in one respect."""
    return (
        LayerCut(),
        *(LayerCut(panels=panels) for panels in range(TILE_PANELS - 1, 0, -1)),
        *(LayerCut(band_bytes=kib << 10) for kib in (4, 8, 16, 32, 64, 256)),
        LayerCut(is_pooled_in_tiles=False),
    )


def joined(cuts: Sequence[LayerCut]) -> LayerCut:
    """Return the cut with all that ``cuts`` change; the first one that changes something decides on it."""
    usual = LayerCut()
    panels = (cut.panels for cut in cuts if cut.panels != usual.panels)
    bands = (cut.band_bytes for cut in cuts if cut.band_bytes is not None)
    return LayerCut(
        panels=next(panels, usual.panels),
        band_bytes=next(bands, None),
        is_pooled_in_tiles=all(cut.is_pooled_in_tiles for cut in cuts),
    )
