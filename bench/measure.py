"""Clocks, CPU time and memory of process trees, medians and ratios."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import attrs
import psutil

T = TypeVar("T")


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


def cpu_seconds(roots: Iterable[int]) -> float:
    """User and system time of the processes and of all children they have waited for."""
    total = 0.0
    for process in family(roots):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def memory(roots: Iterable[int]) -> int:
    """Bytes in memory (PSS: shared pages count once) of the processes and their descendants."""
    total = 0
    for process in family(roots):
        try:
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
        except OSError:
            continue
    return total


class PeakMemory:
    """Samples :func:`memory` while the ``with`` block runs; ``peak`` and ``before`` in bytes."""

    def __init__(self, roots: Iterable[int], every: float = 0.05) -> None:
        self.roots = list(roots)
        self.every = every
        self.before = 0
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> PeakMemory:
        self.before = self.peak = memory(self.roots)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(self.every):
            self.peak = max(self.peak, memory(self.roots))


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
        mark = "yes" if self.met else "**no**"
        return (
            f"| {self.work} | {self.ours} | {self.against}: {self.peer} | {ratio} "
            f"| {self.goal} | {mark} |"
        )


HEADER = (
    "| work | wit | against | ratio | goal | reached |\n"
    "|---|---|---|---|---|---|"
)


def compare(
    work: str, against: str, ours: float, peer: float, *, at_most: float | None = None,
    at_least: float | None = None, unit: str = "s",
) -> Result:
    """A line whose ratio is ours divided by the peer's."""
    ratio = ours / peer if peer else float("inf")
    met = ratio <= at_most if at_most is not None else ratio >= (at_least or 0)
    goal = f"≤ {at_most:.2f} ×" if at_most is not None else f"≥ {at_least:.1f} ×"
    return Result(work, f"{ours:.3g} {unit}", against, f"{peer:.3g} {unit}", ratio, goal, met)
