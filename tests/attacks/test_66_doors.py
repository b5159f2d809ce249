"""What a program prints to reach beyond its terminal, when the terminal is one of SSH's."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.attacks.test_66_clipboards import ATTACKS
from tests.support.doors import SECONDS, Inside, new_inside
from tests.support.sandboxes import Boxes

pytestmark = pytest.mark.attack(66)


@pytest.fixture(scope="module", params=["local", "docker"])
def inside(request: pytest.FixtureRequest, hosts: Callable[[str], Boxes]) -> Iterator[Inside]:
    with new_inside(hosts(request.param)) as inside:
        yield inside


def test_no_clipboard_is_written_over_ssh(inside: Inside) -> None:
    script = "".join(
        f"printf '{attack}'; echo after-{number};" for number, attack in enumerate(ATTACKS)
    )
    inside.put("attack.sh", script.encode())
    done = subprocess.run(
        [*inside.ssh("-tt"), "sh attack.sh"],
        stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS,
    )  # fmt: skip
    for number in range(len(ATTACKS)):
        assert f"after-{number}".encode() in done.stdout
    for forbidden in (b"\x1b]52", b"\x1b]1337", b"\xc2\x9d", b"\x1b]0\x0052", b"c3RvbGVu"):
        assert forbidden not in done.stdout


def test_names_and_words_bring_nothing_into_the_log(inside: Inside) -> None:
    """Not arguments, variables, paths or what was printed."""
    canary = "canary-\x1b]0;owned\x07-\x1b[31m"
    inside.exec("printf", "%s", canary, env={"CANARY": canary}, cwd="/workspace")
    inside.run("ssh", "printf", "%s", canary)
    inside.put(canary, canary.encode())
    inside.read(canary + "/none")
    status, answer = inside.boxes.ask(
        "POST", f"sandboxes/{inside.id}/exec", {"argv": ["true"], "cwd": f"/none/{canary}"}
    )
    assert status >= 400 or answer["code"] != 0
    assert "\x1b" not in str(answer.get("message", ""))
    log = inside.boxes.site.daemon.log()
    assert "\x1b" not in log and "\x07" not in log and "owned" not in log
