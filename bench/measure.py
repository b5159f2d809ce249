"""Clocks, CPU time and memory of process trees, medians and ratios."""

from __future__ import annotations

import os
import statistics
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import attrs
import psutil

MIB = 1024 * 1024


def timed(work: Callable[[], object]) -> float:
    """Seconds that ``work`` took."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def alternate(
    rounds: int, ours: Callable[[], float], peer: Callable[[], float]
) -> tuple[float, float]:
    """Medians of both, measured in turns so that the noise of the machine hits both alike."""
    mine: list[float] = []
    theirs: list[float] = []
    for number in range(rounds):
        pair = [(mine, ours), (theirs, peer)]
        for results, measure in pair if number % 2 else reversed(pair):
            results.append(measure())
    return statistics.median(mine), statistics.median(theirs)


def family(roots: Iterable[int]) -> list[psutil.Process]:
    """The processes and all their living descendants."""
    found: dict[int, psutil.Process] = {}
    for pid in roots:
        try:
            process = psutil.Process(pid)
            for member in (process, *process.children(recursive=True)):
                found[member.pid] = member
        except psutil.NoSuchProcess:
            continue
    return list(found.values())


class CpuAccount:
    """CPU seconds of servers with everything they ever start, from a control group of their own.

    Summing up processes would not do: fcgiwrap ignores SIGCHLD, so that the time of its children
    is never added to its own. Needs root, and cpuacct (cgroups v1) or cpu.stat (v2).
    """

    def __init__(self, name: str) -> None:
        first, second = Path("/sys/fs/cgroup/cpuacct"), Path("/sys/fs/cgroup")
        self._folder = (first if first.is_dir() else second) / f"wit-bench-{os.getpid()}-{name}"
        self._folder.mkdir()
        self._v1 = first.is_dir()

    def add(self, roots: Iterable[int]) -> None:
        """From now on these processes, their children and all that they start are counted."""
        for process in family(roots):
            (self._folder / "cgroup.procs").write_text(str(process.pid))

    def seconds(self) -> float:
        if self._v1:
            return int((self._folder / "cpuacct.usage").read_text()) / 1e9
        lines = (self._folder / "cpu.stat").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("usage_usec")) / 1e6

    def close(self) -> None:
        """Call when the processes have ended."""
        with suppress(OSError):
            self._folder.rmdir()


@attrs.frozen
class Memory:
    """Bytes of a group of processes."""

    rss: int
    """As ps(1) shows it, added up: a page that several map counts for each."""
    pss: int
    """Each page counts once, divided among those who map it; the mapped files' cache included."""


def memory(roots: Iterable[int]) -> Memory:
    """What the processes and their descendants have in memory now."""
    sums = {"Rss:": 0, "Pss:": 0}
    for process in family(roots):
        with suppress(OSError):
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                name, _, rest = line.partition(" ")
                if name in sums:
                    sums[name] += int(rest.split()[0]) * 1024
    return Memory(sums["Rss:"], sums["Pss:"])


class PeakMemory:
    """Samples :func:`memory` while the ``with`` block runs; ``rss`` and ``pss`` are the peaks."""

    def __init__(self, roots: Iterable[int], every: float = 0.05) -> None:
        self._roots = list(roots)
        self._every = every
        self.rss = 0
        self.pss = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(self._every):
            self._look()

    def _look(self) -> None:
        now = memory(self._roots)
        self.rss, self.pss = max(self.rss, now.rss), max(self.pss, now.pss)


@attrs.frozen
class Result:
    """One line of the table."""

    work: str
    ours: str
    against: str
    peer: str
    ratio: float | None
    goal: str
    met: bool

    def row(self) -> str:
        ratio = f"{self.ratio:.2f} ×" if self.ratio is not None else "–"
        mark = "–" if self.goal == "–" else "yes" if self.met else "**no**"
        return (
            f"| {self.work} | {self.ours} | {self.against}: {self.peer} | {ratio} "
            f"| {self.goal} | {mark} |"
        )


HEADER = "| work | wit | against | ratio | goal | reached |\n|---|---|---|---|---|---|"


def compare(
    work: str,
    against: str,
    ours: float,
    peer: float,
    *,
    at_most: float | None = None,
    at_least: float | None = None,
    unit: str = "s",
) -> Result:
    """A line whose ratio is ours divided by the peer's."""
    ratio = ours / peer if peer else float("inf")
    met = ratio <= at_most if at_most is not None else ratio >= (at_least or 0)
    goal = f"≤ {at_most:.2f} ×" if at_most is not None else f"≥ {at_least:.1f} ×"
    return Result(work, f"{ours:.3g} {unit}", against, f"{peer:.3g} {unit}", ratio, goal, met)
