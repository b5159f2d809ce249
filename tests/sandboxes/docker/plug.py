"""The docker provider before real engines, for the contract suite and for tests of its own."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from twisted.internet import reactor

from tests.conftest import Run
from tests.sandboxes.plug import Plug
from tests.sandboxes.support import Box
from tests.support.engine import RealEngine, shared_engine
from wit.runtime import Runtime
from wit.sandboxes.docker.provider import DockerProvider
from wit.sandboxes.provider import Limits, ProviderContext, SandboxSpec


def engine_of(kind: str) -> RealEngine:
    """The test run's engine of that kind."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a container engine")
    return shared_engine(kind)


@contextmanager
def opened(
    engine: RealEngine,
    runtime: Runtime,
    folder: Path,
    run: Run,
    *,
    instance: str = "",
    settings: Mapping[str, str] | None = None,
) -> Iterator[DockerProvider]:
    """A started provider of an installation of its own; what it leaves in the engine is removed."""
    context = ProviderContext(
        runtime,
        folder,
        instance or uuid.uuid4().hex,
        {"host": engine.host, "image": "wit-sandbox:test", **(settings or {})},
    )
    provider = DockerProvider(context)
    run(provider.start())
    try:
        yield provider
    finally:
        run(provider.stop())


@contextmanager
def boxed(
    run: Run, folder: Path, limits: Limits, settings: Mapping[str, str] | None = None
) -> Iterator[Box]:
    """A sandbox of its own in the shared Docker engine, for an attack on it."""
    engine = engine_of("docker")
    with opened(engine, Runtime(reactor), folder, run, settings=settings) as provider:
        ref = run(provider.create(SandboxSpec(id=uuid.uuid4().hex, limits=limits)))
        yield Box(provider, ref, "")
        run(provider.destroy(ref))
        assert run(provider.sandboxes()) == []


@contextmanager
def open_docker(runtime: Runtime, folder: Path, run: Run) -> Iterator[Plug]:
    with _plugged(engine_of("docker"), runtime, folder, run) as plug:
        yield plug


@contextmanager
def open_podman(runtime: Runtime, folder: Path, run: Run) -> Iterator[Plug]:
    with _plugged(engine_of("podman"), runtime, folder, run) as plug:
        yield plug


@contextmanager
def _plugged(engine: RealEngine, runtime: Runtime, folder: Path, run: Run) -> Iterator[Plug]:
    instance = uuid.uuid4().hex

    def open_it():  # type: ignore[no-untyped-def]
        return opened(engine, runtime, folder, run, instance=instance)

    with open_it() as provider:
        yield Plug(provider, crowd=4, reopen=open_it)
        for left in run(provider.sandboxes()):
            run(provider.destroy(left.ref))
