"""What was measured, in one file: readable, written whole, read by ``compile``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from bnncc._files import write_atomically
from bnncc._version import __version__
from bnncc.diagnostics import DataError
from bnncc.toolchain.build_cache import default_cache_root

SCHEMA: Final = "bnncc-tuning/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a measurement counts: nowhere else.

    Args:
        target: ``c`` or ``cuda``.
        device: what ran: processor or GPU, and the form of the code.
        compiler: what compiled it.
        bnncc: the version that generated the code.
    """

    target: str
    device: str
    compiler: str
    bnncc: str = __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One measurement.

    Args:
        place: where it counts.
        problem: what was to be computed.
        choice: the fastest way, as text that the target reads.
        measured: how it was found, for people.
    """

    place: Place
    problem: str
    choice: str
    measured: str

    @property
    def key(self) -> tuple[Place, str]:
        """Return what there is one entry for."""
        return self.place, self.problem


@dataclass(frozen=True, slots=True)
class TuningStore:
    """The measurements in one file.

    Args:
        path: of the file; it need not be there.
    """

    path: Path

    @staticmethod
    def default() -> TuningStore:
        """Return the store of this user, in the folder of the build cache."""
        return TuningStore(default_cache_root() / "tuning.json")

    def entries(self) -> tuple[Entry, ...]:
        """Return all measurements.

        Raises:
            DataError: the file is damaged.
        """
        if not self.path.is_file():
            return ()
        try:
            content = json.loads(self.path.read_bytes())
            if content["schema"] != SCHEMA:
                raise DataError(f"'{self.path}' is of another version; bnncc tune --clear removes it")
            return tuple(_entry(item) for item in content["entries"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(f"'{self.path}' is damaged; bnncc tune --clear removes it") from error

    def at(self, place: Place) -> Mapping[str, Entry]:
        """Return what was measured at ``place``, by problem."""
        return {entry.problem: entry for entry in self.entries() if entry.place == place}

    def add(self, new: Iterable[Entry]) -> None:
        """Write ``new`` entries; they replace those of the same problem and place."""
        found = {entry.key: entry for entry in (*self.entries(), *new)}
        ordered = sorted(found.values(), key=lambda entry: (*asdict(entry.place).values(), entry.problem))
        content = {"schema": SCHEMA, "entries": [asdict(entry) for entry in ordered]}
        write_atomically(self.path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")

    def clear(self) -> bool:
        """Remove the file; return whether it was there."""
        was_there = self.path.exists()
        self.path.unlink(missing_ok=True)
        return was_there


def digest(used: Iterable[Entry]) -> str:
    """Return the sha256 of ``used`` entries: what they decided, not how long it took."""
    texts = sorted(f"{entry.problem}\n{entry.choice}\n" for entry in used)
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _entry(item: Mapping[str, object]) -> Entry:
    texts = item["place"]
    if not isinstance(texts, dict) or set(texts) != {field.name for field in fields(Place)}:
        raise ValueError(item)
    found = {name: item[name] for name in ("problem", "choice", "measured")}
    if not all(isinstance(text, str) for text in (*texts.values(), *found.values())):
        raise TypeError(item)
    return Entry(place=Place(**texts), **{name: str(text) for name, text in found.items()})
