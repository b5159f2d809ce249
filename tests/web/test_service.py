"""Listening, stopping, TLS, unix sockets, and what happens when descriptors run out."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from tests.web.harness import read_to_end, read_until, route_to, say_hello
from wit.config import Server
from wit.errors import ConfigError
from wit.listening import parse
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.service import HttpService
from wit.web.site import WebSite
from wit.web.streaming import Handler, Request

Run = Callable[[Any], Any]
GET = b"GET / HTTP/1.1\r\nHost: h\r\n"


def make_service(
    runtime: Runtime, *endpoints: str, handler: Handler = say_hello, **options: Any
) -> HttpService:
    site = WebSite(route_to(handler), Server(), runtime, Metrics())
    return HttpService(site, endpoints, runtime, **options)


def port_of(service: HttpService) -> int:
    return int(service.addresses[0].rsplit(":", 1)[1])


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Path, Path]]:
    """Two keys with their certificates."""
    folder = tmp_path_factory.mktemp("tls")
    made = []
    for name in ("one", "two"):
        key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout", str(key),
             "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        made.append((key, certificate))
    return made


@pytest.fixture
def tls_service(
    run: Run, runtime: Runtime, certificates: list[tuple[Path, Path]], tmp_path: Path
) -> Iterator[HttpService]:
    install(certificates[0], tmp_path)
    service = make_service(
        runtime,
        f"ssl:0:interface=127.0.0.1:privateKey={tmp_path}/key.pem:certKey={tmp_path}/cert.pem",
    )
    run(service.start())
    yield service
    run(service.stop(0))


def install(pair: tuple[Path, Path], folder: Path) -> None:
    for source, name in zip(pair, ("key.pem", "cert.pem"), strict=True):
        (folder / name).write_bytes(source.read_bytes())


def tls_client(port: int, **settings: Any) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2", "http/1.1"])
    for name, value in settings.items():
        setattr(context, name, value)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10))


def test_tls_serves_and_reloads(
    run: Run, tls_service: HttpService, certificates: list[tuple[Path, Path]], tmp_path: Path
) -> None:
    async def reload() -> None:
        tls_service.reload_tls()

    port = port_of(tls_service)
    assert tls_service.addresses[0].startswith("https://127.0.0.1:")
    with tls_client(port) as old:
        assert old.version() == "TLSv1.3"
        assert old.selected_alpn_protocol() == "http/1.1"
        old.sendall(GET + b"\r\n")
        assert b"hello /" in read_until(old, b"hello /\n")
        first = old.getpeercert(binary_form=True)

        install(certificates[1], tmp_path)
        run(reload())
        with tls_client(port) as new:
            assert new.getpeercert(binary_form=True) != first
            new.sendall(GET + b"Connection: close\r\n\r\n")
            assert read_to_end(new).endswith(b"hello /\n")
        old.sendall(GET + b"\r\n")
        assert b"hello /" in read_until(old, b"hello /\n")

        (tmp_path / "cert.pem").write_bytes(certificates[0][1].read_bytes())
        with pytest.raises(ConfigError, match="not the key of"):
            run(reload())
        with tls_client(port) as still:
            assert still.getpeercert(binary_form=True) != first


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_old_tls_is_refused(tls_service: HttpService) -> None:
    with pytest.raises((ssl.SSLError, OSError)):
        tls_client(
            port_of(tls_service),
            minimum_version=ssl.TLSVersion.TLSv1,
            maximum_version=ssl.TLSVersion.TLSv1_1,
        )


def test_tls_1_2_uses_forward_secrecy(tls_service: HttpService) -> None:
    with tls_client(port_of(tls_service), maximum_version=ssl.TLSVersion.TLSv1_2) as client:
        cipher = client.cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE-")
    assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]


def test_a_large_answer_over_tls_is_complete(
    run: Run, runtime: Runtime, tmp_path: Path, certificates: list[tuple[Path, Path]]
) -> None:
    async def flood(request: Request) -> None:
        request.prepare(200, "application/octet-stream")
        for _ in range(200):
            await request.sink().write(b"x" * 131072)

    install(certificates[0], tmp_path)
    service = make_service(
        runtime,
        f"ssl:0:interface=127.0.0.1:privateKey={tmp_path}/key.pem:certKey={tmp_path}/cert.pem",
        handler=flood,
    )
    run(service.start())
    try:
        with tls_client(port_of(service)) as client:
            client.sendall(b"GET / HTTP/1.0\r\n\r\n")
            _, _, body = read_to_end(client).partition(b"\r\n\r\n")
        assert len(body) == 200 * 131072
    finally:
        run(service.stop(0))


def test_unix_sockets_and_a_stale_one(run: Run, runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "http.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    service = make_service(runtime, f"unix:{path}:mode=600")
    run(service.start())
    assert service.addresses == [f"unix:{path}"]
    assert path.stat().st_mode & 0o777 == 0o600
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(GET + b"Connection: close\r\n\r\n")
        assert read_to_end(client).endswith(b"hello /\n")

    second = make_service(runtime, f"unix:{path}")
    with pytest.raises(ConfigError, match="cannot listen"):
        run(second.start())
    assert path.exists()
    run(service.stop(0))
    assert not path.exists()


def test_wrong_endpoints_are_named(run: Run, runtime: Runtime, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no certificate")
    for endpoint, words in (
        ("tcp:notaport", "tcp:notaport"),
        ("nothing:80", "nothing:80"),
        ("", "is no endpoint"),
        ("ssl:443", "privateKey"),
        (f"ssl:0:privateKey={tmp_path}/absent", "No such file"),
        (f"ssl:0:privateKey={tmp_path}/plain", "expected a"),
        (f"unix:{tmp_path}/s:colour=red", "colour"),
        ("tcp:80:interface=203.0.113.1", "cannot listen"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(make_service(runtime, endpoint).start())


def test_escapes_in_endpoint_strings() -> None:
    assert parse(r"unix:/a\:b:mode=600") == ("unix", ["/a:b"], {"mode": "600"})
    assert parse(r"ssl:443:interface=\:\:") == ("ssl", ["443"], {"interface": "::"})


def test_a_failed_start_listens_nowhere(run: Run, runtime: Runtime) -> None:
    service = make_service(runtime, "tcp:0:interface=127.0.0.1", "tcp:80:interface=203.0.113.1")
    with pytest.raises(ConfigError):
        run(service.start())
    assert service.addresses == []
    assert service.site.numPorts == 0


@pytest.mark.attack(69)
def test_stopping_waits_for_running_requests(run: Run, runtime: Runtime) -> None:
    async def wait(request: Request) -> None:
        started.set()
        await go_on
        request.answer(200, "text/plain", b"done\n")

    async def stop() -> None:
        stopping = Deferred.fromCoroutine(service.stop(30))
        assert told == [True]
        go_on.callback(None)
        await stopping

    started = threading.Event()
    told: list[bool] = []
    go_on: Deferred[None] = Deferred()
    service = make_service(
        runtime, "tcp:0:interface=127.0.0.1", handler=wait, on_stop=lambda: told.append(True)
    )
    run(service.start())
    address = ("127.0.0.1", port_of(service))
    idle = socket.create_connection(address, timeout=10)
    busy = socket.create_connection(address, timeout=10)
    with idle, busy:
        busy.sendall(GET + b"\r\n")
        assert started.wait(10)
        run(stop())
        assert read_to_end(busy).endswith(b"done\n")
        assert read_to_end(idle) == b""
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=10)


@pytest.mark.attack(69)
def test_stopping_cuts_what_does_not_end(run: Run, runtime: Runtime) -> None:
    async def wait(request: Request) -> None:
        started.set()
        try:
            await Deferred()
        finally:
            ended.set()

    started, ended = threading.Event(), threading.Event()
    service = make_service(runtime, "tcp:0:interface=127.0.0.1", handler=wait)
    run(service.start())
    with socket.create_connection(("127.0.0.1", port_of(service)), timeout=10) as client:
        client.sendall(GET + b"\r\n")
        assert started.wait(10)
        run(service.stop(0.1))
        assert ended.is_set()
        assert not service.site.connections


EMFILE_SCRIPT = """
import resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (48, 48))
from twisted.internet import reactor, threads
from twisted.internet.defer import Deferred
from pathlib import Path
from wit.config import Config, Server
from wit.metrics import Metrics
from wit.runtime import Runtime
from wit.web.routes.health import Health, descriptors_left
from wit.web.service import HttpService
from wit.web.site import WebSite

