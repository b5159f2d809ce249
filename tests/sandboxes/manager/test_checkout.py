"""A repository's files in a sandbox, its remote, and the token that opens it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from twisted.web.server import Site as PlainSite

from tests.conftest import Run
from tests.repositories.world import git
from tests.sandboxes.manager.fake import Engine, ServingProvider, finish
from tests.sandboxes.manager.world import Ground, World, make_world, push_files
from wit.access.actor import Level, Origin
from wit.errors import Forbidden, NotFound, Unauthorized
from wit.git.names import RepoName
from wit.repositories.traffic import RequestInfo, Service
from wit.sandboxes import packs
from wit.sandboxes.checkout import GIT_PORT, Author, Target, git_config
from wit.sandboxes.checkout import Origin as Remote
from wit.sandboxes.manager import Sandbox
from wit.sandboxes.provider import Command, Network


async def sh(world: World, sandbox: Sandbox, script: str) -> str:
    env = {"HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    execution = await world.sandboxes.execute(
        world.ada, sandbox.id, Command(["sh", "-ec", script], env=env)
    )
    code, said = await finish(world.core.runtime, execution)
    assert code == 0, said
    return said


def secret_of(world: World, sandbox: Sandbox) -> str:
    """The token, as code in the sandbox finds it."""
    from base64 import b64decode

    box = world.engine.boxes[f"box-{sandbox.id}"]
    line = (box.folder / ".git" / "wit-origin").read_text().split("Basic ")[1].split()[0]
    return b64decode(line).decode().partition(":")[2]


@pytest.fixture
def serving(ground: Ground, run: Run, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A world whose provider serves ports inside."""

    def make(engine: Engine) -> Callable[..., ServingProvider]:
        return lambda context: ServingProvider(engine, context)

    world = run(make_world(ground, Path(tmp_path_factory.mktemp("serving")), make))
    world.service.maker.git_door = PlainSite(None)  # type: ignore[arg-type]
    yield world
    run(world.service.stop())


def test_the_working_tree_is_that_of_the_commit(world: World, run: Run, tmp_path: Path) -> None:
    head = push_files(world, tmp_path / "work", 300)
    first = git("rev-parse", "HEAD~1", cwd=tmp_path / "work")

    async def go() -> None:
        sandbox = await world.create(checkout=True)
        assert (sandbox.branch, sandbox.commit) == ("main", head)
        assert await sh(world, sandbox, "git status --porcelain --branch") == (
            "## main...origin/main\n"
        )
        assert (await sh(world, sandbox, "git log --format=%H")).split() == [head, first]
        assert await sh(world, sandbox, "cat dir7/file7.txt") == "content of 7\n" * 20
        assert await sh(world, sandbox, "git fsck --strict && git config user.email") == (
            "ada@example.org\n"
        )
        older = await world.create(checkout=True, ref=first)
        assert (older.branch, older.commit) == (None, first)
        assert await sh(world, older, "git rev-parse HEAD; ls") != ""
        assert "README" not in await sh(world, older, "ls")
        rows = [row["kind"] for row in await world.sandboxes.commands(world.ada, older.id)]
        assert "checkout" in rows

    run(go())


def test_nothing_but_what_the_commit_reaches_comes_along(
    world: World, run: Run, tmp_path: Path
) -> None:
    work = tmp_path / "work"
    push_files(world, work)
    bare = world.core.repos.folders.root / "ada" / f"{world.repo_name}.git"
    hidden = git("commit-tree", "-m", "hidden", "HEAD^{tree}", cwd=work)
    side = git("commit-tree", "-p", "HEAD", "-m", "side", "HEAD^{tree}", cwd=work)
    git("push", "-q", bare, f"{hidden}:refs/wit/secret", f"{side}:refs/heads/side", cwd=work)
    git("push", "-q", bare, ":refs/heads/side", cwd=work)
    other = tmp_path / "other.git"
    git("init", "-q", "--bare", other)
    git("push", "-q", other, f"{hidden}:refs/heads/alien", cwd=work)
    (bare / "objects" / "info").mkdir(exist_ok=True)
    (bare / "objects" / "info" / "alternates").write_text(f"{other}/objects\n")

    async def go() -> None:
        sandbox = await world.create(checkout=True)
        listed = await sh(world, sandbox, "git cat-file --batch-all-objects --batch-check")
        assert hidden not in listed and side not in listed
        assert "alternates" not in await sh(world, sandbox, "find .git")
        for secret in (hidden, side):
            with pytest.raises(NotFound):
                await world.create(checkout=True, ref=secret)

    run(go())


