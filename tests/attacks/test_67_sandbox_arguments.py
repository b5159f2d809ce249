"""Arguments stay apart from one end to the other: no shell ever reads them."""

from __future__ import annotations

import json

import pytest

from tests.conftest import Run
from tests.sandboxes.local.fixtures import NewBox

pytestmark = pytest.mark.attack(67)

ODD = [
    "",
    " ",
    "; touch planted",
    "$(touch planted)",
    "`touch planted`",
    "&& touch planted",
    "| touch planted",
    "\n touch planted \n",
    "'; touch planted; '",
    '"; touch planted; "',
    "--",
    "-c",
    "--args 3",
    "--bind / /workspace",
    "\\",
    "*",
    "~",
    "${IFS}",
    "\x1b[31m",
    "ü\u202e",
]

PROGRAM = "import json, sys; print(json.dumps(sys.argv[1:]))"


def test_every_argument_arrives_as_it_was_sent(new_box: NewBox, run: Run) -> None:
    box = new_box()
    assert json.loads(run(box.run(["python3", "-c", PROGRAM, *ODD])).text) == ODD
    assert run(box.provider.list_files(box.ref, ".")) == []


@pytest.mark.parametrize("program", ODD[1:12])
def test_a_program_of_an_odd_name_is_only_a_missing_one(
    new_box: NewBox, run: Run, program: str
) -> None:
    box = new_box()
    assert run(box.run([program])).code in (2, 126, 127)
    assert run(box.provider.list_files(box.ref, ".")) == []


def test_variables_and_folders_are_no_options(new_box: NewBox, run: Run) -> None:
    box = new_box()
    ran = run(box.run(["printenv", "X"], env={"X": "--bind\n/\n/workspace; touch planted"}))
    assert ran.text == "--bind\n/\n/workspace; touch planted\n"
    assert run(box.run(["true"], cwd="--bind")).code != 0
    assert run(box.provider.list_files(box.ref, ".")) == []
