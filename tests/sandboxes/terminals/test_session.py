"""One terminal, its viewers and the program that a test plays; time stands still."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.sandboxes.terminals.pty import Played
from wit.access.actor import Actor, Origin
from wit.config import Terminals as Settings
from wit.errors import Forbidden
from wit.runtime import Runtime
from wit.sandboxes.provider import Exit, TerminalSize
from wit.sandboxes.terminals.attachment import HIGH_WATER, LOW_WATER, MAX_BEHIND, Attachment
from wit.sandboxes.terminals.session import BURST_SECONDS, UNWATCHED_RATE, Session

ALICE = Actor(user_id="alice", username="alice", origin=Origin.SESSION)
SIZE = TerminalSize(80, 24)
KIB = 1024
CHUNK = b"x" * 16 * KIB


class Eye:
    """A viewer that notes everything; ``quick`` ones take at once."""

    def __init__(self, *, quick: bool = True) -> None:
        self.seen = b""
        self.start = 0
        self.notes: list[Any] = []
        self.attachment: Attachment | None = None
        self.quick = quick

    def replay(self, offset: int, data: bytes) -> None:
        self.notes.append(("replay", offset, len(data)))
        if offset != self.start + len(self.seen):
            self.start, self.seen = offset, b""
        self.seen += data

    def output(self, data: bytes) -> None:
        self.seen += data
        if self.quick and self.attachment is not None:
            self.attachment.taken(len(data))

    def lost(self, count: int) -> None:
        self.notes.append(("lost", count))

    def resized(self, size: TerminalSize) -> None:
        self.notes.append(size)

    def titled(self, title: str) -> None:
        self.notes.append(title)

    def ended(self, how: Exit) -> None:
        self.notes.append(how)


@attrs.define
class Stage:
    clock: Clock
    program: Played
    session: Session
    over: list[Session]

    def look(self, eye: Eye, *, view_only: bool = False, offset: int | None = None,
             size: TerminalSize | None = SIZE) -> Attachment:  # fmt: skip
        eye.attachment = self.session.attach(
            eye, ALICE, size=size, view_only=view_only, offset=offset
        )
        if eye.quick:
            eye.attachment.taken(eye.attachment.behind)
        return eye.attachment

    def pass_time(self, seconds: float = BURST_SECONDS) -> None:
        self.clock.advance(seconds)


def stage(settings: Settings = Settings()) -> Stage:
    clock = Clock()
    clock.advance(1000)
    program = Played(SIZE)
    over: list[Session] = []
    session = Session(
        program,
        settings,
        Runtime(clock),
        sandbox_id="box",
        owner=ALICE,
        size=SIZE,
        kind="terminal",
        on_end=over.append,
    )
    session.start()
    return Stage(clock, program, session, over)


@pytest.fixture
def on() -> Stage:
    return stage()


def flood(on: Stage, size: int) -> None:
    for _ in range(size // len(CHUNK)):
        on.program.say(CHUNK)
        on.pass_time()


def result(work: Any) -> Any:
    outcome: list[Any] = []
    Deferred.fromCoroutine(work).addBoth(outcome.append)
    return outcome[0]


def test_everybody_sees_the_same(on: Stage) -> None:
    on.program.say(b"before ")
    first, second = Eye(), Eye()
    on.look(first)
    on.program.say(b"between ")
    on.look(second)
    on.program.say(b"after")
    assert first.seen == second.seen == b"before between after"
    assert first.notes[0] == ("replay", 0, 7) and second.notes[0] == ("replay", 0, 15)


def test_small_output_is_shown_at_once_and_floods_are_joined(on: Stage) -> None:
    eye = Eye()
    on.look(eye)
    frames: list[int] = []
    show = eye.output
    eye.output = lambda data: (frames.append(len(data)), show(data))  # type: ignore[assignment,func-returns-value]
    on.program.say(b"$")
    assert frames == [1]
    for _ in range(100):
        on.program.say(b"y\n" * 500)
    assert len(frames) < 20 and max(frames) >= 32 * 1000
    on.pass_time()
    assert len(eye.seen) == 1 + 100 * 1000, "what is left comes in a moment"
    on.pass_time()
    on.program.say(b"$")
    assert frames[-1] == 1, "an echo after a flood does not wait"


def test_the_program_waits_for_the_one_who_looks(on: Stage) -> None:
    eye = Eye(quick=False)
    attachment = on.look(eye)
    flood(on, 4 * HIGH_WATER)
    assert HIGH_WATER < len(eye.seen) <= HIGH_WATER + 4 * len(CHUNK)
    assert on.program.unread, "the rest was not even read"
    attachment.taken(attachment.behind - LOW_WATER - 1)
    assert on.program.unread
    attachment.taken(1)
    on.pass_time()
    for _ in range(20):
        attachment.taken(attachment.behind)
        on.pass_time()
    assert len(eye.seen) == 4 * HIGH_WATER and not on.program.unread


def test_a_slow_one_stops_nobody_and_is_told(on: Stage) -> None:
    quick, slow = Eye(), Eye(quick=False)
    on.look(quick)
    attachment = on.look(slow)
    flood(on, 3 * MAX_BEHIND)
    on.program.say(b"the end")
    assert len(quick.seen) == 3 * MAX_BEHIND + 7 and not on.program.unread
    assert MAX_BEHIND <= len(slow.seen) <= MAX_BEHIND + 4 * len(CHUNK)
    sizes = len(on.program.sizes)
    attachment.taken(attachment.behind)
    assert [note[0] for note in slow.notes] == ["replay", "lost", "replay"]
    assert slow.seen == quick.seen[-len(slow.seen) :] and slow.seen.endswith(b"the end")
    assert slow.start == 3 * MAX_BEHIND + 7 - len(slow.seen)
    assert [size.rows for size in on.program.sizes[sizes:]] == [23, 24], "so that it is drawn anew"
    attachment.taken(attachment.behind)
    on.program.say(b"!")
    assert slow.seen.endswith(b"the end!")


def test_a_slow_one_who_missed_little_misses_nothing(on: Stage) -> None:
    quick, slow = Eye(), Eye(quick=False)
    on.look(quick)
    attachment = on.look(slow)
    flood(on, MAX_BEHIND + 128 * KIB)
    on.program.say(b"the end")
    attachment.taken(attachment.behind)
    assert slow.seen == quick.seen
    assert [note[0] for note in slow.notes] == ["replay"]


def test_nobody_waits_for_a_watcher(on: Stage) -> None:
    quick, watcher = Eye(), Eye(quick=False)
    on.look(quick)
    on.look(watcher, view_only=True)
    flood(on, 2 * MAX_BEHIND)
    assert len(quick.seen) == 2 * MAX_BEHIND


def test_when_the_quick_one_leaves_the_slow_one_counts(on: Stage) -> None:
    quick, slow = Eye(), Eye(quick=False)
    leaving = on.look(quick)
    staying = on.look(slow)
    flood(on, MAX_BEHIND + 512 * KIB)
    leaving.detach()
    read = on.program.said
    flood(on, 512 * KIB)
    assert on.program.said <= read + len(CHUNK)
    staying.taken(staying.behind)
    assert on.program.said > read + len(CHUNK)


def test_with_nobody_there_it_goes_on_slowly(on: Stage) -> None:
    on.program.say(*[CHUNK] * 1000)
    before = on.program.said
    assert before <= 64 * KIB
    for _ in range(100):
        on.pass_time(0.01)
    assert UNWATCHED_RATE * 0.8 <= on.program.said - before <= UNWATCHED_RATE * 1.2


def test_coming_back(on: Stage) -> None:
    eye = Eye()
    on.look(eye).detach()
    on.program.say(b"12345")
    again = Eye()
    on.look(again, offset=3)
    assert again.notes == [("replay", 3, 2)] and again.seen == b"45"
    assert on.program.sizes == [SIZE], "nothing was missing: no reason to draw anew"
    beyond = Eye()
    on.look(beyond, offset=99)
    assert beyond.notes == [("replay", 0, 5)]


def test_the_smallest_window_counts(on: Stage) -> None:
    big, small, watcher = Eye(), Eye(), Eye()
    on.look(big, size=TerminalSize(120, 40))
    assert on.session.size == TerminalSize(120, 40)
    looking = on.look(small, size=TerminalSize(100, 50))
    assert on.session.size == TerminalSize(100, 40)
    assert big.notes[-1] == TerminalSize(100, 40)
    on.look(watcher, size=TerminalSize(20, 5), view_only=True)
    assert on.session.size == TerminalSize(100, 40)
    looking.resize(TerminalSize(90, 10))
    assert on.session.size == watcher.notes[-1] == TerminalSize(90, 10)
    looking.detach()
    assert on.session.size == TerminalSize(120, 40)
    assert on.program.sizes[-1] == TerminalSize(120, 40)


def test_typing(on: Stage) -> None:
    looking, watching = on.look(Eye()), on.look(Eye(), view_only=True)
    result(looking.write(b"ls\r"))
    assert on.program.typed == [b"ls\r"]
    assert isinstance(result(watching.write(b"rm\r")).value, Forbidden)
    with pytest.raises(Forbidden):
        watching.kick_others()
    assert on.program.typed == [b"ls\r"]


def test_kicking(on: Stage) -> None:
    staying, leaving = Eye(), Eye()
    keeper = on.look(staying)
    on.look(leaving)
    keeper.kick_others()
    on.program.say(b"alone")
    assert leaving.notes[-1].reason == "kicked" and leaving.seen == b""
    assert staying.seen == b"alone" and len(on.session.viewers) == 1


def test_titles_are_told_also_to_late_comers(on: Stage) -> None:
    early, late = Eye(), Eye()
    on.look(early)
    on.program.say(b"\x1b]0;one", b"\x07\x1b]2;two\x07")
    on.look(late)
    assert early.notes[-1] == late.notes[-1] == on.session.title == "two"


def test_clipboards_are_guarded_in_what_is_kept_as_well(on: Stage) -> None:
    eye, late = Eye(), Eye()
    on.look(eye)
    on.program.say(b"a\x1b]52;c;", b"eA==\x07b")
    on.look(late)
    assert eye.seen == late.seen == b"ab"


def test_a_viewer_that_breaks_hurts_nobody_else(on: Stage) -> None:
    class Broken(Eye):
        def output(self, data: bytes) -> None:
            raise RuntimeError("broken on purpose")

    broken, whole = Broken(), Eye()
    on.look(broken)
    on.look(whole)
    on.program.say(b"text")
    assert whole.seen == b"text" and len(on.session.viewers) == 1


def test_its_end(on: Stage) -> None:
    eye, late = Eye(), Eye()
    on.look(eye)
    on.program.say(b"bye \xc2")
    on.program.exit(7)
    assert eye.seen == b"bye \xc2" and eye.notes[-1] == Exit(7) == on.session.ended
    assert on.over == [on.session] and on.program.closed == 1 and not on.session.viewers
    on.look(late)
    assert late.seen == b"bye \xc2" and late.notes[-1] == Exit(7)


def test_closing_one_that_waits_for_its_viewer(on: Stage) -> None:
    eye = Eye(quick=False)
    on.look(eye)
    flood(on, 2 * HIGH_WATER)
    result(on.session.close("closed"))
    for _ in range(100):
        on.pass_time()
    assert eye.notes[-1] == Exit(129, None, "closed")


def test_how_long_it_lives() -> None:
    settings = Settings(detached_seconds=100, idle_seconds=200, max_seconds=1000)
    on = stage(settings)
    on.pass_time(99)
    assert on.session.overdue() is None
    on.pass_time(2)
    assert on.session.overdue() == "abandoned"
    looking = on.look(Eye())
    assert on.session.overdue() is None
    on.pass_time(100)
    assert on.session.overdue() == "idle"
    result(looking.write(b"x"))
    assert on.session.overdue() is None
    on.pass_time(199)
    on.program.say(b"tick")
    on.pass_time(199)
    assert on.session.overdue() is None, "output counts, too"
    looking.detach()
    on.pass_time(99)
    assert on.session.overdue() == "idle"
    on.program.say(b"tick")
    assert on.session.overdue() is None
    for _ in range(10):
        on.program.say(b"tick")
        on.look(Eye()).detach()
        on.pass_time(90)
    assert on.session.overdue() == "expired"
