"""The provider before a real Docker engine: what the contract suite, which knows no engine, cannot see."""

from __future__ import annotations

import time
import uuid
from pathlib import Path

import pytest
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred

from tests.sandboxes.docker.plug import opened
from tests.sandboxes.support import Box, chunks, finish, make_tar, read_all, read_until
from tests.support.daemon import wait_until
from tests.support.engine import RealEngine
from wit.errors import Conflict, Invalid, NotFound, Unavailable
from wit.runtime import Runtime
from wit.sandboxes.docker.provider import DockerProvider
from wit.sandboxes.provider import (
    Command,
    Exit,
    Found,
    Limits,
    Network,
    SandboxLost,
    SandboxSpec,
    State,
    TerminalSize,
)

MIB = 1024 * 1024


def new_spec(**values) -> SandboxSpec:
    return SandboxSpec(id=uuid.uuid4().hex, **values)


def new_box(docker: DockerProvider, run, **values) -> Box:
    return Box(docker, run(docker.create(new_spec(**values))), "")


# whether it can work


def test_ready(docker: DockerProvider, run) -> None:
    readiness = run(docker.probe())
    assert readiness.ready and readiness.reason == ""
    assert readiness.detail["api"] == "1.41"
    assert docker.features.networks == {Network.NONE}
    with pytest.raises(Invalid, match="full"):
        run(docker.create(new_spec(network=Network.FULL)))


def test_no_engine(run, tmp_path: Path) -> None:
    engine = RealEngine("docker", tmp_path)
    with opened(engine, Runtime(reactor), tmp_path, run) as provider:
        readiness = run(provider.probe())
        assert not readiness.ready and "cannot be reached" in readiness.reason
        with pytest.raises(Unavailable):
            run(provider.create(new_spec()))
        with pytest.raises(Unavailable):
            run(provider.execute("wit-sandbox-x", Command(["true"])))


def test_an_image_that_is_missing(engine: RealEngine, docker: DockerProvider, run) -> None:
    with pytest.raises(Unavailable, match="docker pull nowhere/nothing:1"):
        run(docker.create(new_spec(image="nowhere/nothing:1")))
    settings = {"image": "wit-sandbox:latest"}
    with opened(engine, Runtime(reactor), Path(), run, settings=settings) as provider:
        assert "docker build -t wit-sandbox" in run(provider.probe()).reason


def test_an_image_that_cannot_be_fetched(engine: RealEngine, run) -> None:
    settings = {"pull": "missing"}
    with opened(engine, Runtime(reactor), Path(), run, settings=settings) as provider:
        with pytest.raises(Unavailable, match="cannot fetch 127"):
            run(provider.create(new_spec(image="127.0.0.1:1/nothing:1")))
        assert run(provider.sandboxes()) == []


def test_runtimes_and_networks_that_are_not_there(engine: RealEngine, run) -> None:
    settings = {"runtime": "nothing", "network": "nothing"}
    with opened(engine, Runtime(reactor), Path(), run, settings=settings) as provider:
        readiness = run(provider.probe())
        assert readiness.reason == "the container engine has no runtime nothing"
        assert "no network nothing" in readiness.detail["network"]
        assert provider.features.networks == {Network.NONE}


# what a sandbox is


def test_no_rights(inside: Box, run) -> None:
    status = run(inside.sh("grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid)' /proc/self/status"))
    found = dict(line.split(":", 1) for line in status.splitlines())
    assert {value.strip() for name, value in found.items() if name.startswith("Cap")} == {"0" * 16}
    assert found["NoNewPrivs"].strip() == "1" and found["Seccomp"].strip() == "2"
    assert set(found["Uid"].split()) == {"1000"}
    assert run(inside.sh("touch /etc/x /usr/x /x 2>/dev/null || echo no")) == "no\n"


def test_what_commands_cannot_end(inside: Box, run) -> None:
    """The process that keeps the container up is somebody else's."""
    run(inside.run(["/bin/sh", "-c", "kill -9 1; kill -9 -1"]))
    assert run(inside.sh("echo works")) == "works\n"


def test_secrets_are_neither_in_command_lines_nor_in_events(
    engine: RealEngine, docker: DockerProvider, run
) -> None:
    box = new_box(docker, run, env={"OF_SANDBOX": "canary-one"})
    execution = run(
        docker.execute(
            box.ref,
            Command(["/bin/sh", "-c", "echo $OF_COMMAND; cat"], env={"OF_COMMAND": "canary-two"}),
        )
    )
    assert b"canary-two" in run(read_until(execution, b"\n"))
    assert b"canary" not in b"".join(map(_content, Path("/proc").glob("[0-9]*/cmdline")))
    run(execution.close())
    run(docker.destroy(box.ref))
    events = engine.ask("GET", f"/events?since=0&until={int(time.time()) + 1}")[1]
    assert box.ref.encode() in events and b"canary" not in events


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_too_much_memory_is_said(docker: DockerProvider, run) -> None:
    box = new_box(docker, run, limits=Limits(memory_bytes=64 * MIB))
    assert run(box.run(["tail", "/dev/zero"])).exit == Exit(137, "KILL", "memory")
    assert run(docker.usage(box.ref)).out_of_memory >= 1
    # An end by a signal of its own is not taken for one
    assert run(box.run(["/bin/sh", "-c", "kill -9 $$"])).exit == Exit(137, "KILL")
    run(docker.destroy(box.ref))


