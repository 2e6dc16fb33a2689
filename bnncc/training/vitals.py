"""What people who train binary networks look at: sign changes, clipped weights, saturation, dead channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from bnncc.training.run import Parts, Position

Vitals: TypeAlias = dict[str, dict[str, float]]

_PROBE_IMAGES = 250


@torch.no_grad()
def weight_vitals(parts: Parts, position: Position) -> Vitals:
    """Return two figures of each binary weight, by name.

    ``flipped``: the fraction whose sign is another than when the epoch began (the flip ratio). ``clipped``:
    the fraction of latent weights that lie at the bound of ``weight_clip``.
    """
    found: Vitals = {}
    for item in parts.trained:
        if item.is_latent:
            latent = item.parameter.detach()
            changed = position.signs_before[item.name] != (latent >= 0)
            found[item.name] = {
                "flipped": changed.float().mean().item(),
                "clipped": (latent.abs() >= parts.spec.weight_clip).float().mean().item(),
            }
    return found


@torch.no_grad()
def sign_vitals(parts: Parts) -> Vitals:
    """Return two figures of each sign, by the name of its result, on the first training images as they are.

    ``saturated``: the fraction of its operands beyond 1, where the clipped gradient is 0. ``dead``: the
    fraction of its channels whose sign is the same everywhere, in all of these images.
    """
    found: Vitals = {}

    def watch(name: str, x: Tensor) -> None:
        signs = (x >= 0).transpose(0, 1).flatten(1)
        is_dead = signs.all(1) | ~signs.any(1)
        found[name] = {
            "saturated": (x.abs() > 1).float().mean().item(),
            "dead": is_dead.float().mean().item(),
        }

    images = parts.feed.plain_images(_PROBE_IMAGES)
    module = parts.module.train()
    # A momentum of 0 leaves the running statistics as they are.
    with module.computing(replace(module.mode, momentum=0.0, is_estimating=True, watch=watch, team=None)):
        module(images)
    return found


def overall(vitals: Mapping[str, Mapping[str, float]], what: str) -> float | None:
    """Return the mean of one figure over the layers that have it; None where none has."""
    values = [figures[what] for figures in vitals.values() if what in figures]
    return sum(values) / len(values) if values else None