class Database:
    async def ping(self): return 1.0

runtime, metrics = Runtime(reactor), Metrics()
health = Health(Config(Path(sys.argv[1])), runtime, metrics, Database())
site = WebSite([health.route()], Server(), runtime, metrics)
service = HttpService(site, ["tcp:0:interface=127.0.0.1"], runtime)

async def main():
    await service.start()
    print(service.addresses[0].rsplit(":", 1)[1], flush=True)

Deferred.fromCoroutine(main())
reactor.run()
"""


@pytest.mark.attack(70)
def test_running_out_of_descriptors(tmp_path: Path) -> None:
    """Connections above the limit are closed, the loop lives, and readiness tells."""
    (tmp_path / "repos").mkdir()
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(EMFILE_SCRIPT), str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        text=True,
    )
    clients = []
    try:
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.readline()))
        clients = [socket.create_connection(address, timeout=10) for _ in range(60)]
        refused = [client for client in clients[45:] if is_closed(client)]
        assert refused
        ready = b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
        clients[0].sendall(ready)
        answer = read_to_end(clients[0])
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b'"fd"' in answer
        for client in clients[1:]:
            client.close()
        with socket.create_connection(address, timeout=10) as fresh:
            fresh.sendall(GET.replace(b"/ ", b"/livez ", 1) + b"Connection: close\r\n\r\n")
            assert read_to_end(fresh).startswith(b"HTTP/1.1 200 ")
        assert server.poll() is None
    finally:
        for client in clients:
            client.close()
        server.kill()
        server.wait()


def is_closed(client: socket.socket) -> bool:
    """Whether the server closed it; an open connection says nothing for a second."""
    client.settimeout(1)
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False
    finally:
        client.settimeout(10)
