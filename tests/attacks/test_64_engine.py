"""A container that somebody removed behind the daemon's back: that it is lost is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sandboxes.docker.plug import engine_of
from tests.support.daemon import wait_until
from tests.support.sandboxes import CONFLICT, REPO, Boxes

pytestmark = pytest.mark.attack(64)


@pytest.mark.parametrize("restarted", [False, True], ids=["at work", "restarted"])
def test_never_silently_a_fresh_one(hosts: Callable[[str], Boxes], restarted: bool) -> None:
    boxes = hosts("docker")
    sandbox = boxes.create()["id"]
    boxes.sh(sandbox, "echo gone > file")
    engine = engine_of("docker")
    (name,) = [name for name in engine.names("containers") if sandbox in name]
    if restarted:
        boxes.site.daemon.kill()
    assert engine.ask("DELETE", f"/containers/{name}?force=1&v=1")[0] == 204
    if restarted:
        boxes.site.daemon.start()
    else:
        command = {"argv": ["cat", "/workspace/file"]}
        assert boxes.ask("POST", f"sandboxes/{sandbox}/exec", command)[0] >= 400
    wait_until(lambda: boxes.get(sandbox)["state"] == "lost", what="being lost")
    status, answer = boxes.ask("PUT", f"repos/{REPO}/sandboxes/current")
    assert status == CONFLICT and "was lost with its files" in str(answer)
    assert sandbox not in [one["id"] for one in boxes.all()]
    wait_until(lambda: name not in engine.names("volumes"), what="the end of its volume")
