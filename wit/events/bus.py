"""Delivery of journal entries to their handlers, with effects that happen exactly once.

Each handler runs in a transaction that also writes ``event_deliveries``: whatever it did through
that transaction is there once, however often the event is tried. A daemon that wants to deliver
claims due events first, by a conditional update that sets ``next_attempt_at`` to the end of its
lease, and renews the lease while it is at work; a daemon that dies is followed by another one when
the lease is over.

Entries of one repository reach a handler in their order. An entry that fails holds the later ones
of its repository back for :data:`PATIENT_ATTEMPTS` attempts; then they go ahead, and it is tried
again by itself, ever more rarely.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta

import attrs
from sqlalchemy import BindParameter, and_, bindparam, exists, func, insert, or_, select, update
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger

from wit.db.port import Connection, Database, DatabaseError, UniqueViolation
from wit.db.tables import event_deliveries, events
from wit.events.journal import CHANNEL, EVENT_COLUMNS, Journal, event_from_row
from wit.events.types import Event, NewEvent
from wit.metrics import Metrics
from wit.runtime import Runtime

Handler = Callable[[Event, Connection], Awaitable[None]]
Expander = Callable[[Event], Awaitable[Iterable[NewEvent]]]

BATCH = 50
"""Events claimed at once."""

HANDLER_SECONDS = 30.0
"""Within which one handler must have done its part; its transaction is rolled back otherwise."""

LEASE_SECONDS = 45.0
"""How long claimed events are left to a daemon that does not renew its claim. More than a handler
may take, so that one handler's part is never done twice at the same time."""

RENEW_SECONDS = 10.0
"""How often a daemon at work renews its claims."""

POLL_SECONDS = 5.0
"""How often the journal is looked at without a notification."""

PATIENT_ATTEMPTS = 3
"""Failures during which the later events of the same repository wait."""

MAX_BACKOFF_SECONDS = 3600.0

_earlier = events.alias("earlier")
_due = and_(
    events.c.processed_at.is_(None),
    or_(events.c.next_attempt_at.is_(None), events.c.next_attempt_at <= bindparam("now")),
)
_held_back = exists().where(
    _earlier.c.repo_id == events.c.repo_id,
    _earlier.c.seq < events.c.seq,
    _earlier.c.processed_at.is_(None),
    _earlier.c.next_attempt_at > bindparam("now"),
    _earlier.c.attempts <= PATIENT_ATTEMPTS,
)
_DUE = (
    select(*EVENT_COLUMNS, events.c.attempts)
    .where(_due, ~_held_back)
    .order_by(events.c.seq)
    .limit(BATCH)
)
_CLAIM = (
    update(events)
    .where(events.c.seq == bindparam("event_seq"), _due)
    .values(attempts=events.c.attempts + 1, next_attempt_at=bindparam("lease_end"))
)
_lease_ends: BindParameter[datetime] = bindparam("lease_ends", expanding=True)
_RELEASE = (
    update(events)
    .where(events.c.seq == bindparam("event_seq"), events.c.next_attempt_at.in_(_lease_ends))
    .values(attempts=events.c.attempts - 1, next_attempt_at=None)
)
_RENEW = (
    update(events)
    .where(
        events.c.seq.in_(bindparam("seqs", expanding=True)),
        events.c.next_attempt_at.in_(_lease_ends),
        events.c.processed_at.is_(None),
    )
    .values(next_attempt_at=bindparam("new_end"))
    .returning(events.c.seq)
)
_RETRY_AT = (
    update(events)
    .where(events.c.seq == bindparam("event_seq"), events.c.processed_at.is_(None))
    .values(next_attempt_at=bindparam("retry_at"))
)
_PROCESSED = (
    update(events)
    .where(events.c.seq == bindparam("event_seq"))
    .values(processed_at=bindparam("now"))
)
_DELIVERED = select(event_deliveries.c.handler).where(
    event_deliveries.c.event_id == bindparam("event_id")
)
_DELIVER = insert(event_deliveries)
_LAG = select(func.count()).select_from(events).where(events.c.processed_at.is_(None))


class _DeliveredElsewhere(Exception):
    """Another daemon was faster; the transaction is given up."""


