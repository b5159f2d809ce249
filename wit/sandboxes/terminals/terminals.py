"""All terminals of this daemon: who may open, find, watch and close which, and when they end.

A terminal lives in the daemon that has its PTY, and ends with it. Another daemon of the same site
does not know it: to that, it is a terminal that is over (docs/terminals.md says how to keep people
on one daemon).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Protocol

import attrs
from twisted.internet.defer import CancelledError, Deferred, DeferredList
from twisted.logger import Logger

from wit import config
from wit.access.actor import Actor, Level
from wit.access.gate import SIGN_IN, Gate
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.standing import Standing
from wit.db.port import Database
from wit.errors import Conflict, Forbidden, Invalid, NotFound, Unauthorized, Unavailable, WitError
from wit.runtime import Runtime
from wit.sandboxes.provider import Command, Execution, Exit, TerminalSize
from wit.sandboxes.terminals.attachment import Attachment, Viewer
from wit.sandboxes.terminals.line_mode import SHELL
from wit.sandboxes.terminals.session import Session
from wit.sandboxes.terminals.sizes import clamp
from wit.sandboxes.terminals.tickets import Ticket, Tickets

SCOPE = "sandbox"

LOOK_SECONDS = 1.0
"""How often it is looked for terminals that have lived long enough."""

ENDED_SECONDS = 300.0
"""How long a terminal that is over can be looked at."""

MAX_ENDED = 8
"""Of one user's terminals that are over, so many are kept."""

ENVIRONMENT = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "LANG": "C.UTF-8"}

_GONE = "there is no such terminal; it is over, or the server was restarted since"


class OneSandbox(Protocol):
    """wit.sandboxes.records.Sandbox, as far as it is used here."""

    @property
    def repo_id(self) -> str | None: ...

    @property
    def user_id(self) -> str: ...


class SandboxSource(Protocol):
    """wit.sandboxes.manager.Sandboxes, as far as it is used here."""

    async def get(self, actor: Actor, sandbox_id: str) -> OneSandbox: ...

    async def execute(
        self, actor: Actor, sandbox_id: str, command: Command, kind: str = ...
    ) -> Execution: ...


@attrs.frozen
class Terminal:
    """A terminal as one actor may use it."""

    _session: Session
    _actor: Actor
    view_only: bool
    """Whether this actor may only watch: the sandbox is somebody else's."""

    @property
    def id(self) -> str:
        return self._session.id

    @property
    def sandbox_id(self) -> str:
        return self._session.sandbox_id

    @property
    def kind(self) -> str:
        return self._session.kind

    @property
    def title(self) -> str:
        return self._session.title

    @property
    def size(self) -> TerminalSize:
        return self._session.size

    @property
    def ended(self) -> Exit | None:
        return self._session.ended

    @property
    def opened_at(self) -> datetime:
        return self._session.opened_at

    @property
    def viewers(self) -> int:
        return len(self._session.viewers)

    def attach(
        self,
        viewer: Viewer,
        *,
        size: TerminalSize | None,
        view_only: bool = False,
        offset: int | None = None,
    ) -> Attachment:
        """Look at it from now on: ``viewer.replay`` is called before this returns, and
        ``viewer.ended`` if it is over. ``offset``: where the viewer had stopped before."""
        return self._session.attach(
            viewer,
            self._actor,
            size=None if size is None else clamp(size.columns, size.rows),
            view_only=view_only or self.view_only,
            offset=offset,
        )


