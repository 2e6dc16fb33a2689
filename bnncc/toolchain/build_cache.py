"""A content-addressed cache of built files that survives crashes and many processes at once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from bnncc.diagnostics import InternalError, PlatformError
from bnncc.toolchain.host_compiler import HostCompiler, compile_shared

_MANIFEST: Final = "manifest.json"
_ATTEMPTS: Final = 3


def cache_key(*parts: str | bytes) -> str:
    """Return the sha256 (hexadecimal) of ``parts``, each length-prefixed: they cannot run together."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "little"))
        digest.update(raw)
    return digest.hexdigest()


def default_cache_root() -> Path:
    """Return ``$BNNCC_CACHE_DIR``, else ``$XDG_CACHE_HOME/bnncc``, else ``~/.cache/bnncc``."""
    if chosen := os.environ.get("BNNCC_CACHE_DIR"):
        return Path(chosen).absolute()
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base).absolute() / "bnncc"
    return Path.home() / ".cache" / "bnncc"


@dataclass(frozen=True, slots=True)
class BuildCache:
    """Folders of built files, each under the hash of everything it was made from.

    An entry appears whole or not at all (it is built aside and renamed), and is read only if every
    file has the size and hash that its manifest says; anything else is a miss and is built again.

    Args:
        root: the folder, made when first needed.
    """

    root: Path

    @classmethod
    def default(cls) -> BuildCache:
        """Return the cache of this user."""
        return cls(default_cache_root())

    def get(self, key: str) -> Path | None:
        """Return the folder of ``key``, or None where there is none or it is broken."""
        folder = self._folder(key)
        return folder if _is_whole(folder) else None

    def get_or_build(self, key: str, build: Callable[[Path], None]) -> Path:
        """Return the folder of ``key``; where it is missing, ``build`` fills an empty one first.

        Raises:
            PlatformError: the cache folder cannot be written.
        """
        if (found := self.get(key)) is not None:
            return found
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            aside = Path(tempfile.mkdtemp(prefix="tmp-", dir=self.root))
        except OSError as error:
            raise PlatformError(
                f"cannot write the build cache '{self.root}': {error}. "
                "Set BNNCC_CACHE_DIR to a folder you own."
            ) from error
        try:
            build(aside)
            _write_manifest(aside)
            return self._publish(aside, key)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def shared_library(
        self,
        compiler: HostCompiler,
        sources: Sequence[tuple[str, str]],
        flags: Sequence[str],
        *,
        name: str,
        own_flags: Mapping[str, Sequence[str]] = MappingProxyType({}),
    ) -> Path:
        """Return the shared library ``name`` compiled from ``sources``, from the cache where it can be.

        Args:
            compiler: what compiles; its identity is part of the key.
            sources: file name and text; headers (``.h``) are written beside the others, for ``#include``.
            flags: compiler flags; what ``-march=native`` means here is not part of the key, so spell it out.
            name: file name of the library.
            own_flags: additional flags of single files, by name.
        """
        parts = [part for source in sources for part in (*source, *own_flags.get(source[0], ()), ";")]
        key = cache_key("shared-library", name, compiler.identity, *flags, "--", *parts)

        def build(folder: Path) -> None:
            for file_name, text in sources:
                (folder / file_name).write_text(text, encoding="utf-8")
            # Relative names keep the temporary folder out of the library's debug information.
            units = [Path(file_name) for file_name, _ in sources if not file_name.endswith((".h", ".inc"))]
            compile_shared(compiler, units, flags, output=folder / name, own_flags=own_flags)
            for unit in own_flags:
                (folder / unit).with_suffix(".o").unlink()

        return self.get_or_build(key, build) / name

    def _folder(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _publish(self, aside: Path, key: str) -> Path:
        folder = self._folder(key)
        folder.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            try:
                aside.rename(folder)
            except OSError:  # somebody else's entry is there: good if whole, else out of the way with it
                if _is_whole(folder):
                    return folder
                _discard(folder, self.root)
            else:
                return folder
        raise InternalError(f"cannot publish '{folder}' in the build cache")


def _discard(folder: Path, root: Path) -> None:
    with suppress(OSError):
        aside = Path(tempfile.mkdtemp(prefix="tmp-", dir=root))
        folder.rename(aside / "broken")
        shutil.rmtree(aside, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != _MANIFEST)


def _write_manifest(folder: Path) -> None:
    entries = {path.relative_to(folder).as_posix(): _sha256(path) for path in _files(folder)}
    (folder / _MANIFEST).write_text(json.dumps(entries, indent=1), encoding="utf-8")


def _is_whole(folder: Path) -> bool:
    try:
        entries = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        return bool(entries) and all(_sha256(folder / name) == digest for name, digest in entries.items())
    except (OSError, ValueError, AttributeError, TypeError):
        return False
