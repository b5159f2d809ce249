"""A daemon that dies: what lives is found again, what is gone is said, nothing is left over."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Run
from tests.support.daemon import wait_until
from tests.support.sandboxes import CONFLICT, REPO, Boxes, open_boxes

pytestmark = pytest.mark.attack(64)


@pytest.fixture(scope="module")
def boxes(
    run: Run, plain_git_environment: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Boxes]:
    with open_boxes(run, tmp_path_factory.mktemp("boxes-64")) as boxes:
        yield boxes


def processes_with(word: str) -> list[str]:
    """Command lines on this machine that have ``word`` in them."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if word in line:
            found.append(line)
    return found


def test_killed_in_the_middle_of_a_command(boxes: Boxes) -> None:
    sandbox = boxes.create()["id"]
    boxes.sh(sandbox, "echo hours of work > kept; git add kept; git commit -qm kept")
    command = {"argv": ["sh", "-c", "sleep 98764 & echo started; touch /workspace/on; wait"]}
    answers: list[object] = []

    def run_it() -> None:
        try:
            answers.append(boxes.ask("POST", f"sandboxes/{sandbox}/exec", command))
        except OSError as error:
            answers.append(error)

    thread = threading.Thread(target=run_it)
    thread.start()
    wait_until(lambda: processes_with("sleep 98764"), what="the command")
    boxes.site.daemon.kill()
    thread.join(30)
    wait_until(lambda: not processes_with("sleep 98764"), what="its end")
    boxes.site.daemon.start()
    found = boxes.get(sandbox)
    assert (found["state"], found["reason"]) == ("running", None)
    assert boxes.sh(sandbox, "cat kept; git log --format=%s -1") == "hours of work\nkept\n"
    _, commands = boxes.ask("GET", f"sandboxes/{sandbox}/commands")
    (lost,) = [one for one in commands if one["argv"] == command["argv"]]
    assert (lost["state"], lost["reason"]) == ("lost", "lost")
    status, same = boxes.ask("PUT", f"repos/{REPO}/sandboxes/current")
    assert (status, same["id"]) == (200, sandbox)
    # Without any network, the work gets out by the sandbox's own token.
    boxes.sh(sandbox, "git push -q origin HEAD:refs/heads/saved")
    boxes.destroy(sandbox)


def test_lost_is_said_and_a_fresh_one_is_asked_for(boxes: Boxes) -> None:
    sandbox = boxes.create()["id"]
    boxes.sh(sandbox, "echo gone > file")
    boxes.site.daemon.kill()
    for path in (boxes.site.daemon.data_dir / "sandboxes").rglob(f"*{sandbox}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    boxes.site.daemon.start()
    wait_until(lambda: boxes.get(sandbox)["state"] == "lost", what="being lost")
    assert "no longer has it" in boxes.get(sandbox)["reason"]
    for ask in (
        ("POST", f"sandboxes/{sandbox}/exec", {"argv": ["true"]}),
        ("GET", f"sandboxes/{sandbox}/usage", None),
    ):
        status, answer = boxes.ask(*ask)
        assert status == CONFLICT and "lost with its files" in str(answer)
    status, answer = boxes.ask("PUT", f"repos/{REPO}/sandboxes/current")
    assert status == CONFLICT and "was lost with its files" in str(answer)
    assert boxes.all() == []
    fresh = boxes.create()["id"]
    assert boxes.ask("PUT", f"repos/{REPO}/sandboxes/current")[1]["id"] == fresh
    boxes.destroy(fresh)


def test_killed_while_making_and_destroying_leaves_nothing(boxes: Boxes) -> None:
    folder = boxes.site.daemon.data_dir / "sandboxes" / "local"

    def quietly(work, *arguments) -> None:  # type: ignore[no-untyped-def]
        try:
            work(*arguments)
        except (OSError, AssertionError, ValueError):
            pass

    for pause in (0.0, 0.03, 0.1):
        thread = threading.Thread(target=quietly, args=(boxes.create,))
        thread.start()
        threading.Event().wait(pause)  # where it is cut off does not matter, only that it varies
        boxes.site.daemon.kill()
        thread.join(30)
        boxes.site.daemon.start()
        wait_until(
            lambda: all(one["state"] == "running" for one in boxes.all()), what="an end of making"
        )
        for one in boxes.all():
            thread = threading.Thread(target=quietly, args=(boxes.destroy, one["id"]))
            thread.start()
            threading.Event().wait(pause)
            boxes.site.daemon.kill()
            thread.join(30)
            boxes.site.daemon.start()
            quietly(boxes.destroy, one["id"])
    assert boxes.all() == []
    everything = boxes.ask("GET", "sandboxes?activeOnly=false&limit=100")[1]
    wait_until(
        lambda: not [
            path
            for one in everything
            for path in folder.rglob(f"*{one['id']}*")
        ],
        what="an empty folder",
    )  # fmt: skip
