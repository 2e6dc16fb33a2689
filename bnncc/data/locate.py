"""Finding the files of a data set: offline folders first, each file checked, then the publisher's place."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bnncc.data.published import PublishedFile
from bnncc.diagnostics import DataError


def md5_of(content: bytes) -> str:
    """Return the md5 of ``content``, as publishers give it; it guards against damage, not against malice."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where files are looked for.

    Args:
        roots: folders of data sets, in order.
        cache: where downloads are kept; looked at last.
        download: whether what is not found is fetched.
    """

    roots: tuple[Path, ...]
    cache: Path
    download: bool

    @classmethod
    def usual(cls, data_dir: Path | None, *, download: bool) -> Places:
        """Return ``data_dir``, else ``$BNNCC_DATA``, and the cache of this user."""
        chosen = data_dir or (Path(given) if (given := os.environ.get("BNNCC_DATA")) else None)
        if chosen is not None and not chosen.is_dir():
            raise DataError(f"The data folder '{chosen}' does not exist.")
        return cls(roots=() if chosen is None else (chosen,), cache=_user_cache() / "data", download=download)

    def folders(self, names: tuple[str, ...]) -> Iterator[Path]:
        """Yield every folder a data set may lie in that is usually kept in folders of these ``names``."""
        for root in self.roots:
            yield from (root / name for name in names)
            yield root
        yield self.cache / names[0]


def _user_cache() -> Path:
    if chosen := os.environ.get("BNNCC_CACHE_DIR"):
        return Path(chosen).absolute()
    import pooch

    return Path(pooch.os_cache("bnncc"))


def find(places: Places, names: tuple[str, ...], file: PublishedFile) -> bytes | None:
    """Return the content of ``file`` (unpacked where it is ``.gz``), or None where it lies nowhere.

    Raises:
        DataError: if a file of that name lies in one of the named folders with another hash.
    """
    for folder in places.folders(names):
        for path, md5, is_packed in _forms(folder, file):
            if not path.is_file():
                continue
            content = path.read_bytes()
            if md5_of(content) == md5:
                return gzip.decompress(content) if is_packed else content
            if folder not in places.roots:
                raise DataError(
                    f"'{path}' is not the published '{file.name}': its md5 is {md5_of(content)}, "
                    f"expected {md5}. "
                    "Remove the file, or give the folder of your own images as the data set."
                )
    return None


def _forms(folder: Path, file: PublishedFile) -> Iterator[tuple[Path, str, bool]]:
    is_packed = file.name.endswith(".gz") and bool(file.plain_md5)
    yield folder / file.name, file.md5, is_packed
    if is_packed:
        yield folder / file.name.removesuffix(".gz"), file.plain_md5, False


def obtain(places: Places, names: tuple[str, ...], file: PublishedFile) -> bytes:
    """Return the content of ``file``, found offline or fetched into the cache.

    Raises:
        DataError: if it is neither, or has another hash than published.
    """
    content = find(places, names, file)
    if content is not None:
        return content
    if not places.download:
        raise missing(places, names, file)
    _fetch(places.cache / names[0], file)
    content = find(places, names, file)
    if content is None:
        raise missing(places, names, file)
    return content


def missing(places: Places, names: tuple[str, ...], file: PublishedFile) -> DataError:
    """Return the error for a file that lies nowhere."""
    looked = ", ".join(f"'{folder}'" for folder in places.folders(names))
    where = f" Its publisher's place: {file.places[0]}{file.name}" if file.places else ""
    return DataError(
        f"'{file.name}' (md5 {file.md5}) was not found. Looked in {looked}. "
        f"Name a folder that holds it with --data-dir or BNNCC_DATA, or allow the download.{where}"
    )


def _fetch(folder: Path, file: PublishedFile) -> None:
    import pooch

    failures: list[str] = []
    for place in file.places:
        try:
            pooch.retrieve(
                url=place + file.name,
                known_hash=f"md5:{file.md5}",
                fname=file.name,
                path=folder,
                downloader=pooch.HTTPDownloader(timeout=60),
            )
        except (OSError, ValueError) as error:  # network and file errors; a hash that differs
            failures.append(f"{place}{file.name}: {error}")
        else:
            return
    tried = "; ".join(failures)
    raise DataError(
        f"'{file.name}' could not be downloaded ({tried}). Without a network, put it into '{folder}', "
        "or name a folder that holds it with --data-dir or BNNCC_DATA."
    )
