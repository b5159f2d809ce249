"""Whose sandbox lives how long: nobody's is taken away for another's, timeouts stay as chosen."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import Run
from tests.support.daemon import wait_until
from tests.support.doors import open_host
from tests.support.sandboxes import CONFLICT, Boxes

pytestmark = pytest.mark.attack(65)


@pytest.fixture(scope="module", params=["local", "docker"])
def boxes(
    request: pytest.FixtureRequest,
    run: Run,
    plain_git_environment: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Boxes]:
    few = {"WIT_SANDBOXES_MAX_PER_USER": "2"}
    with open_host(request.param, run, tmp_path_factory.mktemp("boxes-65"), few) as boxes:
        yield boxes


def lease(sandbox: dict[str, Any]) -> float:
    end, used = (datetime.fromisoformat(sandbox[key]) for key in ("expiresAt", "usedAt"))
    return (end - used).total_seconds()


def test_a_custom_timeout_is_kept_after_pause_resume_and_restart(boxes: Boxes) -> None:
    made = boxes.create(seconds=7777)
    assert (made["lifeSeconds"], lease(made)) == (7777, 7777)
    for restart in (False, True):
        status, paused = boxes.ask("POST", f"sandboxes/{made['id']}/pause", {})
        assert (status, paused["state"]) == (200, "paused")
        if restart:
            boxes.site.daemon.kill()
            boxes.site.daemon.start()
        status, resumed = boxes.ask("POST", f"sandboxes/{made['id']}/resume", {})
        assert (status, resumed["state"]) == (200, "running")
        assert (resumed["lifeSeconds"], lease(resumed)) == (7777, 7777)
    boxes.destroy(made["id"])


def test_nobodys_busy_one_makes_room_for_another(boxes: Boxes) -> None:
    busy = [boxes.create()["id"] for _ in range(2)]
    answers: list[Any] = []

    def wait_in(sandbox: str) -> None:
        command = {"argv": ["sh", "-c", "until [ -e go ]; do sleep 0.05; done; echo done"]}
        answers.append(boxes.ask("POST", f"sandboxes/{sandbox}/exec", command))

    threads = [threading.Thread(target=wait_in, args=(sandbox,)) for sandbox in busy]
    for thread in threads:
        thread.start()

    def running() -> bool:
        pages = [boxes.ask("GET", f"sandboxes/{sandbox}/commands")[1] for sandbox in busy]
        return all(any(one["state"] == "running" for one in page) for page in pages)

    wait_until(running, what="commands")
    status, answer = boxes.ask("POST", "repos/alice/boxed/sandboxes", {})
    assert status == CONFLICT and "2 is the limit" in str(answer)
    status, answer = boxes.ask("POST", f"sandboxes/{busy[0]}/pause", {})
    assert status == 412 and "something runs" in str(answer)
    for sandbox in busy:
        status, _ = boxes.ask("DELETE", f"sandboxes/{sandbox}", who="bob")
        assert status == 404
        boxes.sh(sandbox, "touch go")
    for thread in threads:
        thread.join(30)
    assert [(status, done["stdout"]) for status, done in answers] == [(200, "done\n")] * 2
    for sandbox in busy:
        boxes.destroy(sandbox)
