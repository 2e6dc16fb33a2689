"""How many threads a network may use, and the threads: the same bits for every number of them."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bnncc.diagnostics import PlatformError

THREADS_VARIABLE: Final = "BNNCC_NUM_THREADS"
_CPUS: Final = Path("/sys/devices/system/cpu")
_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")
_PART_WORK: Final = 25_000_000
"""Binary multiply-adds that make a part worth a thread: some 20 microseconds of the fastest form."""


def thread_count(wanted: int | None, environment: Mapping[str, str] | None = None) -> int:
    """Return the threads to use: ``wanted``, else ``BNNCC_NUM_THREADS``, else one a core it may use.

    Raises:
        PlatformError: the number is none, or below 1.
    """
    given = (os.environ if environment is None else environment).get(THREADS_VARIABLE, "").strip()
    if wanted is None and given:
        if not given.isascii() or not given.isdigit() or int(given) < 1:
            raise PlatformError(f"{THREADS_VARIABLE} is '{given}'; give a number of threads, 1 or more")
        return int(given)
    if wanted is None:
        return usable_cores()
    if wanted < 1:
        raise PlatformError(f"a network cannot run on {wanted} threads; give 1 or more")
    return wanted


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return the physical cores of this process, at most what its control group grants of their time."""
    cores = physical_cores()
    with suppress(OSError, ValueError):
        granted, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, -(-int(granted) // int(period))))
    return cores


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


def parts_of(images: int, work_per_image: int, threads: int) -> int:
    """Return how many threads are worth calling for ``images``."""
    return max(1, min(threads, images * work_per_image // _PART_WORK))


@dataclass(kw_only=True)
class Team:
    """The threads of a library with ``bnncc_threads.c``: they share each layer of one call at a time.

    The caller's thread is the first of them. While the threads are busy with one call, another caller works
    alone: so there are never more threads at work than callers and ``threads - 1``.
    """

    threads: int
    library: ctypes.CDLL
    _busy: threading.Lock = field(default_factory=threading.Lock)
    _pool: int | None = None
    _process: int = 0

    @property
    def for_each(self) -> int:
        """Return the address of ``bnncc_threads_for_each``."""
        return ctypes.cast(self.library.bnncc_threads_for_each, ctypes.c_void_p).value or 0

    @contextmanager
    def borrowed(self, parts: int) -> Iterator[int | None]:
        """Give the pool to a caller with work in ``parts``; None where nobody is there to share it."""
        self._start_again_after_fork()
        if parts <= 1 or not self._busy.acquire(blocking=False):
            yield None
            return
        try:
            if self._pool is None:
                start = self.library.bnncc_threads_start
                start.argtypes, start.restype = [ctypes.c_size_t], ctypes.c_void_p
                self._pool = start(self.threads)
            yield self._pool
        finally:
            self._busy.release()

    def close(self) -> None:
        """End the threads; they start again when they are needed."""
        with self._busy:
            pool, self._pool = self._pool, None
            if pool is not None and self._process == os.getpid():
                stop = self.library.bnncc_threads_stop
                stop.argtypes, stop.restype = [ctypes.c_void_p], None
                stop(pool)

    def _start_again_after_fork(self) -> None:
        """A forked process has the lock and the pool, but none of the threads."""
        if self._process != os.getpid():
            self._process, self._pool, self._busy = os.getpid(), None, threading.Lock()
