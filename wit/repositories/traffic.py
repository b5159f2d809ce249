"""What the git doors call: who may fetch or push what, decided once, then handed to the engine."""

from __future__ import annotations

import enum
from typing import Protocol

import attrs
from twisted.logger import Logger

from wit.access.actor import Actor, Level
from wit.access.gate import SIGN_IN, Gate
from wit.config import Config
from wit.db.port import Row
from wit.errors import Conflict, Forbidden, NotFound, Unauthorized, Unavailable
from wit.git.advertise import receive_pack_v0
from wit.git.damage import Suspect, nobody
from wit.git.names import RepoName, repo_from_path
from wit.git.push import Push, Quarantine, RefUpdate, Verdict
from wit.git.receive_pack import ReceivePack
from wit.git.refs import RefSnapshot
from wit.git.repository import BareRepository
from wit.git.upload_pack import UploadPack
from wit.metrics import Metrics
from wit.repositories.folders import is_healthy
from wit.repositories.manager import RepoManager
from wit.repositories.push_policy import closed
from wit.streams import ByteSink, ByteSource

_log = Logger()

_NO_REFS = RefSnapshot(None, None, (), "", frozenset(), {})
"""Of a repository that is not there yet."""


class Service(enum.Enum):
    """The two services of git; the value is the program's name."""

    UPLOAD_PACK = "git-upload-pack"
    RECEIVE_PACK = "git-receive-pack"


@attrs.frozen
class RequestInfo:
    """The request that a session belongs to; ``door`` is ``http`` or ``ssh``."""

    request_id: str
    address: str
    door: str

    @property
    def id(self) -> str:
        """As the push rules call it."""
        return self.request_id


class Pushes(Protocol):
    """What is asked of :class:`wit.repositories.pushes.Pushes`."""

    def begin(self, actor: Actor, repo: Row, request: RequestInfo, /) -> Push: ...


class GitTraffic:
    """One for all doors."""

    def __init__(
        self,
        *,
        gate: Gate,
        manager: RepoManager,
        upload_pack: UploadPack,
        receive_pack: ReceivePack,
        pushes: Pushes,
        config: Config,
        metrics: Metrics,
        suspect: Suspect = nobody,
    ) -> None:
        """``suspect`` is told of repositories that look damaged."""
        self.manager = manager
        self.upload_pack = upload_pack
        self.receive_pack = receive_pack
        self.pushes = pushes
        self._gate = gate
        self._config = config.repositories
        self._degraded = metrics.degraded.labels("repository")
        self._damaged: set[str] = set()
        self._suspect = suspect

    async def open(
        self, actor: Actor, path: str, service: Service, request: RequestInfo
    ) -> GitSession:
        """Resolve and authorise; nothing of the request's body is needed for that.

        A push to a missing repository in the actor's own namespace may go on, too: the session
        makes the repository when the push itself comes, not when git merely looks for it.
        Raises Unauthorized, NotFound and Forbidden as the gate does (a path that can name no
        repository is a missing one), Forbidden if the repository takes no pushes, Unavailable if
        its folder is missing or damaged.
        """
        try:
            name = repo_from_path(path)
        except NotFound:
            if actor.anonymous:
                raise Unauthorized(SIGN_IN) from None
            raise
        try:
            repo = await self._find(actor, name, service)
        except NotFound:
            if service is Service.UPLOAD_PACK or not self._may_create(actor, name):
                raise
            return GitSession(self, actor, service, request, name, None)
        return GitSession(self, actor, service, request, name, repo)

    async def _find(self, actor: Actor, name: RepoName, service: Service) -> Row:
        push = service is Service.RECEIVE_PACK
        repo = await self._gate.repository(actor, name, Level.WRITE if push else Level.READ)
        if push and (state := closed(repo)) is not None:
            raise Forbidden(f"{repo['full_name']} {state}")
        self._check_folder(repo)
        return repo

    def _may_create(self, actor: Actor, name: RepoName) -> bool:
        """Whether a push makes the repository; the gate has not found it for this actor.

        In one's own namespace and with the scope, only what is missing is not found.
        """
        own = actor.user_id is not None and name.owner.lower() == actor.username.lower()
        own = own and actor.only_repo_id is None
        return self._config.push_to_create and own and actor.has_scope(Level.WRITE.scope)

    async def create(self, actor: Actor, name: RepoName) -> tuple[Row, str | None]:
        """The private repository that a push makes, and what to tell the client.

        If another push was faster, that one's repository, and nothing to tell.
        """
        assert actor.user_id is not None
        try:
            repo = await self.manager.create(name, private=True, actor_id=actor.user_id)
        except Conflict as conflict:
            try:
                return await self._find(actor, name, Service.RECEIVE_PACK), None
            except NotFound:  # what is in the way is no repository
                raise conflict from None
        return repo, f"created private repository {repo['full_name']}"

    def _check_folder(self, repo: Row) -> None:
        """A few stat calls, as few as looking up the refs takes. Raises Unavailable."""
        path = self.manager.folders.path(repo["disk_path"])
        healthy = is_healthy(path)
        if healthy:
            self._damaged.discard(repo["id"])
        elif repo["id"] not in self._damaged:
            self._damaged.add(repo["id"])
            _log.error(
                "repository {repo} is missing or damaged on disk: {path}",
                repo=repo["full_name"],
                path=str(path),
            )
            self._suspect(repo["id"], "its folder is not that of a repository")
        self._degraded.set(bool(self._damaged))
        if not healthy:
            raise Unavailable(
                f"{repo['full_name']} cannot be read from the server's disk; "
                "its administrator has been told",
                retry_after=60,
            )


