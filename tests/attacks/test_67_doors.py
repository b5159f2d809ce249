"""Words of a command stay words by REST and by SSH, on this machine and in a container."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.attacks.test_67_sandbox_arguments import ODD
from tests.support.doors import Inside, new_inside
from tests.support.sandboxes import Boxes

pytestmark = pytest.mark.attack(67)

PROGRAM = "import json, os, sys; print(json.dumps([sys.argv[1:], sorted(os.listdir('.'))]))"


@pytest.fixture(scope="module", params=["local", "docker"])
def inside(request: pytest.FixtureRequest, hosts: Callable[[str], Boxes]) -> Iterator[Inside]:
    with new_inside(hosts(request.param)) as inside:
        yield inside


@pytest.mark.parametrize("door", ["rest", "ssh"])
def test_every_argument_arrives_as_it_was_sent(inside: Inside, door: str) -> None:
    arguments, files = inside.report(door, PROGRAM, *ODD)
    assert arguments == ODD
    assert "planted" not in files


@pytest.mark.parametrize("door", ["rest", "ssh"])
def test_no_shell_reads_a_program_or_a_folder(inside: Inside, door: str) -> None:
    for odd in ODD[2:8]:
        inside.run(door, odd, "-c", "touch planted")
    body = {"argv": ["true"], "cwd": "/workspace; touch planted", "env": {"X": "$(touch planted)"}}
    inside.boxes.ask("POST", f"sandboxes/{inside.id}/exec", body)
    inside.put("$(touch planted)/`touch planted`", b"x")
    inside.download("; touch planted")
    _, files = inside.report(door, PROGRAM)
    assert "planted" not in files
