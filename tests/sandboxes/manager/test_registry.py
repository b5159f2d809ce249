"""Which provider is chosen, and what is said when none can be had."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest

from tests.conftest import Run
from tests.sandboxes.manager.fake import FEATURES, Engine, FakeProvider
from tests.sandboxes.manager.world import Ground, World, make_world
from wit.config import Config, Sandboxes
from wit.errors import Invalid, Unavailable
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.sandboxes.provider import Command, ProviderContext, SandboxProvider
from wit.sandboxes.registry import BUILT_IN, Factory, Registry, provider_settings

NOBODY: frozenset[str] = frozenset()


def factory(name: str, folder: Path, *, down: str = "", hosted: bool = False) -> Factory:
    engine = Engine(folder, attrs.evolve(FEATURES, hosted=hosted), down=down)

    def make(context: ProviderContext) -> SandboxProvider:
        provider = FakeProvider(engine, context)
        provider.name = name
        return provider

    return make


def broken(context: ProviderContext) -> SandboxProvider:
    raise RuntimeError("no such engine here")


def started(runtime: Runtime, run: Run, folder: Path, wanted: str = "", **factories: Factory):  # type: ignore[no-untyped-def]
    config = Config(folder, sandboxes=Sandboxes(provider=wanted))
    registry = Registry(config, runtime, Metrics(), factories)
    run(registry.start(folder, "i"))
    return registry


def test_the_first_that_is_ready_and_free(runtime: Runtime, run: Run, tmp_path: Path) -> None:
    registry = started(
        runtime,
        run,
        tmp_path,
        broken=broken,
        down=factory("down", tmp_path, down="it is not installed"),
        paid=factory("paid", tmp_path, hosted=True),
        free=factory("free", tmp_path),
    )
    assert run(registry.choose(None, NOBODY)).name == "free"
    assert run(registry.choose(None, frozenset({"paid"}))).name == "paid"
    assert run(registry.choose("paid", NOBODY)).name == "paid"
    with pytest.raises(Unavailable, match="down is not ready: it is not installed"):
        run(registry.choose("down", NOBODY))
    with pytest.raises(Unavailable, match="broken is not ready: no such engine here"):
        run(registry.choose("broken", NOBODY))
    with pytest.raises(Invalid, match="no provider 'vercel'"):
        run(registry.choose("vercel", NOBODY))
    ready = {one.name: (one.ready, one.reason) for one in registry.statuses()}
    assert ready["broken"] == (False, "no such engine here")
    assert ready["down"] == (False, "it is not installed")
    run(registry.stop())


def test_switched_off_and_nothing_ready(runtime: Runtime, run: Run, tmp_path: Path) -> None:
    off = started(runtime, run, tmp_path, "none", free=factory("free", tmp_path))
    with pytest.raises(Unavailable, match="switched them off"):
        run(off.choose(None, NOBODY))
    empty = started(runtime, run, tmp_path, down=factory("down", tmp_path, down="no engine"))
    with pytest.raises(Unavailable, match="no sandbox provider is ready: down: no engine"):
        run(empty.choose(None, NOBODY))


def test_a_plug_in_finds_its_settings() -> None:
    config = Config(
        Path("/x"),
        sandboxes=Sandboxes(
            docker_host="unix:///s", options=("acme.region=eu", "other.key=1"), allowed_hosts=("a",)
        ),
    )
    assert provider_settings(config, "acme") == {"region": "eu", "allow": "a"}
    docker = provider_settings(config, "docker")
    assert (docker["host"], docker["pull"]) == ("unix:///s", "never")
    assert "region" not in docker


def test_the_built_in_ones_can_be_loaded(runtime: Runtime, tmp_path: Path) -> None:
    registry = Registry(Config(tmp_path), runtime, Metrics())
    assert list(registry._find())[: len(BUILT_IN)] == list(BUILT_IN)


@pytest.fixture
def hosted(ground: Ground, run: Run, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A world whose provider is e2b by name, with no key of the server's."""

    def make(engine: Engine) -> Factory:
        engine.features = attrs.evolve(engine.features, hosted=True)

        def factory(context: ProviderContext) -> SandboxProvider:
            provider = FakeProvider(engine, context)
            provider.name = "e2b"
            return provider

        return factory

    world = run(make_world(ground, Path(tmp_path_factory.mktemp("hosted")), make, provider="e2b"))
    yield world
    run(world.service.stop())


def test_a_repositorys_key_goes_along_and_is_known_after_a_restart(hosted: World, run: Run) -> None:
    async def go() -> None:
        world, keys = hosted, hosted.sandboxes.keys
        await keys.set(world.repo_id, "e2b", "e2b_canary", "u")
        sandbox = await world.create(provider="e2b")
        (box,) = world.engine.boxes.values()
        assert box.spec.key == "e2b_canary"
        row = await world.row(sandbox.id)
        assert "canary" not in repr(dict(row)) and row["host"] is None
        await world.restart()
        provider = world.service.registry.get("e2b")
        assert isinstance(provider, FakeProvider)
        assert provider.keys == {str(row["ref"]): "e2b_canary"}
        await keys.delete(world.repo_id, "e2b")
        await world.sandboxes.execute(world.ada, sandbox.id, Command(["true"]))
        await world.sandboxes.destroy(world.ada, sandbox.id)
        assert (await world.row(sandbox.id))["sealed_key"] is None

    run(go())
