"""A running SSH server with stand-ins behind it, as a fixture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ssh.support import (
    SshServer,
    StandInOwners,
    StandInTraffic,
    blob_of,
    make_config,
    make_key,
    make_repository,
)
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.ssh.host_keys import make_host_keys
from wit.ssh.service import SshService


@pytest.fixture(scope="session")
def host_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with host keys; making them takes a second, so all servers share them."""
    folder = tmp_path_factory.mktemp("host")
    make_host_keys(make_config(folder))
    return folder


@pytest.fixture(scope="session")
def user_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``alice`` and ``bob`` have keys that the server knows; ``mallory``'s is unknown."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("alice", "bob", "mallory"):
        make_key(folder, name)
    return folder


@pytest.fixture(scope="session")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repos")
    make_repository(folder / "alice/small.git", {"README": b"hello\n"})
    return folder


@pytest.fixture
def make_server(
    run: Any, runtime: Runtime, host_data: Path, user_keys: Path, repositories: Path, tmp_path: Path
) -> Iterator[Callable[..., SshServer]]:
    """``make_server(**settings)``: a server with these settings of the section ssh."""
    servers: list[SshServer] = []

    def make(**settings: Any) -> SshServer:
        config = make_config(host_data, **settings)
        owners = StandInOwners()
        for name in ("alice", "bob"):
            owners.owners[blob_of(user_keys / f"{name}.pub")] = name
        traffic = StandInTraffic(runtime, repositories)
        metrics = Metrics()
        service = SshService(config, runtime, owners, traffic, metrics)
        run(service.start())
        server = SshServer(service, owners, traffic, metrics, user_keys, config, tmp_path)
        servers.append(server)
        return server

    yield make
    for server in servers:
        run(server.service.stop())


@pytest.fixture
def server(make_server: Callable[..., SshServer]) -> SshServer:
    return make_server()
