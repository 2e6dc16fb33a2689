"""How many threads a network may use, and a batch shared among them: the same bits for every number."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from bnncc.diagnostics import PlatformError

THREADS_VARIABLE: Final = "BNNCC_NUM_THREADS"
_CPUS: Final = Path("/sys/devices/system/cpu")
_TILE_IMAGES: Final = 4
"""Dense layers take this many images at a time; a part is made of whole tiles where there are enough."""
_PART_WORK: Final = 1 << 27
"""Binary multiply-adds that make a part worth a thread: some 50 microseconds of the fastest form."""


def thread_count(wanted: int | None, environment: Mapping[str, str] | None = None) -> int:
    """Return the threads to use: ``wanted``, else ``BNNCC_NUM_THREADS``, else one a physical core.

    Raises:
        PlatformError: the number is none, or below 1.
    """
    given = (os.environ if environment is None else environment).get(THREADS_VARIABLE, "").strip()
    if wanted is None and given:
        if not given.isascii() or not given.isdigit() or int(given) < 1:
            raise PlatformError(f"{THREADS_VARIABLE} is '{given}'; give a number of threads, 1 or more")
        return int(given)
    if wanted is None:
        return physical_cores()
    if wanted < 1:
        raise PlatformError(f"a network cannot run on {wanted} threads; give 1 or more")
    return wanted


def physical_cores(cpus: Path = _CPUS) -> int:
    """Return the physical cores this process may use; logical ones where they cannot be told apart."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(cpus, cpu) for cpu in os.sched_getaffinity(0)})


def _siblings(cpus: Path, cpu: int) -> str:
    try:
        return (cpus / f"cpu{cpu}" / "topology" / "thread_siblings_list").read_text(encoding="ascii").strip()
    except OSError:
        return str(cpu)


def parts_of(images: int, work_per_image: int, threads: int) -> tuple[range, ...]:
    """Return the images of each part, in order, as even as whole tiles allow; little work is one part."""
    worthwhile = max(1, images * work_per_image // _PART_WORK)
    count = max(1, min(threads, images, worthwhile))
    step = _TILE_IMAGES if images >= _TILE_IMAGES * count else 1
    tiles = -(-images // step)
    bounds = [min(images, step * (tiles * part // count)) for part in range(count + 1)]
    return tuple(range(start, end) for start, end in pairwise(bounds))


@dataclass(kw_only=True)
class Team:
    """Threads that work on parts of one batch at a time.

    The caller's thread takes the first part. While the threads are busy with one batch, another caller works
    alone: so there are never more threads at work than callers and ``threads - 1``.
    """

    threads: int
    _busy: threading.Lock = field(default_factory=threading.Lock)
    _pool: ThreadPoolExecutor | None = None
    _process: int = 0

    def run(self, work: Callable[[range], None], parts: Sequence[range]) -> None:
        """Do ``work`` on every part, on one thread each."""
        self._start_again_after_fork()
        if len(parts) == 1 or not self._busy.acquire(blocking=False):
            for part in parts:
                work(part)
            return
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self.threads - 1, thread_name_prefix="bnncc")
            waiting = [self._pool.submit(work, part) for part in parts[1:]]
            try:
                work(parts[0])
            finally:
                # Nobody may free the arrays before all parts are done.
                failures = [error for item in waiting if (error := item.exception()) is not None]
            if failures:
                raise failures[0]
        finally:
            self._busy.release()

    def close(self) -> None:
        """End the threads; they start again when they are needed."""
        with self._busy:
            if self._pool is not None:
                self._pool.shutdown()
                self._pool = None

    def _start_again_after_fork(self) -> None:
        """A forked process has the lock and the pool, but none of the threads."""
        if self._process != os.getpid():
            self._process, self._pool, self._busy = os.getpid(), None, threading.Lock()