@attrs.define
class GitSession:
    """One authorised fetch or push, over any door."""

    _traffic: GitTraffic
    _actor: Actor
    _service: Service
    _request: RequestInfo
    _name: RepoName
    repo: Row | None
    """None until a push has made it."""
    _message: str | None = None

    @property
    def user_key(self) -> str:
        """Whose share of the git processes this takes."""
        user_id = self._actor.user_id
        return f"addr:{self._request.address}" if user_id is None else f"user:{user_id}"

    async def advertise(self, protocol: int, sink: ByteSink) -> None:
        """The reference discovery: the body of GET info/refs."""
        if self.repo is None:
            await sink.write(receive_pack_v0(_NO_REFS, "sha1", protocol))
        elif self._service is Service.UPLOAD_PACK:
            await self._traffic.upload_pack.advertise(self._bare(self.repo), protocol, sink)
        else:
            await self._traffic.receive_pack.advertise(self._bare(self.repo), protocol, sink)

    async def serve_request(self, protocol: int, source: ByteSource, sink: ByteSink) -> None:
        """One stateless request: the body of a POST."""
        repo = self.repo
        if repo is None:
            start = await _first_packet(source)
            if start is None:
                return
            repo, self._message = await self._traffic.create(self._actor, self._name)
            self.repo, source = repo, _Resumed(start, source)
        engine, bare = self._traffic, self._bare(repo)
        if self._service is Service.UPLOAD_PACK:
            await engine.upload_pack.serve_request(bare, protocol, source, sink, self.user_key)
        else:
            push = self._push(repo)
            await engine.receive_pack.serve_request(bare, protocol, source, sink, push)

    async def serve_session(self, protocol: int, source: ByteSource, sink: ByteSink) -> None:
        """A whole conversation, the reference discovery included."""
        if self.repo is None:
            await self.advertise(protocol, sink)
            await self.serve_request(protocol, source, sink)
            return
        engine, bare = self._traffic, self._bare(self.repo)
        if self._service is Service.UPLOAD_PACK:
            await engine.upload_pack.serve_session(bare, protocol, source, sink, self.user_key)
        else:
            push = self._push(self.repo)
            await engine.receive_pack.serve_session(bare, protocol, source, sink, push)

    def _bare(self, repo: Row) -> BareRepository:
        return self._traffic.manager.bare(repo)

    def _push(self, repo: Row) -> Push:
        push = self._traffic.pushes.begin(self._actor, repo, self._request)
        return _SessionPush(push, self.user_key, () if self._message is None else (self._message,))


async def _first_packet(source: ByteSource) -> bytes | None:
    """The beginning of a push; None if it asks for nothing.

    git sends a lone flush packet before a large push, to learn whether it may.
    """
    start = b""
    while len(start) < 4:
        chunk = await source.read()
        if not chunk:
            break
        start += chunk
    return None if start[:4] in (b"", b"0000") else start


class _Resumed:
    """A source whose first chunk was read already."""

    def __init__(self, start: bytes, rest: ByteSource) -> None:
        self._start = start
        self._rest = rest

    async def read(self) -> bytes:
        start, self._start = self._start, b""
        return start or await self._rest.read()


@attrs.frozen
class _SessionPush:
    """A push that counts as its session's user, with what the session has to say to the client."""

    _push: Push
    user_key: str
    _messages: tuple[str, ...]

    @property
    def id(self) -> str:
        return self._push.id

    @property
    def actor_name(self) -> str:
        return self._push.actor_name

    @property
    def max_bytes(self) -> int | None:
        return self._push.max_bytes

    async def decide(
        self, quarantine: Quarantine, updates: list[RefUpdate], options: list[str]
    ) -> Verdict:
        verdict = await self._push.decide(quarantine, updates, options)
        return attrs.evolve(verdict, messages=(*self._messages, *verdict.messages))

    async def finished(self) -> None:
        await self._push.finished()
