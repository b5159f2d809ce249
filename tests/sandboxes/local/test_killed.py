"""A daemon that is killed: nothing of its sandboxes runs on, and their files are found again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
from twisted.internet import reactor

from tests.conftest import Run
from tests.sandboxes.support import Box
from tests.support.daemon import wait_until
from wit.runtime import Runtime
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.provider import Found, ProviderContext, State

ID = "0123456789abcdef" * 2

DAEMON = f"""
import sys
from pathlib import Path
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from tests.sandboxes.support import Box, HOLD, read_until
from wit.runtime import Runtime
from wit.sandboxes.local.provider import LocalProvider
from wit.sandboxes.provider import ProviderContext, SandboxSpec

async def main():
    provider = LocalProvider(ProviderContext(Runtime(reactor), Path(sys.argv[1]), "killed"))
    await provider.start()
    box = Box(provider, await provider.create(SandboxSpec({ID!r}, env={{"KEPT": "too"}})), "")
    await box.sh("echo kept >file")
    await read_until(await box.start("/bin/sh", "-c", HOLD, "lock"), b"held")
    await box.start("setsid", "--fork", "sleep", "999.5")
    print("ready", flush=True)

reactor.callWhenRunning(lambda: Deferred.fromCoroutine(main()).addErrback(lambda f: f.printTraceback()))
reactor.run()
"""


def below(pid: int) -> list[psutil.Process]:
    return psutil.Process(pid).children(recursive=True)


def test_kill_9(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "sandboxes"
    daemon = subprocess.Popen(
        [sys.executable, "-c", DAEMON, str(folder)], stdout=subprocess.PIPE, cwd=os.getcwd()
    )
    assert daemon.stdout is not None
    assert daemon.stdout.readline() == b"ready\n"
    left = below(daemon.pid)
    assert len(left) > 3
    daemon.send_signal(signal.SIGKILL)
    daemon.wait()
    daemon.stdout.close()
    wait_until(lambda: not [one for one in left if one.is_running()], what="the end of all it ran")

    again = LocalProvider(ProviderContext(Runtime(reactor), folder, "killed"))
    run(again.start())
    try:
        assert run(again.sandboxes()) == [Found(ID, ID, State.RUNNING)]
        box = Box(again, ID, "")
        assert run(box.sh("cat file; echo $KEPT")) == "kept\ntoo\n"
        assert run(box.free("lock"))
        run(again.destroy(ID))
        assert list((folder / "boxes").iterdir()) == []
    finally:
        run(again.stop())
