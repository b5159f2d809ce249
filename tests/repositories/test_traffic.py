"""Which engine gets what, for whom; the engines are stand-ins that note how they are called."""

from __future__ import annotations

import shutil
from typing import Any

import attrs
import pytest

from tests.repositories.world import World, make_source, name
from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.access.gate import SIGN_IN, Gate
from wit.config import Repositories
from wit.errors import Conflict, Forbidden, NotFound, Unauthorized, Unavailable
from wit.git.push import Quarantine, Verdict
from wit.git.repository import BareRepository
from wit.metrics import Metrics
from wit.repositories.traffic import GitSession, GitTraffic, RequestInfo, Service
from wit.streams import BytesSink, BytesSource

UPLOAD, RECEIVE = Service.UPLOAD_PACK, Service.RECEIVE_PACK
HTTP = RequestInfo("request-1", "192.0.2.1", "http")
NOTHING_PUSHED = Quarantine(BareRepository("r", "/nowhere"), "", "")


class Engine:
    """Stands for both engines: notes each call and reads all of the request."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.read = b""

    async def advertise(self, repo, protocol, sink) -> None:
        self.calls.append(("advertise", repo, protocol))
        await sink.write(b"refs")

    async def serve_request(self, repo, protocol, source, sink, who) -> None:
        await self._serve("request", repo, protocol, source, sink, who)

    async def serve_session(self, repo, protocol, source, sink, who) -> None:
        await self._serve("session", repo, protocol, source, sink, who)

    async def _serve(self, kind, repo, protocol, source, sink, who) -> None:
        while data := await source.read():
            self.read += data
        self.calls.append((kind, repo, protocol, who))
        await sink.write(b"answer")


@attrs.define
class StandInPush:
    actor: Actor
    repo: Any
    request: RequestInfo
    id: str = "push-1"
    actor_name: str = "name"
    user_key: str = "other"
    max_bytes: int | None = 5
    ended: bool = False

    async def decide(self, quarantine, updates, options) -> Verdict:
        return Verdict({b"refs/heads/x": "no"}, ("from the rules",))

    async def finished(self) -> None:
        self.ended = True


class StandInPushes:
    def begin(self, actor, repo, request) -> StandInPush:
        return StandInPush(actor, repo, request)


@attrs.frozen
class Scene:
    world: World
    traffic: GitTraffic
    upload: Engine
    receive: Engine
    metrics: Metrics

    def actor(self, username: str, scopes: set[str] | None = None) -> Actor:
        return Actor(
            user_id=self.world.ids[username],
            username=username.lower(),
            origin=Origin.PASSWORD if scopes is None else Origin.TOKEN,
            scopes=None if scopes is None else frozenset(scopes),
        )

    async def open(self, actor: Actor, path: str, service: Service) -> GitSession:
        return await self.traffic.open(actor, path, service, HTTP)


def make_scene(world: World, **settings: Any) -> Scene:
    upload, receive, metrics = Engine(), Engine(), Metrics()
    traffic = GitTraffic(
        gate=Gate(world.db),
        manager=world.manager,
        upload_pack=upload,  # type: ignore[arg-type]
        receive_pack=receive,  # type: ignore[arg-type]
        pushes=StandInPushes(),
        config=attrs.evolve(world.config, repositories=Repositories(**settings)),
        metrics=metrics,
    )
    return Scene(world, traffic, upload, receive, metrics)


@pytest.fixture
def world(world: World, run) -> World:
    run(world.manager.create(name("Ada/open")))
    run(world.manager.create(name("Ada/closed"), private=True))
    run(
        world.rights.set_collaborator(run(world.manager.get(name("Ada/open")))["id"], "bob", "read")
    )
    return world


@pytest.fixture
def scene(world: World) -> Scene:
    return make_scene(world)


@pytest.mark.parametrize("path", ["Ada/open", "/Ada/open.git", "ada/OPEN.wit", "Ada/open.git/"])
def test_a_fetch(scene: Scene, run, path: str) -> None:
    for actor, key in [(ANONYMOUS, "addr:192.0.2.1"), (scene.actor("bob"), "user:")]:
        session = run(scene.open(actor, path, UPLOAD))
        assert session.repo["full_name"] == "Ada/open"
        repo = BareRepository(session.repo["id"], str(scene.world.path("Ada/open")), "sha1")
        sink = BytesSink()
        run(session.advertise(2, sink))
        run(session.serve_request(2, BytesSource(b"wa", b"nt"), sink))
        run(session.serve_session(1, BytesSource(b"!"), sink))
        assert sink.value() == b"refsansweranswer"
        who = key if actor.anonymous else f"user:{actor.user_id}"
        assert session.user_key == who
        assert scene.upload.calls == [
            ("advertise", repo, 2),
            ("request", repo, 2, who),
            ("session", repo, 1, who),
        ]
        assert scene.upload.read == b"want!"
        assert scene.receive.calls == []
        scene.upload.__init__()  # type: ignore[misc]


def test_a_push(scene: Scene, run) -> None:
    actor = scene.actor("Ada")
    session = run(scene.open(actor, "Ada/closed", RECEIVE))
    sink = BytesSink()
    run(session.advertise(0, sink))
    run(session.serve_request(0, BytesSource(b"commands"), sink))
    run(session.serve_session(0, BytesSource(), sink))
    assert [call[0] for call in scene.receive.calls] == ["advertise", "request", "session"]
    push = scene.receive.calls[1][3]
    assert (push.id, push.actor_name, push.max_bytes) == ("push-1", "name", 5)
    assert push.user_key == f"user:{actor.user_id}"
    inner = push._push
    assert (inner.actor, inner.repo, inner.request) == (actor, session.repo, HTTP)
    assert inner.request.id == "request-1"
    verdict = run(push.decide(NOTHING_PUSHED, [], []))
    assert verdict == Verdict({b"refs/heads/x": "no"}, ("from the rules",))
    run(push.finished())
    assert inner.ended


@pytest.mark.attack(28, 31)
def test_who_may_not(scene: Scene, run) -> None:
    stranger = scene.actor("bob")
    reader_only = scene.actor("Ada", {"repo:read"})
    for actor, path, service, error in [
        (ANONYMOUS, "Ada/closed", UPLOAD, Unauthorized),
        (ANONYMOUS, "Ada/missing", UPLOAD, Unauthorized),
        (ANONYMOUS, "Ada/../x", UPLOAD, Unauthorized),
        (ANONYMOUS, "Ada/open", RECEIVE, Unauthorized),
        (ANONYMOUS, "Ada/missing", RECEIVE, Unauthorized),
        (stranger, "Ada/closed", UPLOAD, NotFound),
        (stranger, "Ada/closed", RECEIVE, NotFound),
        (stranger, "Ada/missing", RECEIVE, NotFound),
        (stranger, "Ada/open", RECEIVE, Forbidden),
        (stranger, "Acme/missing", RECEIVE, NotFound),
        (stranger, "bob/missing", UPLOAD, NotFound),
        (stranger, "bob/..", RECEIVE, NotFound),
        (stranger, "bob/a/b", RECEIVE, NotFound),
        (stranger, "bob/x\0", RECEIVE, NotFound),
        (stranger, "x" * 1000, UPLOAD, NotFound),
        (reader_only, "Ada/open", RECEIVE, Forbidden),
        (reader_only, "Ada/missing", RECEIVE, NotFound),
        (scene.actor("Ada", set()), "Ada/missing", RECEIVE, NotFound),
    ]:
        with pytest.raises(error) as raised:
            run(scene.open(actor, path, service))
        if error is Unauthorized:
            assert raised.value.message == SIGN_IN
        if error is NotFound:
            assert raised.value.message == "repository not found"
    assert len(run(scene.world.in_rows())) == 2


def test_push_to_create(scene: Scene, run) -> None:
    actor = scene.actor("Ada", {"repo:write"})
    session = run(scene.open(actor, "/ADA/new.git", RECEIVE))
    sink = BytesSink()
    run(session.advertise(0, sink))
    assert b" capabilities^{}\0" in sink.value() and sink.value().endswith(b"0000")
    assert not run(scene.world.manager.exists(name("Ada/new"))), "looking creates nothing"
    for probe in (BytesSource(), BytesSource(b"00", b"00")):
        asked = run(scene.open(actor, "Ada/new", RECEIVE))
        run(asked.serve_request(0, probe, sink))
        assert not run(scene.world.manager.exists(name("Ada/new"))), "nor does asking for nothing"
    session = run(scene.open(actor, "Ada/new", RECEIVE))
    run(session.serve_request(0, BytesSource(b"00", b"a5", b"commands"), sink))
    assert scene.receive.read == b"00a5commands"
    row = run(scene.world.manager.get(name("Ada/new")))
    assert row["is_private"] is True and session.repo["id"] == row["id"]
    assert scene.world.path("Ada/new").is_dir()
    (event,) = [e for e in run(scene.world.journal.list()) if e.repo_id == row["id"]]
    assert (event.type, event.actor_id) == ("repo.created", actor.user_id)
    push = scene.receive.calls[-1][3]
    verdict = run(push.decide(NOTHING_PUSHED, [], []))
    assert verdict.messages == ("created private repository Ada/new", "from the rules")
    again = run(scene.open(actor, "Ada/new", RECEIVE))
    run(again.serve_request(0, BytesSource(b"00a5"), sink))
    verdict = run(scene.receive.calls[-1][3].decide(NOTHING_PUSHED, [], []))
    assert verdict.messages == ("from the rules",)


def test_push_to_create_in_one_session(scene: Scene, run) -> None:
    session = run(scene.open(scene.actor("bob"), "bob/new", RECEIVE))
    sink = BytesSink()
    run(session.serve_session(0, BytesSource(b"00a5commands"), sink))
    assert b"capabilities^{}" in sink.value() and sink.value().endswith(b"0000answer")
    assert [call[0] for call in scene.receive.calls] == ["request"]
    assert run(scene.world.manager.exists(name("bob/new")))
    hung_up = run(scene.open(scene.actor("bob"), "bob/other", RECEIVE))
    run(hung_up.serve_session(0, BytesSource(), BytesSink()))
    assert not run(scene.world.manager.exists(name("bob/other")))


def test_push_to_create_can_be_switched_off(world: World, run) -> None:
    scene = make_scene(world, push_to_create=False)
    with pytest.raises(NotFound):
        run(scene.open(scene.actor("Ada"), "Ada/new", RECEIVE))


def test_two_pushes_that_create_the_same(scene: Scene, run) -> None:
    actor = scene.actor("Ada")
    sessions = [run(scene.open(actor, "Ada/new", RECEIVE)) for _ in range(2)]
    for session in sessions:
        run(session.serve_request(0, BytesSource(b"00a5"), BytesSink()))
    assert sessions[0].repo["id"] == sessions[1].repo["id"]
    pushes = [call[3] for call in scene.receive.calls]
    messages = [run(push.decide(NOTHING_PUSHED, [], [])).messages for push in pushes]
    assert [len(found) for found in messages] == [2, 1]


def test_a_folder_in_the_way_of_push_to_create(scene: Scene, run) -> None:
    make_source(scene.world.path("Ada/new"))
    session = run(scene.open(scene.actor("Ada"), "Ada/new", RECEIVE))
    with pytest.raises(Conflict, match="on disk already"):
        run(session.serve_request(0, BytesSource(b"00a5"), BytesSink()))


def test_a_read_only_repository(scene: Scene, run) -> None:
    row = run(scene.world.manager.get(name("Ada/open")))
    run(scene.world.manager.set_read_only(row["id"], "a pack is missing"))
    with pytest.raises(Forbidden, match="Ada/open is read-only: a pack is missing"):
        run(scene.open(scene.actor("Ada"), "Ada/open", RECEIVE))
    with pytest.raises(Forbidden, match="you have read access"):
        run(scene.open(scene.actor("bob"), "Ada/open", RECEIVE))
    run(scene.open(scene.actor("bob"), "Ada/open", UPLOAD))


@pytest.mark.attack(27)
def test_a_missing_or_damaged_folder(scene: Scene, run) -> None:
    def degraded() -> float | None:
        return scene.metrics.registry.get_sample_value("wit_degraded", {"reason": "repository"})

    path = scene.world.path("Ada/open")
    for damage in (lambda: shutil.rmtree(path / "objects"), lambda: shutil.rmtree(path)):
        damage()
        for service in (UPLOAD, RECEIVE):
            with pytest.raises(Unavailable, match="Ada/open cannot be read") as raised:
                run(scene.open(scene.actor("Ada"), "Ada/open", service))
            assert str(path) not in raised.value.message
        assert degraded() == 1
    run(scene.open(scene.actor("Ada"), "Ada/closed", UPLOAD))
    assert degraded() == 1
    make_source(path)
    run(scene.open(scene.actor("Ada"), "Ada/open", UPLOAD))
    assert degraded() == 0