class Terminals:
    """A part of the service tree (wit.services)."""

    log = Logger()

    def __init__(
        self,
        sandboxes: SandboxSource,
        gate: Gate,
        db: Database,
        runtime: Runtime,
        settings: config.Terminals,
    ) -> None:
        self._sandboxes = sandboxes
        self._gate = gate
        self._runtime = runtime
        self._settings = settings
        self._standing = Standing(db, runtime)
        self._tickets = Tickets(OneTimeSecrets(db, runtime), self._standing)
        self._sessions: dict[str, Session] = {}
        self._opening: list[tuple[str, str | None]] = []
        """Sandbox and user of each that is being opened."""
        self._loops: list[Deferred[None]] = []
        self._stopping = False

    # a part

    async def start(self) -> None:
        self._stopping = False
        self._loops = [
            Deferred.fromCoroutine(self._again(LOOK_SECONDS, self._end_overdue)),
            Deferred.fromCoroutine(self._again(self._settings.check_seconds, self.check_viewers)),
        ]

    async def stop(self) -> None:
        """End all: with the daemon, nobody would hold their PTYs any more."""
        self._stopping = True
        loops, self._loops = self._loops, []
        for loop in loops:
            loop.addErrback(lambda failure: failure.trap(CancelledError) and None)
            loop.cancel()
        running = [session for session in self._sessions.values() if session.ended is None]
        closes = [Deferred.fromCoroutine(session.close("restart")) for session in running]
        await DeferredList(closes, consumeErrors=True)
        self._sessions.clear()

    # what doors call

    async def open(
        self,
        actor: Actor,
        sandbox_id: str,
        size: TerminalSize,
        argv: Sequence[str] | None = None,
        kind: str = "terminal",
        *,
        env: Mapping[str, str] | None = None,
    ) -> Terminal:
        """A new terminal that runs ``argv``, or a shell; with ``env`` added to ENVIRONMENT.

        Raises what Sandboxes.execute raises; Unauthorized, NotFound, Forbidden (somebody else's
        sandbox, a token without the scope), Conflict (too many), Unavailable (stopping).
        """
        if self._stopping:
            raise Unavailable("the server is being restarted; try again")
        if argv is not None and not argv:
            raise Invalid("there is no command to run")
        if not await self._may_use(actor, sandbox_id):
            raise Forbidden("you may watch the terminals of this sandbox, but not open one")
        self._check_room(actor, sandbox_id)
        being_opened = (sandbox_id, actor.user_id)
        self._opening.append(being_opened)
        size = clamp(size.columns, size.rows)
        try:
            environment = {**ENVIRONMENT, **(env or {})}
            command = Command(argv=argv or SHELL, env=environment, terminal=size)
            execution = await self._sandboxes.execute(actor, sandbox_id, command, kind)
        finally:
            self._opening.remove(being_opened)
        session = Session(
            execution,
            self._settings,
            self._runtime,
            sandbox_id=sandbox_id,
            owner=actor,
            size=size,
            kind=kind,
            on_end=self._ended,
        )
        self._sessions[session.id] = session
        session.start()
        return Terminal(session, actor, view_only=False)

    async def get(self, actor: Actor, terminal_id: str) -> Terminal:
        """Raises Unauthorized, NotFound (also for somebody else's), Forbidden (a token's scope)."""
        session = self._sessions.get(terminal_id)
        if session is None:
            if actor.anonymous:
                raise Unauthorized(SIGN_IN)
            raise NotFound(_GONE)
        try:
            own = await self._may_use(actor, session.sandbox_id)
        except NotFound:
            raise NotFound(_GONE) from None
        return Terminal(session, actor, view_only=not own)

    async def list(self, actor: Actor, sandbox_id: str) -> list[Terminal]:
        """Those of a sandbox, oldest first; those that are over only for a while. Raises as
        :meth:`get`."""
        own = await self._may_use(actor, sandbox_id)
        return [
            Terminal(session, actor, view_only=not own)
            for session in self._sessions.values()
            if session.sandbox_id == sandbox_id
        ]

    async def close(self, actor: Actor, terminal_id: str) -> None:
        """Hang up: its program is ended. Raises as :meth:`get`."""
        await (await self.get(actor, terminal_id))._session.close("closed")

    async def ticket(
        self, actor: Actor, terminal_or_sandbox_id: str, *, view_only: bool = False
    ) -> str:
        """A ticket for one WebSocket, good once, for a minute. Raises as :meth:`get`."""
        sandbox_id, terminal_id = terminal_or_sandbox_id, None
        if terminal_or_sandbox_id in self._sessions:
            terminal = await self.get(actor, terminal_or_sandbox_id)
            sandbox_id, terminal_id = terminal.sandbox_id, terminal.id
        own = await self._may_use(actor, sandbox_id)
        ticket = Ticket(actor, sandbox_id, terminal_id, view_only=view_only or not own)
        return await self._tickets.create(ticket)

    async def redeem(self, ticket: str) -> Ticket:
        """Use a ticket up. Raises Unauthorized."""
        return await self._tickets.redeem(ticket)

    async def check_viewers(self) -> None:
        """Send away whoever has lost his right since he came."""
        verdicts: dict[tuple[Actor, str], bool] = {}
        for session in list(self._sessions.values()):
            for attachment in session.viewers:
                who = (attachment.actor, session.sandbox_id)
                if who not in verdicts:
                    verdicts[who] = await self._still_may(*who)
            session.drop(self._refused_by(verdicts, session.sandbox_id), "revoked")

    @staticmethod
    def _refused_by(
        verdicts: dict[tuple[Actor, str], bool], sandbox_id: str
    ) -> Callable[[Attachment], bool]:
        return lambda attachment: not verdicts.get((attachment.actor, sandbox_id), True)

    # rights and bounds

    async def _may_use(self, actor: Actor, sandbox_id: str) -> bool:
        """Whether ``actor`` may type in the sandbox's terminals; if not, he may watch.

        Raises Unauthorized, NotFound, Forbidden.
        """
        if actor.anonymous:
            raise Unauthorized(SIGN_IN)
        if not actor.has_scope(SCOPE):
            raise Forbidden(f"this token lacks the scope {SCOPE}")
        sandbox = await self._sandboxes.get(actor, sandbox_id)
        if sandbox.user_id != actor.user_id:
            return False
        if sandbox.repo_id is not None:
            await self._gate.repository_by_id(actor, sandbox.repo_id, Level.WRITE, SCOPE)
        return True

    async def _still_may(self, actor: Actor, sandbox_id: str) -> bool:
        try:
            if not await self._standing.good(actor):
                return False
            await self._may_use(actor, sandbox_id)
        except (Unauthorized, Forbidden, NotFound):
            return False
        except WitError:  # the database is away, say: nobody has lost a right by that
            return True
        return True

    def _check_room(self, actor: Actor, sandbox_id: str) -> None:
        running = [*self._opening]
        for session in self._sessions.values():
            if session.ended is None:
                running.append((session.sandbox_id, session.owner.user_id))
        if sum(of == sandbox_id for of, _ in running) >= self._settings.max_per_sandbox:
            most = self._settings.max_per_sandbox
            raise Conflict(f"this sandbox has {most} terminals already; close one of them first")
        if sum(who == actor.user_id for _, who in running) >= self._settings.max_per_user:
            most = self._settings.max_per_user
            raise Conflict(f"you have {most} terminals already; close one of them first")

    # their ends

    async def _again(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            await self._runtime.sleep(seconds)
            try:
                await work()
            except CancelledError:
                raise
            except Exception:
                self.log.failure("looking after terminals failed; it is tried again")

    async def _end_overdue(self) -> None:
        for session in list(self._sessions.values()):
            if session.ended is not None:
                if session.ended_for() > ENDED_SECONDS:
                    self._sessions.pop(session.id, None)
            elif reason := session.overdue():
                Deferred.fromCoroutine(self._close(session, reason))

    async def _close(self, session: Session, reason: str) -> None:
        try:
            await session.close(reason)
        except WitError as error:
            self.log.warn(
                "closing terminal {terminal} failed: {error}",
                terminal=session.id,
                error=error.message,
            )

    def _ended(self, session: Session) -> None:
        over = [
            other.id
            for other in self._sessions.values()
            if other.ended is not None and other.owner.user_id == session.owner.user_id
        ]
        for terminal_id in over[:-MAX_ENDED]:
            del self._sessions[terminal_id]
