"""What the local provider does beyond the contract."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid
from pathlib import Path

import attrs
import psutil
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, Protocol

from tests.conftest import Run
from tests.sandboxes.local.fixtures import SMALL, NewBox
from tests.sandboxes.support import Box, finish, read_until
from tests.support.daemon import wait_until
from wit.errors import ConfigError, Conflict, Invalid, Unavailable
from wit.runtime import Runtime
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.provider import (
    Command,
    Network,
    ProviderContext,
    SandboxLost,
    SandboxSpec,
    ServesInside,
    State,
    TerminalSize,
)


class Greeting(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.factory.words)  # type: ignore[union-attr]
        self.transport.loseConnection()


def greeting(words: bytes) -> Factory[Greeting]:
    factory = Factory.forProtocol(Greeting)
    factory.words = words  # type: ignore[attr-defined]
    return factory


READ = "import socket; print(socket.create_connection(('127.0.0.1', 5555), 5).recv(99).decode())"


def test_a_port_that_the_daemon_serves(local: LocalProvider, new_box: NewBox, run: Run) -> None:
    assert isinstance(local, ServesInside)
    one, other = new_box(), new_box()
    run(local.provide_port(one.ref, 5555, greeting(b"for one")))
    run(local.provide_port(other.ref, 5555, greeting(b"for the other")))
    assert run(one.run(["python3", "-c", READ])).text == "for one\n"
    assert run(other.run(["python3", "-c", READ])).text == "for the other\n"
    run(local.provide_port(one.ref, 5555, greeting(b"again")))
    assert run(one.run(["python3", "-c", READ])).text == "again\n"


def test_a_port_that_a_program_has(local: LocalProvider, new_box: NewBox, run: Run) -> None:
    box = new_box()

    async def take() -> None:
        program = "import socket; s = socket.create_server(('127.0.0.1', 5555)); print(1, flush=True); s.accept()"
        execution = await box.start("python3", "-c", program)
        await read_until(execution, b"1")
        try:
            with pytest.raises(Conflict):
                await local.provide_port(box.ref, 5555, greeting(b"x"))
        finally:
            await execution.close()

    run(take())


def test_a_terminal_can_be_opened_again_by_its_name(new_box: NewBox, run: Run) -> None:
    async def look() -> bytes:
        script = 'echo one >"$(tty)"; echo two >/dev/tty; tty'
        box = new_box_
        return (
            await finish(await box.start("/bin/sh", "-c", script, terminal=TerminalSize(80, 24)))
        ).stdout

    new_box_ = new_box()
    assert run(look()).split()[:2] == [b"one", b"two"]


def test_sizes_that_no_terminal_has(new_box: NewBox, run: Run) -> None:
    box = new_box()
    with pytest.raises(Invalid):
        run(box.start("true", terminal=TerminalSize(0, 24)))


def test_temporary_files_and_home_are_kept_between_commands(new_box: NewBox, run: Run) -> None:
    box = new_box()
    run(box.sh("echo a >/tmp/kept; echo b >~/kept"))
    assert run(box.sh("cat /tmp/kept ~/kept; id -un; hostname")) == "a\nb\nuser\nsandbox\n"


def test_what_it_cannot_make(local: LocalProvider, run: Run) -> None:
    spec = SandboxSpec(uuid.uuid4().hex, SMALL)
    for wrong in (
        attrs.evolve(spec, id="../../etc"),
        attrs.evolve(spec, image="debian"),
        attrs.evolve(spec, network=Network.FULL),
        attrs.evolve(spec, env={"A B": "x"}),
        attrs.evolve(spec, env={"A": "x\0y"}),
    ):
        with pytest.raises(Invalid):
            run(local.create(wrong))
    run(local.create(spec))
    with pytest.raises(Conflict):
        run(local.create(spec))
    assert run(local.state(spec.id)) is State.RUNNING
    run(local.destroy(spec.id))


def test_a_command_that_was_cancelled_while_it_started(new_box: NewBox, run: Run) -> None:
    box = new_box()

    async def cancel() -> None:
        starting = Deferred.fromCoroutine(
            box.provider.execute(box.ref, Command(["flock", "cancelled", "sleep", "1000"]))
        )
        starting.addErrback(lambda _: None)
        starting.cancel()
        await starting
        while not await box.free("cancelled"):
            pass

    run(cancel())


def test_a_creation_that_was_cancelled(local: LocalProvider, run: Run) -> None:
    spec = SandboxSpec(uuid.uuid4().hex, SMALL)

    async def cancel() -> None:
        making = Deferred.fromCoroutine(local.create(spec))
        making.addErrback(lambda _: None)
        making.cancel()
        await making

    run(cancel())
    wait_until(lambda: run(local.state(spec.id)) is State.GONE)


def test_the_keeper_is_started_again(local: LocalProvider, new_box: NewBox, run: Run) -> None:
    box = new_box()

    async def lose() -> None:
        execution = await box.start("sleep", "1000")
        for child in psutil.Process().children():
            if any("/local/keeper/" in word for word in child.cmdline()):
                os.kill(child.pid, signal.SIGKILL)
        assert (await execution.wait()).reason == "lost"
        await execution.close()

    run(lose())
    wait_until(
        lambda: not any("keeper" in " ".join(p.cmdline()) for p in psutil.Process().children())
    )
    assert run(box.sh("echo works")) == "works\n"


@pytest.fixture
def context(tmp_path: Path) -> ProviderContext:
    return ProviderContext(Runtime(reactor), tmp_path / "own", "own")


def test_one_folder_is_for_one_daemon(context: ProviderContext, run: Run) -> None:
    one, other = LocalProvider(context), LocalProvider(context)
    run(one.start())
    run(other.start())
    readiness = run(other.probe())
    assert not readiness.ready and "another wit" in readiness.reason
    with pytest.raises(Unavailable, match="another wit"):
        run(other.create(SandboxSpec(uuid.uuid4().hex)))
    run(one.stop())


def test_without_bubblewrap_it_says_what_to_install(context: ProviderContext, run: Run) -> None:
    settings = {"bwrap": "/nowhere/bwrap"}
    provider = LocalProvider(attrs.evolve(context, settings=settings))
    run(provider.start())
    readiness = run(provider.probe())
    assert not readiness.ready and "install the package bubblewrap" in readiness.reason


def test_a_bubblewrap_that_cannot_isolate_is_no_provider(
    context: ProviderContext, run: Run
) -> None:
    folder = Path(tempfile.mkdtemp(dir="/var/tmp"))  # behind the walls, /tmp is another
    folder.chmod(0o755)
    fake = folder / "bwrap"
    fake.write_text(
        "#!/bin/sh\n[ $1 = --version ] && { echo bubblewrap 0.8.0; exit; }\n"
        "echo 'bwrap: No permissions to create new namespace' >&2; exit 1\n"
    )
    fake.chmod(0o755)
    provider = LocalProvider(attrs.evolve(context, settings={"bwrap": str(fake)}))
    run(provider.start())
    readiness = run(provider.probe())
    run(provider.stop())
    shutil.rmtree(folder)
    assert not readiness.ready and "No permissions to create new namespace" in readiness.reason


def test_settings_that_are_wrong(context: ProviderContext) -> None:
    for wrong in ({"disk": "tape"}, {"allow": "http://x/"}, {"first_id": "99"}):
        with pytest.raises(ConfigError):
            LocalProvider(attrs.evolve(context, settings=wrong))


def test_a_disk_in_memory_is_lost_with_the_daemon(context: ProviderContext, run: Run) -> None:
    context = attrs.evolve(context, settings={"disk": "memory"})
    provider = LocalProvider(context)
    run(provider.start())
    ref = run(provider.create(SandboxSpec(uuid.uuid4().hex, SMALL)))
    run(Box(provider, ref, "").sh("echo x >file"))
    run(provider.stop())
    again = LocalProvider(context)
    run(again.start())
    try:
        assert run(again.state(ref)) is State.GONE and run(again.sandboxes()) == []
        with pytest.raises(SandboxLost):
            run(again.read_file(ref, "file", 10))
    finally:
        run(again.stop())


def test_a_disk_that_is_a_folder_is_looked_after(context: ProviderContext, run: Run) -> None:
    provider = LocalProvider(attrs.evolve(context, settings={"disk": "folder"}))
    run(provider.start())
    try:
        assert "disk" not in provider.features.limited
        ref = run(provider.create(SandboxSpec(uuid.uuid4().hex, SMALL)))
        box = Box(provider, ref, "")
        script = "for n in 1 2 3; do head -c 30000000 /dev/zero >$n; done; sleep 1000"
        assert run(box.run(["/bin/sh", "-c", script])).exit.reason == "disk"
        run(provider.destroy(ref))
        assert list((context.folder / "boxes").iterdir()) == []
    finally:
        run(provider.stop())


def test_what_was_half_made_is_removed(context: ProviderContext, run: Run) -> None:
    (context.folder / "boxes" / ("a" * 32)).mkdir(parents=True)
    (context.folder / "boxes" / ("a" * 32) / "disk.img").write_bytes(b"x")
    provider = LocalProvider(context)
    run(provider.start())
    assert list((context.folder / "boxes").iterdir()) == []
    run(provider.stop())


def test_what_is_being_made_while_it_stops(context: ProviderContext, run: Run) -> None:
    async def stopped_meanwhile() -> list[Path]:
        provider = LocalProvider(context)
        await provider.start()
        host, _ = provider._ready()
        making = Deferred.fromCoroutine(provider.create(SandboxSpec(uuid.uuid4().hex, SMALL)))
        await provider.stop()
        ref = await making
        assert (context.folder / "boxes" / ref / "sandbox.json").exists()
        return [root for root in host.cgroups.roots.values() if root.exists()]

    assert run(stopped_meanwhile()) == []