def test_a_large_history_stays_behind(
    world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = push_files(world, tmp_path / "work")
    bare = world.core.repos.folders.root / "ada" / f"{world.repo_name}.git"
    git("repack", "-adq", cwd=bare)
    monkeypatch.setattr(packs, "HISTORY_BYTES", 10)

    async def go() -> None:
        sandbox = await world.create(checkout=True)
        assert (await sh(world, sandbox, "git log --format=%H")).split() == [head]
        assert await sh(world, sandbox, "git status --porcelain") == ""
        assert (await sh(world, sandbox, "git rev-parse --is-shallow-repository")) == "true\n"

    run(go())


def test_an_empty_repository_can_be_begun(world: World, run: Run) -> None:
    async def go() -> None:
        sandbox = await world.create(checkout=True)
        assert (sandbox.branch, sandbox.commit) == ("main", None)
        said = await sh(
            world, sandbox, "echo x > x; git add x; git commit -qm x; git log --format=%an"
        )
        assert said == "ada\n"

    run(go())


def test_where_there_is_no_git_the_files_come_all_the_same(
    world: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_files(world, tmp_path / "work")
    reset = ("no-such-program", "reset")
    monkeypatch.setattr("wit.sandboxes.checkout.RESET", reset)

    async def go() -> None:
        sandbox = await world.create(checkout=True)
        assert (await sh(world, sandbox, "ls -a")).split() == [
            ".", "..", "README", "dir0", "dir1", "dir2",
        ]  # fmt: skip

    run(go())


def test_without_a_network_git_says_why(world: World, run: Run, tmp_path: Path) -> None:
    push_files(world, tmp_path / "work")

    async def go() -> None:
        sandbox = await world.create(checkout=True, network=Network.NONE)
        said = await sh(world, sandbox, "git fetch 2>&1 || true")
        assert "this sandbox has no network" in said

    run(go())


def test_the_token_opens_one_repository_for_git_and_ends_with_the_sandbox(
    serving: World, run: Run, tmp_path: Path
) -> None:
    world = serving
    push_files(world, tmp_path / "work")
    core = world.core
    request = RequestInfo("r", "127.0.0.1", "http")

    async def go() -> None:
        other = RepoName("ada", f"other-{world.repo_name}")
        await core.repos.create(other, private=False)
        sandbox = await world.create(checkout=True)
        box = world.engine.boxes[f"box-{sandbox.id}"]
        assert list(box.ports) == [GIT_PORT]
        secret = secret_of(world, sandbox)
        actor = await core.credentials.basic("x-access-token", secret, "127.0.0.1")
        assert (actor.origin, actor.user_id) == (Origin.SANDBOX, world.ada.user_id)
        assert not actor.is_admin and not actor.is_superadmin
        own = f"ada/{world.repo_name}"
        for service in Service:
            assert (await core.traffic.open(actor, own, service, request)).repo is not None
            for path in (str(other), f"ada/new-{world.repo_name}"):
                with pytest.raises(NotFound):
                    await core.traffic.open(actor, path, service, request)
        assert (await core.gate.visible_repositories(actor)).rows == []
        with pytest.raises(Forbidden):
            await core.gate.repository_by_id(actor, world.repo_id, Level.ADMIN)
        with pytest.raises(Forbidden, match="for git alone"):
            await world.sandboxes.list(actor)
        with pytest.raises(Unauthorized):
            await core.credentials.bearer(secret)
        await world.sandboxes.pause(world.ada, sandbox.id)
        with pytest.raises(Unauthorized, match="paused or over"):
            await core.credentials.basic("x-access-token", secret, "127.0.0.1")
        await world.sandboxes.resume(world.ada, sandbox.id)
        await core.credentials.basic("x-access-token", secret, "127.0.0.1")
        with pytest.raises(Unauthorized):
            await core.credentials.basic("bob", secret, "127.0.0.1")
        world.clock.turn(100_000)
        with pytest.raises(Unauthorized):
            await core.credentials.basic("x-access-token", secret, "127.0.0.1")
        await world.sandboxes.resume(world.ada, sandbox.id)
        await world.sandboxes.destroy(world.ada, sandbox.id)
        with pytest.raises(Unauthorized):
            await core.credentials.basic("x-access-token", secret, "127.0.0.1")

    run(go())


def test_after_a_restart_origin_is_served_again(serving: World, run: Run, tmp_path: Path) -> None:
    world = serving
    push_files(world, tmp_path / "work")

    async def go() -> None:
        sandbox = await world.create(checkout=True)
        box = world.engine.boxes[f"box-{sandbox.id}"]
        box.ports.clear()
        await world.restart()
        world.service.maker.git_door = PlainSite(None)  # type: ignore[arg-type]
        await sh(world, sandbox, "true")
        assert list(box.ports) == [GIT_PORT]

    run(go())


def test_hostile_names_stay_names_in_the_configuration(tmp_path: Path) -> None:
    branch, person = 'a"]\\b', 'Ada\n[core]\n\tfsmonitor = "touch x" # \\'
    text = git_config(
        "sha1", Target("0" * 40, branch), Remote("http://127.0.0.1/a/b.git"), Author(person, "e@x")
    )
    file = tmp_path / "config"
    file.write_text(text)
    listed = git("config", "--file", file, "--list", "--name-only")
    assert "core.fsmonitor" not in listed
    assert git("config", "--file", file, "user.name") == person.replace("\n", " ")
    assert git("config", "--file", file, f"branch.{branch}.remote") == "origin"