@attrs.frozen
class _Subscription:
    name: str
    types: frozenset[str]
    handler: Handler | None
    expander: Expander | None

    def wants(self, event: Event) -> bool:
        return event.type in self.types or "*" in self.types


@attrs.frozen
class _Claim:
    event: Event
    attempts: int
    """Attempts so far, this one included."""


@attrs.define
class _Lease:
    """What a daemon has claimed in one round, until when."""

    end: datetime
    written: tuple[datetime, ...]
    """What may stand in the database: while a renewal is under way, the end before or after it."""
    held: set[int] = attrs.field(factory=set)
    """Sequence numbers of the events that are ours, and not done with."""


class EventBus:
    """A part of the service tree: between start and stop it delivers what is in the journal."""

    log = Logger()

    def __init__(self, db: Database, journal: Journal, runtime: Runtime, metrics: Metrics) -> None:
        self._db = db
        self._journal = journal
        self._runtime = runtime
        self._metrics = metrics
        self._subscriptions: list[_Subscription] = []
        self._stop_listening: Callable[[], None] | None = None
        self._running: Deferred[None] | None = None
        self._stopping = False
        self._woken = False
        self._nap: Deferred[None] | None = None

    def register(self, name: str, types: Iterable[str], handler: Handler) -> None:
        """Call ``handler(event, tx)`` for each event of ``types`` (``*``: all).

        ``name`` is what deliveries are remembered under: it stays the same from release to
        release. On SQLite the transaction keeps all other writers waiting, so slow work belongs
        into a job that the handler enqueues.
        """
        self._add(_Subscription(name, frozenset(types), handler, None))

    def expand(self, name: str, types: Iterable[str], expander: Expander) -> None:
        """Append what ``expander(event)`` makes of each event of ``types`` to the journal.

        The expander runs outside the transaction and may take its time (it looks at
        repositories, say); what it gives is appended exactly once.
        """
        self._add(_Subscription(name, frozenset(types), None, expander))

    def _add(self, subscription: _Subscription) -> None:
        if any(subscription.name == other.name for other in self._subscriptions):
            raise ValueError(f"two handlers are named {subscription.name!r}")
        self._subscriptions.append(subscription)

    # The service

    async def start(self) -> None:
        self._stopping = False
        self._stop_listening = self._db.listen(CHANNEL, lambda _: self.wake())
        self._running = Deferred.fromCoroutine(self._run())

    async def stop(self) -> None:
        """Ends after the handler that is at work; what was claimed beyond it is given back."""
        self._stopping = True
        if self._stop_listening is not None:
            self._stop_listening()
            self._stop_listening = None
        self.wake()
        if self._running is not None:
            running, self._running = self._running, None
            await running

    def wake(self) -> None:
        """Look at the journal now."""
        self._woken = True
        if self._nap is not None and not self._nap.called:
            self._nap.callback(None)

    async def _run(self) -> None:
        while not self._stopping:
            self._woken = False
            try:
                busy = await self.deliver_due()
            except DatabaseError:
                self.log.failure("events cannot be delivered at the moment")
                busy = False
            if not busy and not self._woken and not self._stopping:
                await self._sleep()

    async def _sleep(self) -> None:
        self._nap = Deferred()
        timer = self._runtime.reactor.callLater(POLL_SECONDS, self.wake)
        try:
            await self._nap
        finally:
            self._nap = None
            if timer.active():
                timer.cancel()

    # One round

    async def deliver_due(self) -> bool:
        """Deliver one batch of due events; whether there was anything to do."""
        claims, lease = await self._claim()
        renewing = Deferred.fromCoroutine(self._keep(lease))
        try:
            await self._work_off(claims, lease)
        finally:
            renewing.cancel()
            await renewing
        self._metrics.event_lag.set(await self._db.fetch_value(_LAG))
        return bool(claims)

    async def _work_off(self, claims: Iterable[_Claim], lease: _Lease) -> None:
        failed_repos: set[str] = set()
        for claim in claims:
            seq, repo_id = claim.event.seq, claim.event.repo_id
            left = (lease.end - self._runtime.now()).total_seconds()
            if seq not in lease.held:
                delivered = False  # it took us too long: another daemon is at it
            elif self._stopping or left < HANDLER_SECONDS or repo_id in failed_repos:
                await self._db.execute(_RELEASE, event_seq=seq, lease_ends=lease.written)
                delivered = False
            else:
                delivered = await self._deliver(claim)
            lease.held.discard(seq)
            if not delivered and repo_id is not None:
                failed_repos.add(repo_id)

    async def _keep(self, lease: _Lease) -> None:
        """Renew the lease until cancelled. A handler on SQLite keeps this waiting, and every other
        daemon too."""
        try:
            while True:
                await self._runtime.sleep(RENEW_SECONDS)
                if not lease.held:
                    return
                end = self._runtime.now() + timedelta(seconds=LEASE_SECONDS)
                before, lease.written = lease.written, (*lease.written, end)
                try:
                    rows = await self._db.fetch_all(
                        _RENEW, seqs=sorted(lease.held), lease_ends=before, new_end=end
                    )
                except DatabaseError as error:
                    self.log.warn("a lease was not renewed: {error}", error=error.message)
                else:
                    lease.held.intersection_update(row["seq"] for row in rows)
                    lease.end, lease.written = end, (end,)
        except CancelledError:
            pass

    async def _claim(self) -> tuple[list[_Claim], _Lease]:
        """Take due events for this daemon; those that nobody wants are done with at once."""
        now = self._runtime.now()
        end = now + timedelta(seconds=LEASE_SECONDS)
        lease = _Lease(end, (end,))
        if not await self._db.fetch_all(_DUE, now=now):  # the common case needs no writer
            return [], lease
        claims: list[_Claim] = []
        taken_repos: set[str] = set()
        async with self._db.transaction() as tx:
            for row in await tx.fetch_all(_DUE, now=now):
                event = event_from_row(row)
                if event.repo_id in taken_repos:
                    continue
                if not await tx.execute(_CLAIM, event_seq=event.seq, now=now, lease_end=lease.end):
                    # Another daemon has it: the later ones of its repository are not ours either.
                    if event.repo_id is not None:
                        taken_repos.add(event.repo_id)
                elif any(subscription.wants(event) for subscription in self._subscriptions):
                    claims.append(_Claim(event, row["attempts"] + 1))
                    lease.held.add(event.seq)
                else:
                    await tx.execute(_PROCESSED, event_seq=event.seq, now=now)
        return claims, lease

    async def _deliver(self, claim: _Claim) -> bool:
        """All outstanding deliveries of one event; False if it has to be tried again."""
        event = claim.event
        rows = await self._db.fetch_all(_DELIVERED, event_id=event.id)
        delivered = {row["handler"] for row in rows}
        complete = True
        for subscription in self._subscriptions:
            if subscription.wants(event) and subscription.name not in delivered:
                work = Deferred.fromCoroutine(self._deliver_to(subscription, event))
                work.addTimeout(HANDLER_SECONDS, self._runtime.reactor)
                try:
                    await work
                except _DeliveredElsewhere:
                    pass
                except Exception:
                    complete = False
                    self.log.failure(
                        "event {event_id} ({event_type}) was not taken by {handler}, "
                        "attempt {attempts}",
                        event_id=event.id,
                        event_type=event.type,
                        handler=subscription.name,
                        attempts=claim.attempts,
                    )
        now = self._runtime.now()
        if complete:
            await self._db.execute(_PROCESSED, event_seq=event.seq, now=now)
        else:
            await self._db.execute(
                _RETRY_AT, event_seq=event.seq, retry_at=now + backoff(claim.attempts)
            )
        return complete

    async def _deliver_to(self, subscription: _Subscription, event: Event) -> None:
        follow_ups = tuple(await subscription.expander(event)) if subscription.expander else ()
        async with self._db.transaction() as tx:
            try:
                await tx.execute(
                    _DELIVER,
                    event_id=event.id,
                    handler=subscription.name,
                    delivered_at=self._runtime.now(),
                )
            except UniqueViolation:
                raise _DeliveredElsewhere from None
            await self._journal.append(tx, *follow_ups)
            if subscription.handler is not None:
                await subscription.handler(event, tx)
        if follow_ups:
            self.wake()


def backoff(attempts: int) -> timedelta:
    """The pause after the given number of failures: 1 s, 2 s, 4 s ... an hour."""
    return timedelta(seconds=min(2.0 ** min(attempts - 1, 20), MAX_BACKOFF_SECONDS))
