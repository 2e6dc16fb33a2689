"""Which kernels run when, as measured: it counts before what the cost model says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from bnncc.diagnostics import DataError
from bnncc.targets.cuda.artifact import FuseUse, TierUse

MEASURED: Final = "measured"
_NEVER: Final = "never"
_TIER, _FUSE = "tier.", "fuse."


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredUses:
    """Measured limits between kernels.

    Args:
        tiers: by the name of a layer's result, by architecture, by tier: the smallest batch; None: never.
        fuse: by architecture, the largest batch that is one launch; 0: none.
        digest: of the measurements.
    """

    tiers: Mapping[str, Mapping[str, Mapping[str, int | None]]] = field(default_factory=dict)
    fuse: Mapping[str, int] = field(default_factory=dict)
    digest: str = ""

    def tier_uses(self, value: str, modelled: tuple[TierUse, ...]) -> tuple[TierUse, ...]:
        """Return ``modelled`` for the layer that makes ``value``, with what was measured of it."""
        found = self.tiers.get(value, {})
        return tuple(
            replace(use, from_images=found[use.arch][use.tier], reason=MEASURED)
            if use.tier in found.get(use.arch, {})
            else use
            for use in modelled
        )

    def fuse_uses(self, modelled: tuple[FuseUse, ...]) -> tuple[FuseUse, ...]:
        """Return ``modelled`` with what was measured of kernels that are there."""
        return tuple(
            replace(use, to_images=self.fuse[use.arch], reason=MEASURED)
            if use.arch in self.fuse and use.kernel is not None and use.to_images is not None
            else use
            for use in modelled
        )

    def to_texts(self) -> dict[str, str]:
        """Return it as options of a manifest, that `measured_uses` reads."""
        texts = {f"{_TIER}{value}": tier_text(found) for value, found in sorted(self.tiers.items())}
        texts |= {f"{_FUSE}{arch}": str(images) for arch, images in sorted(self.fuse.items())}
        return {**texts, "tuning": self.digest} if texts else {}


def tier_text(found: Mapping[str, Mapping[str, int | None]]) -> str:
    """Return ``sm_90a bmma=16 wgmma=never; sm_80 bmma=1``."""
    return "; ".join(
        " ".join((arch, *(f"{tier}={_NEVER if first is None else first}" for tier, first in tiers.items())))
        for arch, tiers in found.items()
    )


def tiers_of_text(text: str) -> dict[str, dict[str, int | None]]:
    """Return what `tier_text` wrote.

    Raises:
        DataError: it did not write ``text``.
    """
    found: dict[str, dict[str, int | None]] = {}
    for part in text.split(";"):
        arch, *words = part.split() or [""]
        pairs = [word.partition("=") for word in words]
        if not arch or not all(equals and tier for tier, equals, _ in pairs):
            raise DataError(f"'{text[:80]}' does not say from which batch on a tier runs")
        found[arch] = {tier: None if first == _NEVER else _images(first) for tier, _, first in pairs}
    return found


def measured_uses(options: Mapping[str, str]) -> MeasuredUses:
    """Return what the options of a manifest say.

    Raises:
        DataError: one of them is not what it should be.
    """
    tiers = {
        name.removeprefix(_TIER): tiers_of_text(text)
        for name, text in options.items()
        if name.startswith(_TIER)
    }
    fuse = {
        name.removeprefix(_FUSE): _images(text) for name, text in options.items() if name.startswith(_FUSE)
    }
    return MeasuredUses(tiers=tiers, fuse=fuse, digest=options.get("tuning", ""))


def _images(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise DataError(f"'{text[:40]}' is no number of images")
    return int(text)
