"""Descriptions of processors and GPUs as files: numbers, and where each one comes from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bnncc._files import read_bytes
from bnncc.diagnostics import DataError

FOLDER: Final = Path(__file__).resolve().parent / "devices"
_WORDS: Final = {"gpu": ("arch", "b1_form"), "cpu": ("march",)}
_NUMBERS: Final = {
    "gpu": (
        "multiprocessors",
        "clock_ghz",
        "memory_gb_s",
        "l2_bytes",
        "popcounts",
        "b1_macs",
        "warpgroup_macs",
    ),
    "cpu": ("clock_ghz", "b1_macs", "integer_macs", "l1_bytes", "l2_bytes", "memory_gb_s"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFile:
    """What a file says.

    Units:
        clock_ghz: sustained. memory_gb_s: of the device. l1_bytes, l2_bytes: read a clock by a core or
        multiprocessor. popcounts: of 32 bits; b1_macs, integer_macs, warpgroup_macs: products; a clock.

    Args:
        name: of the product.
        kind: ``gpu`` or ``cpu``.
        words: ``arch`` and ``b1_form`` (``xor``, ``and``, ``none``) of a GPU, ``march`` of a CPU.
        numbers: by name; 0 where the device has no such thing.
        sources: where each number comes from, by its name; ``assumed ...`` where from nowhere.
    """

    name: str
    kind: str
    words: Mapping[str, str]
    numbers: Mapping[str, float]
    sources: Mapping[str, str]


def read_device(path: Path) -> DeviceFile:
    """Return what the file ``path`` says.

    Raises:
        DataError: it is missing, no TOML, or lacks a number or the source of one.
    """
    try:
        content = tomllib.loads(read_bytes(path, "description of a device").decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise DataError(f"'{path}' is no TOML: {error}") from error
    kind = content.get("kind")
    if kind not in _NUMBERS:
        raise DataError(f"'{path}': 'kind' is {kind!r}; it is 'gpu' or 'cpu'")
    numbers, sources = content.get("numbers"), content.get("sources")
    words = {name: content.get(name) for name in ("name", *_WORDS[kind])}
    for name, word in words.items():
        if not isinstance(word, str) or not word:
            raise DataError(f"'{path}': '{name}' is no text")
    if not isinstance(numbers, dict) or not isinstance(sources, dict):
        raise DataError(f"'{path}' has no tables [numbers] and [sources]")
    _check_names(path, "numbers", numbers, kind)
    _check_names(path, "sources", sources, kind)
    for name, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < 1e9:
            raise DataError(f"'{path}': '{name}' is {number!r}, which is no number from 0 on")
        if not isinstance(sources[name], str) or not sources[name].strip():
            raise DataError(f"'{path}' does not say where '{name}' comes from; 'assumed' is a source, too")
    return DeviceFile(
        name=str(words.pop("name")),
        kind=kind,
        words={name: str(word) for name, word in words.items()},
        numbers=numbers,
        sources=sources,
    )


def described_devices(folder: Path = FOLDER) -> tuple[DeviceFile, ...]:
    """Return every description in ``folder``, by file name."""
    return tuple(read_device(path) for path in sorted(folder.glob("*.toml")))


def _check_names(path: Path, table: str, found: Mapping[str, object], kind: str) -> None:
    if missing := [name for name in _NUMBERS[kind] if name not in found]:
        raise DataError(f"'{path}': [{table}] lacks '{missing[0]}'")
    if unknown := sorted(set(found) - set(_NUMBERS[kind])):
        raise DataError(f"'{path}': [{table}] has '{unknown[0]}', which a {kind} does not have")


def device_named(name: str) -> DeviceFile:
    """Return the description called ``name``: of a product or of a shipped file, or a path to another.

    Raises:
        DataError: there is none, or the file is none.
    """
    if name.endswith(".toml"):
        return read_device(Path(name))
    shipped = {path.stem: read_device(path) for path in sorted(FOLDER.glob("*.toml"))}
    for stem, found in shipped.items():
        if name.lower() in (stem, found.name.lower()):
            return found
    raise DataError(f"no device is called '{name}'; choose {', '.join(shipped)}, or a file .toml")
