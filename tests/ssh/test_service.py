"""Starting, reloading and stopping the SSH service."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
from twisted.conch.ssh.common import NS
from twisted.internet.defer import Deferred

from tests.ssh.raw_client import connect, signed_in
from tests.ssh.support import SshServer, StandInOwners, StandInTraffic, make_config, make_key
from wit.config import Config
from wit.errors import ConfigError
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.ssh.service import SshService
from wit.streams import ByteSink, ByteSource

MakeServer = Callable[..., SshServer]


def make_service(config: Config, runtime: Runtime) -> SshService:
    traffic = StandInTraffic(runtime, config.data_dir)
    return SshService(config, runtime, StandInOwners(), traffic, Metrics())


def test_the_first_start_makes_the_host_keys(run: Any, runtime: Runtime, tmp_path: Path) -> None:
    service = make_service(make_config(tmp_path), runtime)
    run(service.start())
    assert len(list((tmp_path / "ssh").iterdir())) == 3
    (address,) = service.addresses
    assert address.startswith("127.0.0.1:")
    run(service.stop())
    assert service.addresses == []


@pytest.mark.parametrize("listen", [(), ("none",)])
def test_ssh_can_be_switched_off(
    run: Any, runtime: Runtime, tmp_path: Path, listen: tuple[str, ...]
) -> None:
    service = make_service(make_config(tmp_path, listen=listen), runtime)
    run(service.start())
    assert service.addresses == []
    assert not (tmp_path / "ssh").exists()
    run(service.reload(make_config(tmp_path)))
    run(service.stop())


def test_several_endpoints(make_server: MakeServer, tmp_path: Path) -> None:
    path = tmp_path / "socket"
    server = make_server(listen=("tcp:0:interface=127.0.0.1", f"unix:{path}"))
    assert server.service.addresses[1] == str(path)
    assert server.ssh("-T").returncode == 0
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(10)
        peer.connect(str(path))
        assert peer.recv(8) == b"SSH-2.0-"


@pytest.mark.parametrize("name", ["rubbish", "tcp", "tcp:port=x", "nosuch:22", "tcp:22:what=1"])
def test_wrong_endpoints(run: Any, runtime: Runtime, host_data: Path, name: str) -> None:
    good = "tcp:0:interface=127.0.0.1"
    service = make_service(make_config(host_data, listen=(good, name)), runtime)
    with pytest.raises(ConfigError, match=r"ssh\.listen: "):
        run(service.start())
    assert service.addresses == []


def test_a_port_that_is_taken(server: SshServer, run: Any, runtime: Runtime) -> None:
    config = make_config(server.config.data_dir, listen=(f"tcp:{server.port}:interface=127.0.0.1",))
    with pytest.raises(ConfigError, match="cannot listen on"):
        run(make_service(config, runtime).start())


@pytest.mark.attack(69)
def test_new_connections_use_the_new_host_keys(server: SshServer, run: Any, tmp_path: Path) -> None:
    """An old connection keeps its keys, even when it changes its session keys."""

    async def change() -> None:
        old = await signed_in(server.port, server.keys / "alice")
        new_key = make_key(tmp_path, "host")
        ssh = attrs.evolve(server.config.ssh, host_keys=(str(new_key),))
        await server.service.reload(attrs.evolve(server.config, ssh=ssh))
        old.sendKexInit()  # type: ignore[no-untyped-call]
        assert (await old.open())[0] == 91
        old.close()

    known = server.home / "known_hosts"
    assert server.ssh("-T").returncode == 0
    before = known.read_text().split()[2]
    run(change())
    assert b"REMOTE HOST IDENTIFICATION HAS CHANGED" in server.ssh("-T").stderr
    known.unlink()
    assert server.ssh("-T").returncode == 0
    assert known.read_text().split()[2] != before


def test_a_reload_that_fails_changes_nothing(server: SshServer, run: Any, tmp_path: Path) -> None:
    ssh = attrs.evolve(server.config.ssh, host_keys=(str(tmp_path / "missing"),))
    with pytest.raises(ConfigError, match="missing"):
        run(server.service.reload(attrs.evolve(server.config, ssh=ssh)))
    assert server.ssh("-T").returncode == 0


@pytest.mark.attack(69)
def test_stopping_lets_commands_end(server: SshServer, run: Any) -> None:
    finish: Deferred[None] = Deferred()

    async def work(source: ByteSource, sink: ByteSink) -> None:
        await sink.write(b"begin")
        await finish
        await sink.write(b"end" + bytes(300_000))

    async def ask() -> None:
        server.traffic.session = work
        busy = await signed_in(server.port, server.keys / "alice")
        await busy.open()
        busy.request(b"exec", NS(b"git-upload-pack x"), want=False)
        await busy.until(94)
        idle = await signed_in(server.port, server.keys / "alice")
        halfway = await connect(server.port)
        address = server.service.addresses[0]
        stopping = Deferred.fromCoroutine(server.service.stop())
        assert await idle.ended() == "the server is stopping"
        assert await halfway.ended() == "closed"
        with pytest.raises(Exception, match="refused"):
            await connect(int(address.rpartition(":")[2]))
        assert (await busy.open(number=1))[0] == 92, "no new session"
        assert not stopping.called
        finish.callback(None)
        received = b""
        while True:
            number, payload = await busy.until(94, 97)
            if number == 97:
                break
            received += payload[8:]
        assert received == b"end" + bytes(300_000)
        busy.say(97, bytes(4))
        assert await busy.ended() == "the server is stopping"
        await stopping

    run(ask())


@pytest.mark.attack(69)
def test_stopping_does_not_wait_for_ever(run: Any, runtime: Runtime, server: SshServer) -> None:
    cleaned: list[str] = []

    async def stubborn(source: ByteSource, sink: ByteSink) -> None:
        await sink.write(b"begin")
        try:
            await Deferred()
        finally:
            await runtime.sleep(0.1)
            cleaned.append("up")

    async def ask() -> None:
        server.traffic.session = stubborn
        busy = await signed_in(server.port, server.keys / "alice")
        await busy.open()
        busy.request(b"exec", NS(b"git-upload-pack x"), want=False)
        await busy.until(94)
        quick = attrs.evolve(
            server.config, server=attrs.evolve(server.config.server, grace_seconds=0.2)
        )
        await server.service.reload(quick)
        await server.service.stop()
        assert cleaned == ["up"], "the stop has waited for the cleaning up"
        assert await busy.ended() == "closed"

    run(ask())


def test_stopping_twice_and_before_starting(run: Any, runtime: Runtime, tmp_path: Path) -> None:
    service = make_service(make_config(tmp_path), runtime)
    run(service.stop())
    run(service.stop())
    assert service.addresses == []
