"""The manifest of a package: what it is, what it was made from, and the hash of every entry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from bnncc.diagnostics import DataError
from bnncc.ir.types import Elem, TensorType

SCHEMA: Final = "bnncc-package/1"
_SCHEMA_FAMILY: Final = "bnncc-package/"

WeightsOrigin: TypeAlias = Literal["file", "run", "beside", "random"]
_ORIGINS: Final = ("file", "run", "beside", "random")


@dataclass(frozen=True, slots=True, kw_only=True)
class PortInfo:
    """An input or output of the network: its name, element and shape of one image."""

    name: str
    elem: str
    shape: tuple[int, ...]

    @property
    def type(self) -> TensorType:
        """Return it as a type of the IR."""
        return TensorType(Elem(self.elem), self.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceInfo:
    """A file of the user's source: its name in diagnostics, and its entry. The model is first."""

    name: str
    entry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightsInfo:
    """Where the weights come from.

    Args:
        origin: a file named by the user, the last training run, ``model.safetensors`` beside the source, or
            a random generator.
        sha256: of the weights file; empty for random weights.
        seed: of random weights.
    """

    origin: WeightsOrigin
    sha256: str = ""
    seed: int | None = None

    @property
    def is_trained(self) -> bool:
        """Return whether the weights are anything but random."""
        return self.origin != "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetInfo:
    """A target of the package.

    Args:
        name: ``c`` or ``cuda``.
        options: as given to the target, in text.
        sources: the entries the target generated.
        binaries: the entries built from them.
        missing: binaries that were asked for and could not be built here.
    """

    name: str
    options: Mapping[str, str]
    sources: tuple[str, ...]
    binaries: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryInfo:
    """Size and hash of an entry."""

    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What ``manifest.json`` says.

    Args:
        compiler: the version of bnncc that wrote it.
        overrides: network parameters set by the user (``-D``).
        stages: the hash of the text of each stage, e.g. ``nn``, ``c.kernel``.
        entries: every entry but the manifest.
    """

    compiler: str
    network: str
    inputs: tuple[PortInfo, ...]
    outputs: tuple[PortInfo, ...]
    overrides: Mapping[str, str]
    sources: tuple[SourceInfo, ...]
    weights: WeightsInfo
    targets: tuple[TargetInfo, ...]
    stages: Mapping[str, str]
    entries: Mapping[str, EntryInfo]

    def target(self, name: str) -> TargetInfo | None:
        """Return the target of that name, None where the package does not have it."""
        return next((item for item in self.targets if item.name == name), None)

    def to_json(self) -> bytes:
        """Return the manifest as indented JSON with sorted keys."""
        content = {"schema": SCHEMA, **asdict(self)}
        content["weights"]["is_trained"] = self.weights.is_trained
        return (json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()

    @staticmethod
    def from_json(raw: bytes, label: str) -> Manifest:
        """Return the manifest that ``raw`` spells; ``label`` names the package in errors.

        Raises:
            DataError: it is not JSON, of an unknown schema, or a field is missing or of the wrong kind.
        """
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise DataError(f"'{label}': manifest.json is not JSON: {error}") from error
        return _manifest(_Reader(label, "manifest.json", _mapping(content, label, "manifest.json")))


def entry_info(content: bytes) -> EntryInfo:
    """Return size and hash of ``content``."""
    return EntryInfo(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


FieldT = TypeVar("FieldT")


def _mapping(item: object, label: str, place: str) -> Mapping[str, object]:
    if not isinstance(item, dict):
        raise DataError(f"'{label}': {place} is not an object")
    return item


@dataclass(frozen=True, slots=True)
class _Reader:
    """Typed access to a JSON object; every error names the field."""

    label: str
    place: str
    content: Mapping[str, object]

    def get(self, name: str, kind: type[FieldT]) -> FieldT:
        value = self.content.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise DataError(f"'{self.label}': '{name}' of {self.place} is missing or of the wrong kind")
        return value

    def objects(self, name: str) -> tuple[_Reader, ...]:
        items = self.get(name, list)
        place = f"{self.place}: {name}"
        return tuple(_Reader(self.label, place, _mapping(item, self.label, place)) for item in items)

    def list_of(self, name: str, kind: type[FieldT]) -> tuple[FieldT, ...]:
        items = self.get(name, list)
        if not all(isinstance(item, kind) and not isinstance(item, bool) for item in items):
            raise DataError(f"'{self.label}': '{name}' of {self.place} is of the wrong kind")
        return tuple(items)

    def texts(self, name: str) -> Mapping[str, str]:
        items = self.get(name, dict)
        if not all(isinstance(key, str) and isinstance(value, str) for key, value in items.items()):
            raise DataError(f"'{self.label}': '{name}' of {self.place} is of the wrong kind")
        return items

    def one_of(self, name: str, allowed: tuple[FieldT, ...]) -> FieldT:
        value = self.content.get(name)
        for item in allowed:
            if value == item:
                return item
        raise DataError(f"'{self.label}': '{name}' of {self.place} is {str(value)[:40]!r}, which is unknown")


def _manifest(reader: _Reader) -> Manifest:
    schema = reader.get("schema", str)
    if schema != SCHEMA:
        newer = " (a newer bnncc wrote it?)" if schema.startswith(_SCHEMA_FAMILY) else ""
        raise DataError(
            f"'{reader.label}' has the schema {schema[:40]!r}{newer}; this bnncc reads '{SCHEMA}'"
        )
    entries = reader.get("entries", dict)
    return Manifest(
        compiler=reader.get("compiler", str),
        network=reader.get("network", str),
        inputs=tuple(_port(item) for item in reader.objects("inputs")),
        outputs=tuple(_port(item) for item in reader.objects("outputs")),
        overrides=reader.texts("overrides"),
        sources=tuple(
            SourceInfo(name=item.get("name", str), entry=item.get("entry", str))
            for item in reader.objects("sources")
        ),
        weights=_weights(_Reader(reader.label, "manifest.json: weights", reader.get("weights", dict))),
        targets=tuple(_target(item) for item in reader.objects("targets")),
        stages=reader.texts("stages"),
        entries={name: _entry(reader.label, name, item) for name, item in entries.items()},
    )


def _port(reader: _Reader) -> PortInfo:
    elem = reader.one_of("elem", tuple(item.value for item in Elem))
    shape = reader.list_of("shape", int)
    if not all(0 < axis < 1 << 31 for axis in shape):
        raise DataError(f"'{reader.label}': a shape in {reader.place} is not positive")
    return PortInfo(name=reader.get("name", str), elem=elem, shape=shape)


def _weights(reader: _Reader) -> WeightsInfo:
    seed = None if reader.content.get("seed") is None else reader.get("seed", int)
    origin: WeightsOrigin = reader.one_of("origin", _ORIGINS)
    return WeightsInfo(origin=origin, sha256=reader.get("sha256", str), seed=seed)


def _target(reader: _Reader) -> TargetInfo:
    return TargetInfo(
        name=reader.one_of("name", ("c", "cuda")),
        options=reader.texts("options"),
        sources=reader.list_of("sources", str),
        binaries=reader.list_of("binaries", str),
        missing=reader.list_of("missing", str),
    )


def _entry(label: str, name: str, item: object) -> EntryInfo:
    reader = _Reader(
        label, f"manifest.json: entry '{name[:80]}'", _mapping(item, label, "manifest.json: entries")
    )
    return EntryInfo(size_bytes=reader.get("size_bytes", int), sha256=reader.get("sha256", str))