def test_what_is_left_in_the_background_is_ended(docker: DockerProvider, run) -> None:
    box = new_box(docker, run)
    script = "setsid sleep 1000 >/dev/null 2>&1 & sleep 1000 >/dev/null 2>&1 & echo started"
    assert run(box.sh(script)) == "started\n"
    assert run(box.sh("grep -l '[s]leep.1000' /proc/[0-9]*/cmdline || echo none")) == "none\n"
    run(docker.destroy(box.ref))


def test_ending_one_command_leaves_the_others(docker: DockerProvider, run) -> None:
    async def end_one() -> None:
        one = await box.start("cat")
        other = await box.start("cat")
        await one.close()
        await other.write(b"here\n")
        assert b"here" in await read_until(other, b"\n")
        await other.end_input()
        assert (await finish(other)).exit == Exit(0)

    box = new_box(docker, run)
    run(end_one())
    run(docker.destroy(box.ref))


def test_output_that_nobody_takes_does_not_hold_up_others(docker: DockerProvider, run) -> None:
    """Docker tells of the end of commands in their order, and waits for each one's output."""

    async def look() -> None:
        ended = await box.start("/bin/sh", "-c", "head -c 700000 /dev/zero; exit 3")
        assert (await ended.wait()) == Exit(3)
        assert (await box.run(["true"])).exit == Exit(0)
        total = 0
        while output := await ended.read():
            total += len(output.data)
        assert total == 700_000
        await ended.close()

    box = new_box(docker, run)
    run(look())
    run(docker.destroy(box.ref))


def test_control_p_is_no_detach_key(inside: Box, run) -> None:
    async def press() -> None:
        execution = await inside.start(
            "/bin/sh", "-c", "stty raw -echo; echo ready; head -c 3 | od -An -c", terminal=SIZE
        )
        await read_until(execution, b"ready")
        await execution.write(b"\x10\x11x")
        assert b"020 021   x" in (await finish(execution)).stdout

    run(press())


SIZE = TerminalSize(80, 24)


def test_a_folder_that_is_not_there(inside: Box, run) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        run(inside.run(["true"], cwd="nowhere"))


def test_a_paused_one_says_so(docker: DockerProvider, run) -> None:
    box = new_box(docker, run)
    run(docker.pause(box.ref))
    with pytest.raises(Conflict, match="paused"):
        run(box.run(["true"]))
    assert run(docker.usage(box.ref)).disk_bytes is None
    run(docker.pause(box.ref))
    run(docker.destroy(box.ref))


def test_busybox_is_enough(docker: DockerProvider, run) -> None:
    box = new_box(docker, run, image="wit-busybox:test")
    run(docker.write_file(box.ref, "a/b", b"content", 0o600))
    assert run(docker.read_file(box.ref, "a/b", 100)) == b"content"
    run(box.sh("ln -s b a/link; mkdir 'a/c\n'"))
    entries = run(docker.list_files(box.ref, "a"))
    assert [(entry.name, entry.kind, entry.target) for entry in entries] == [
        ("b", "file", None),
        ("c\n", "directory", None),
        ("link", "symlink", "b"),
    ]
    run(docker.upload(box.ref, "up", chunks(make_tar(("x/y", b"z")))))
    assert b"z" in run(_downloaded(docker, box.ref, "up"))
    run(docker.remove_file(box.ref, "a"))
    execution = run(box.start("/bin/sh", "-c", "sleep 1000 & echo ready; wait"))
    run(read_until(execution, b"ready"))
    run(execution.close())
    assert run(box.sh("ps | grep -c 'sleep 100[0]' || true")) == "0\n"
    run(docker.destroy(box.ref))


async def _downloaded(docker: DockerProvider, ref: str, path: str) -> bytes:
    return await read_all(await docker.download(ref, path))


# what is left of it


def test_a_failure_leaves_nothing(engine: RealEngine, docker: DockerProvider, run) -> None:
    spec = new_spec(limits=Limits(memory_bytes=1024))
    with pytest.raises(Unavailable, match="memory"):
        run(docker.create(spec))
    assert not [name for what in LEFT for name in engine.names(what) if spec.id in name]


