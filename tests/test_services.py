"""The service tree: order, failures, and being told to stop at any moment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from tests.conftest import Run
from wit.runtime import Runtime
from wit.services import Again, Hooks, Together, Tree


class Part:
    """Writes down what happens to it."""

    def __init__(self, log: list[str], name: str, **fate: Callable[[], Awaitable[Any]]) -> None:
        self.log, self.name, self.fate = log, name, fate

    async def start(self) -> None:
        await self._meet("start")

    async def stop(self) -> None:
        await self._meet("stop")

    async def _meet(self, what: str) -> None:
        self.log.append(f"{what} {self.name}")
        if what in self.fate:
            try:
                await self.fate[what]()
            except CancelledError:
                self.log.append(f"cancelled {self.name}")
                raise
        self.log.append(f"{what}ed {self.name}".replace("stoped", "stopped"))


class Gate:
    """Something that takes until it is opened."""

    def __init__(self) -> None:
        self.waiting: Deferred[None] = Deferred()

    async def __call__(self) -> None:
        await self.waiting

    def open(self) -> None:
        self.waiting.callback(None)


async def fail() -> None:
    raise ValueError("no")


def tree(*parts: Part) -> Tree:
    return Tree([(part.name, part) for part in parts])


async def begin(tree: Tree) -> None:
    tree.startService()
    await tree.started


@pytest.fixture
def failures() -> Any:
    """What was logged as a failure meanwhile."""
    events: list[Any] = []

    def observe(event: Any) -> None:
        if "log_failure" in event:
            events.append(event)

    observer: Any = observe
    globalLogPublisher.addObserver(observer)
    yield events
    globalLogPublisher.removeObserver(observer)


def test_order(run: Run) -> None:
    log: list[str] = []
    gate = Gate()
    root = tree(Part(log, "a", start=gate), Part(log, "b", stop=fail), Part(log, "c"))

    async def life() -> None:
        root.startService()
        assert log == ["start a"], "the next one waits"
        assert not root.up
        gate.open()
        await root.started
        assert root.up and root.running
        await root.stopService()

    run(life())
    assert log == [
        "start a", "started a", "start b", "started b", "start c", "started c",
        "stop c", "stopped c", "stop b", "stop a", "stopped a",
    ]  # fmt: skip
    assert not root.up and not root.running


def test_a_part_that_cannot_start(run: Run) -> None:
    log: list[str] = []
    root = tree(Part(log, "a"), Part(log, "b", start=fail), Part(log, "c"))
    with pytest.raises(ValueError, match="no"):
        run(begin(root))
    assert log == ["start a", "started a", "start b", "stop a", "stopped a"]

    async def stop() -> None:
        await root.stopService()

    run(stop())
    assert log[-1] == "stopped a" and log.count("stop a") == 1


def test_stop_while_starting(run: Run) -> None:
    """The start is cancelled; the stop is over when everything that ran has stopped."""
    log: list[str] = []
    slow_stop = Gate()
    root = tree(Part(log, "a", stop=slow_stop), Part(log, "b", start=Gate()), Part(log, "c"))

    async def life() -> None:
        root.startService()
        stopping = [root.stopService(), root.stopService()]
        assert not root.started.called, "not before what ran has stopped"
        slow_stop.open()
        with pytest.raises(CancelledError):
            await root.started
        for stopped in stopping:
            await stopped

    run(life())
    assert log == ["start a", "started a", "start b", "cancelled b", "stop a", "stopped a"]
    assert root.stopping


def test_stop_is_not_cancelled_with_its_caller(run: Run) -> None:
    log: list[str] = []
    gate = Gate()
    root = tree(Part(log, "a", stop=gate))

    async def life() -> None:
        await begin(root)
        impatient = root.stopService()
        impatient.cancel()
        with pytest.raises(CancelledError):
            await impatient
        patient = root.stopService()
        assert not patient.called
        gate.open()
        await patient

    run(life())
    assert log[-1] == "stopped a"


def test_stop_before_start(run: Run) -> None:
    log: list[str] = []

    async def stop() -> None:
        await tree(Part(log, "a")).stopService()

    run(stop())
    assert log == []


def test_together(run: Run, failures: list[Any]) -> None:
    log: list[str] = []
    gate = Gate()
    both = Together(Part(log, "a", stop=gate), Part(log, "b", stop=fail))

    async def life() -> None:
        await both.start()
        stopping = Deferred.fromCoroutine(both.stop())
        assert log[-2:] == ["stop a", "stop b"], "both at once"
        assert not stopping.called, "one that fails does not hide that the other is at it"
        gate.open()
        await stopping

    run(life())
    assert log[:4] == ["start a", "started a", "start b", "started b"]
    assert log[-1] == "stopped a"
    assert [str(event["log_failure"].value) for event in failures] == ["no"]


@pytest.mark.parametrize("how", ["failed", "cancelled"])
def test_together_leaves_nothing_half_started(run: Run, how: str) -> None:
    log: list[str] = []
    gate = Gate()
    both = Together(Part(log, "a"), Part(log, "b", start=gate if how == "cancelled" else fail))

    async def life() -> None:
        starting = Deferred.fromCoroutine(both.start())
        if how == "cancelled":
            starting.cancel()
        await starting

    with pytest.raises(CancelledError if how == "cancelled" else ValueError):
        run(life())
    assert log[-2:] == ["stop a", "stopped a"]


def test_hooks(run: Run) -> None:
    log: list[str] = []

    async def note() -> None:
        log.append("called")

    async def life() -> None:
        for part in (Hooks(), Hooks(note), Hooks(stop=note)):
            await part.start()
            await part.stop()

    run(life())
    assert log == ["called", "called"]


def test_again(run: Run, runtime: Runtime, failures: list[Any]) -> None:
    """At the start, and again; it survives a failure, and ends in the middle of its work."""
    calls: list[int] = []
    third: Deferred[None] = Deferred()
    never: Deferred[None] = Deferred()

    async def work() -> None:
        calls.append(len(calls))
        if len(calls) == 2:
            raise ValueError("once")
        if len(calls) == 3:
            third.callback(None)
            await never

    async def life() -> None:
        part = Again(work, runtime, 0.01, "this")
        await part.start()
        assert calls == [0]
        await third
        await runtime.sleep(0)  # it is left alone with what never ends
        await part.stop()
        await part.stop()

    run(life())
    assert calls == [0, 1, 2]
    assert [event["name"] for event in failures] == ["this"]


def test_again_soon_and_then_less_often(runtime: Runtime) -> None:
    clock = Clock()
    times: list[float] = []

    async def work() -> None:
        times.append(clock.seconds())

    part = Again(work, attrs.evolve(runtime, reactor=clock), 10, "this", first=1)
    Deferred.fromCoroutine(part.start())
    clock.pump([1] * 40)
    Deferred.fromCoroutine(part.stop())
    clock.advance(100)
    assert times == [0, 1, 3, 7, 15, 25, 35]
    assert not clock.getDelayedCalls()
