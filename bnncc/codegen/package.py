"""The package: one file with a compiled network, its source, its weights and what was generated from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy.typing as npt

from bnncc._files import read_bytes, write_atomically
from bnncc.codegen.archive import MAX_ARCHIVE_BYTES, read_archive, write_archive
from bnncc.codegen.manifest import Manifest, entry_info
from bnncc.codegen.packed_weights import decode_weights
from bnncc.diagnostics import DataError, Source

Array: TypeAlias = npt.NDArray[Any]

MANIFEST: Final = "manifest.json"
NN_IR: Final = "ir/model.nn.bnnir"
WEIGHTS: Final = "weights.safetensors"
REPORT: Final = "report.json"
SUFFIX: Final = ".bnnpkg"


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A compiled network.

    The nn-level IR and the weights are what counts: programs for every target are generated from them again
    where the package is used. Generated sources and binaries are there to be read, and for machines
    without a compiler.

    Args:
        manifest: what is inside.
        entries: every entry but the manifest, by name.
        label: how to call it in messages; the path it was read from.
    """

    manifest: Manifest
    entries: Mapping[str, bytes] = field(repr=False)
    label: str = field(default="package", compare=False)

    @staticmethod
    def load(path: Path | str) -> Package:
        """Return the package in the file ``path``, every size and hash checked.

        Raises:
            DataError: missing, damaged or hostile; names the entry.
        """
        file = Path(path)
        if file.is_file() and file.stat().st_size > MAX_ARCHIVE_BYTES:
            raise DataError(f"'{path}' is larger than a package can be ({MAX_ARCHIVE_BYTES >> 30} GiB)")
        return Package.from_bytes(read_bytes(file, "package"), str(path))

    @staticmethod
    def from_bytes(raw: bytes, label: str = "package") -> Package:
        """Return the package that the file content ``raw`` is.

        Raises:
            DataError: damaged or hostile; names the entry.
        """
        entries = read_archive(raw, label)
        if MANIFEST not in entries:
            raise DataError(f"'{label}' is not a bnncc package: it has no {MANIFEST}")
        manifest = Manifest.from_json(entries.pop(MANIFEST), label)
        _check_entries(manifest, entries, label)
        return Package(manifest=manifest, entries=entries, label=label)

    def to_bytes(self) -> bytes:
        """Return the content of the package file; the same bytes for the same package."""
        return write_archive({**self.entries, MANIFEST: self.manifest.to_json()})

    def save(self, path: Path | str) -> None:
        """Write the package to ``path``; the file appears whole or not at all."""
        write_atomically(Path(path), self.to_bytes())

    def text(self, name: str) -> str:
        """Return the entry ``name`` as text.

        Raises:
            DataError: there is no such entry, or it is not UTF-8.
        """
        try:
            return self.entry(name).decode()
        except UnicodeDecodeError as error:
            raise DataError(f"'{self.label}': the entry '{name}' is not UTF-8 text") from error

    def entry(self, name: str) -> bytes:
        """Return the entry ``name``.

        Raises:
            DataError: there is no such entry.
        """
        if name not in self.entries:
            raise DataError(f"'{self.label}' has no entry '{name}'")
        return self.entries[name]

    def names(self, prefix: str) -> tuple[str, ...]:
        """Return the names of the entries below the folder ``prefix``, sorted."""
        return tuple(sorted(name for name in self.entries if name.startswith(prefix)))

    @property
    def sources(self) -> tuple[Source, ...]:
        """Return the ``.bnn`` files the network was written in, the model first."""
        return tuple(Source(item.name, self.text(item.entry)) for item in self.manifest.sources)

    @property
    def weights(self) -> dict[str, Array]:
        """Return the parameters by name; binary ones as int8 -1/+1."""
        return decode_weights(self.entry(WEIGHTS), f"{self.label}: {WEIGHTS}")


def make_package(manifest: Manifest, entries: Mapping[str, bytes], label: str = "package") -> Package:
    """Return a package of ``entries``, their sizes and hashes put into ``manifest``."""
    infos = {name: entry_info(content) for name, content in sorted(entries.items())}
    return Package(manifest=replace(manifest, entries=infos), entries=dict(entries), label=label)


def _check_entries(manifest: Manifest, entries: Mapping[str, bytes], label: str) -> None:
    for name, said in manifest.entries.items():
        if name not in entries:
            raise DataError(f"'{label}': the entry '{name}' is missing")
        if entry_info(entries[name]) != said:
            raise DataError(f"'{label}': the entry '{name}' does not have the hash that the manifest says")
    if unknown := sorted(set(entries) - set(manifest.entries)):
        raise DataError(f"'{label}': the manifest does not know the entry '{unknown[0]}'")
    claimed = [item.entry for item in manifest.sources]
    claimed += [name for target in manifest.targets for name in (*target.sources, *target.binaries)]
    for name in (*claimed, NN_IR, WEIGHTS):
        if name not in entries:
            raise DataError(f"'{label}': the entry '{name}' is missing")