LEFT = ("containers", "volumes")


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2])
def test_a_cancelled_creation_leaves_nothing(
    engine: RealEngine, docker: DockerProvider, run, runtime: Runtime, seconds: float
) -> None:
    spec = new_spec()

    async def cancel() -> None:
        making = Deferred.fromCoroutine(docker.create(spec))
        await runtime.sleep(seconds)
        making.cancel()
        try:
            await making
        except CancelledError:
            return
        await docker.destroy(f"wit-sandbox-{spec.id}")

    run(cancel())
    run(docker.settled())
    assert not [name for what in LEFT for name in engine.names(what) if spec.id in name]


def test_a_volume_alone_is_found_as_gone(engine: RealEngine, docker: DockerProvider, run) -> None:
    box = new_box(docker, run)
    engine.ask("DELETE", f"/containers/{box.ref}?force=1")
    found = [one for one in run(docker.sandboxes()) if one.ref == box.ref]
    assert found == [Found(box.ref.rpartition("-")[2], box.ref, State.GONE)]
    with pytest.raises(SandboxLost):
        run(box.run(["true"]))
    run(docker.destroy(box.ref))
    assert box.ref not in engine.names("volumes")


def test_a_container_that_never_began_is_gone(
    engine: RealEngine, docker: DockerProvider, run
) -> None:
    box = new_box(docker, run)
    labels = engine.ask("GET", f"/containers/{box.ref}/json")[1]["Config"]["Labels"]
    engine.ask("DELETE", f"/containers/{box.ref}?force=1")
    body = {"Image": "wit-sandbox:test", "Entrypoint": ["true"], "Labels": labels}
    assert engine.ask("POST", f"/containers/create?name={box.ref}", body)[0] == 201
    assert run(docker.state(box.ref)) is State.GONE
    with pytest.raises(SandboxLost):
        run(box.run(["true"]))
    run(docker.destroy(box.ref))


def test_sandboxes_of_another_installation(engine: RealEngine, docker: DockerProvider, run) -> None:
    box = new_box(docker, run)
    with opened(engine, Runtime(reactor), Path(), run) as other:
        assert run(other.sandboxes()) == []
    run(docker.destroy(box.ref))


def test_a_stopped_one_is_started_again_with_its_files(
    engine: RealEngine, docker: DockerProvider, run
) -> None:
    box = new_box(docker, run)
    run(box.sh("echo kept >file"))
    execution = run(box.start("sleep", "1000"))
    engine.ask("POST", f"/containers/{box.ref}/stop?t=0")
    assert run(execution.wait()).reason == "lost"
    run(execution.close())
    assert run(docker.state(box.ref)) is State.PAUSED
    assert run(box.sh("cat file")) == "kept\n"
    assert run(docker.state(box.ref)) is State.RUNNING
    run(docker.destroy(box.ref))


def test_a_stopped_one_without_its_volume_is_lost(
    engine: RealEngine, docker: DockerProvider, run
) -> None:
    """Docker would silently make an empty one."""
    box = new_box(docker, run)
    engine.ask("POST", f"/containers/{box.ref}/stop?t=0")
    source = engine.ask("GET", f"/volumes/{box.ref}")[1]["Mountpoint"]
    engine.ask("DELETE", f"/containers/{box.ref}?force=1")
    engine.ask("DELETE", f"/volumes/{box.ref}?force=1")
    assert not Path(source).exists()
    body = {
        "Image": "wit-sandbox:test",
        "Entrypoint": ["true"],
        "Labels": {"dev.wit.sandbox": box.ref.rpartition("-")[2], "dev.wit.workspace": "volume"},
        "HostConfig": {
            "NetworkMode": "none",
            "Mounts": [{"Type": "volume", "Source": box.ref, "Target": "/workspace"}],
        },
    }
    engine.ask("POST", f"/containers/create?name={box.ref}", body)
    engine.ask("POST", f"/containers/{box.ref}/start")
    wait_until(lambda: run(docker.state(box.ref)) is not State.RUNNING)
    with pytest.raises(SandboxLost, match="files"):
        run(box.run(["true"]))
    with pytest.raises(SandboxLost):
        run(docker.resume(box.ref))
    run(docker.destroy(box.ref))


def test_a_workspace_in_memory(engine: RealEngine, run) -> None:
    settings = {"workspace": "memory"}
    with opened(engine, Runtime(reactor), Path(), run, settings=settings) as provider:
        assert "disk" in provider.features.limited
        box = new_box(provider, run, limits=Limits(disk_bytes=16 * MIB))
        ran = run(box.run(["/bin/sh", "-c", "head -c 20000000 /dev/zero >file"]))
        assert ran.code != 0 and b"No space" in ran.stderr
        usage = run(provider.usage(box.ref))
        assert usage.disk_limit == 16 * MIB and usage.disk_bytes == 16 * MIB
        engine.ask("POST", f"/containers/{box.ref}/stop?t=0")
        assert run(provider.state(box.ref)) is State.GONE
        with pytest.raises(SandboxLost, match="files went with it"):
            run(box.run(["true"]))
        run(provider.destroy(box.ref))
