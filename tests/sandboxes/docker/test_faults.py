"""The engine dies, comes back, or is somewhere else behind TLS. This folder's engine of its own."""

from __future__ import annotations

import ipaddress
import os
import tempfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from tests.conftest import Run
from tests.sandboxes.docker.plug import opened
from tests.sandboxes.support import Box, chunks, finish, make_tar, read_until
from tests.support.daemon import free_port
from tests.support.engine import RealEngine
from wit.errors import Unavailable, WitError
from wit.runtime import Runtime
from wit.sandboxes.docker.provider import DockerProvider
from wit.sandboxes.provider import Found, SandboxSpec, State, TerminalSize

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealEngine, Path, int]]:
    """An engine that may be killed; it listens on TCP with TLS, too."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a container engine")
    certificates = tmp_path_factory.mktemp("certificates")
    make_certificates(certificates)
    port = free_port()
    tls = [f"--tls{name}={certificates}/{file}.pem" for name, file in TLS_FLAGS.items()]
    # Sockets have short paths, unlike pytest's folders.
    folder = Path(tempfile.mkdtemp(prefix="wit-engine-"))
    engine = RealEngine("docker", folder, "--host", f"tcp://127.0.0.1:{port}", "--tlsverify", *tls)
    try:
        engine.start()
        yield engine, certificates, port
    finally:
        engine.remove()


TLS_FLAGS = {"cacert": "ca", "cert": "cert", "key": "key"}


@pytest.fixture(scope="module")
def provider(own: tuple[RealEngine, Path, int], run: Run) -> Iterator[DockerProvider]:
    with opened(own[0], Runtime(reactor), Path(), run) as provider:
        yield provider


def make_certificates(folder: Path) -> None:
    """An authority and one certificate for both ends: ca.pem, cert.pem, key.pem."""
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = _certificate("Authority", authority_key, "Authority", authority_key, True)
    leaf = _certificate("engine", key, "Authority", authority_key, False)
    for name, certificate in (("ca", authority), ("cert", leaf)):
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        (folder / f"{name}.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


def _certificate(subject, key, issuer, issuer_key, is_authority: bool) -> x509.Certificate:
    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    return (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(both), critical=False)
        .add_extension(address, critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def new_box(provider: DockerProvider, run: Run) -> Box:
    return Box(provider, run(provider.create(SandboxSpec(id=uuid.uuid4().hex))), "")


def test_tls(own: tuple[RealEngine, Path, int], run: Run) -> None:
    """Both ways at once, the end of input, and a terminal: over TLS as over the socket."""
    engine, certificates, port = own
    settings = {"host": f"tcp://127.0.0.1:{port}", "tls_dir": str(certificates)}
    data = os.urandom(MIB) * 5

    async def talk(box: Box) -> None:
        execution = await box.start("cat")

        async def feed() -> None:
            for at in range(0, len(data), 100_000):
                await execution.write(data[at : at + 100_000])
            await execution.end_input()

        feeding = Deferred.fromCoroutine(feed())
        ran = await finish(execution)
        await feeding
        assert ran.stdout == data and ran.code == 0
        shell = await box.start("/bin/sh", "-c", "stty size; cat", terminal=TerminalSize(90, 30))
        await read_until(shell, b"30 90")
        await shell.end_input()
        assert (await finish(shell)).code == 0

    with opened(engine, Runtime(reactor), Path(), run, settings=settings) as provider:
        assert "connection" not in run(provider.probe()).detail
        box = new_box(provider, run)
        run(talk(box))
        run(provider.destroy(box.ref))


def test_tls_with_somebody_else(own: tuple[RealEngine, Path, int], run: Run, tmp_path) -> None:
    engine, _, port = own
    make_certificates(tmp_path)
    settings = {"host": f"tcp://127.0.0.1:{port}", "tls_dir": str(tmp_path)}
    with opened(engine, Runtime(reactor), Path(), run, settings=settings) as provider:
        readiness = run(provider.probe())
        assert not readiness.ready and f"tcp://127.0.0.1:{port}" in readiness.reason


def test_a_killed_engine(own: tuple[RealEngine, Path, int], provider, run: Run) -> None:
    """In the middle of a command, a terminal and an upload: lost is said, files are there again."""
    engine = own[0]
    box = new_box(provider, run)
    run(box.sh("echo kept >file"))

    async def begin():  # type: ignore[no-untyped-def]
        pipes = await box.start("/bin/sh", "-c", "echo ready; cat")
        shell = await box.start("/bin/sh", "-c", "echo ready; cat", terminal=TerminalSize(80, 24))
        unread = await box.start("yes")
        for execution in (pipes, shell):
            await read_until(execution, b"ready")
        upload = Deferred.fromCoroutine(provider.upload(box.ref, "up", Endless()))
        return pipes, shell, unread, upload

    async def see(executions, upload) -> None:  # type: ignore[no-untyped-def]
        for execution in executions:
            how = await execution.wait()
            assert how.code != 0 and how.reason == "lost"
            while await execution.read():
                pass
            await execution.close()
        with pytest.raises(WitError):
            await upload

    *executions, upload = run(begin())
    engine.kill()
    with pytest.raises(Unavailable):
        run(provider.state(box.ref))
    run(see(executions, upload))
    with pytest.raises(Unavailable):
        run(box.run(["true"]))
    assert not run(provider.probe()).ready

    engine.start()
    assert run(provider.probe()).ready
    found = run(provider.sandboxes())
    assert found == [Found(box.ref.rpartition("-")[2], box.ref, State.PAUSED)]
    assert run(box.sh("cat file")) == "kept\n"
    run(provider.destroy(box.ref))
    assert run(provider.sandboxes()) == [] and box.ref not in engine.names("volumes")


class Endless:
    """An archive that goes on until somebody stops it."""

    def __init__(self) -> None:
        self.parts = chunks(make_tar(("file", b"x" * MIB))[: MIB // 2])

    async def read(self) -> bytes:
        data = await self.parts.read()
        if not data:
            await Runtime(reactor).sleep(0.01)
            data = b"x" * 512
        return data


def test_an_engine_that_is_stopped_and_started(
    own: tuple[RealEngine, Path, int], provider, run: Run
) -> None:
    engine = own[0]
    box = new_box(provider, run)
    execution = run(box.start("sleep", "1000"))
    engine.stop()
    assert run(execution.wait()).reason == "lost"
    run(execution.close())
    engine.start()
    assert run(provider.state(box.ref)) is State.PAUSED
    run(provider.resume(box.ref))
    assert run(box.sh("echo works")) == "works\n"
    run(provider.destroy(box.ref))


def test_a_destroyed_sandbox_while_an_upload_runs(provider, run: Run) -> None:
    box = new_box(provider, run)

    async def destroy() -> None:
        upload = Deferred.fromCoroutine(provider.upload(box.ref, "up", Endless()))
        await Runtime(reactor).sleep(0)
        execution = await box.start("/bin/sh", "-c", "echo ready; cat")
        await read_until(execution, b"ready")
        await provider.destroy(box.ref)
        assert (await execution.wait()).reason == "lost"
        await execution.close()
        with pytest.raises(WitError):
            await upload

    run(destroy())


def test_fifty_megabytes_that_nobody_reads_cost_nothing(provider, run: Run) -> None:
    box = new_box(provider, run)

    async def look() -> None:
        before = _memory()
        execution = await box.start("head", "-c", "50000000", "/dev/zero")
        await Runtime(reactor).sleep(0.2)
        assert await box.sh("echo others go on") == "others go on\n"
        assert _memory() - before < 5 * MIB
        total = 0
        while output := await execution.read():
            total += len(output.data)
        assert total == 50_000_000
        assert (await execution.wait()).code == 0
        await execution.close()

    run(look())
    run(provider.destroy(box.ref))


def _memory() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
