"""Attack 67: words of a command that a shell would take for something else."""

from __future__ import annotations

import pytest

from tests.attacks.crowd import Crowd
from tests.operations.world import OPEN

WORDS = (
    "a b", "$HOME", "$(id)", "`id`", "; id", "&& id", "| id", "> /workspace/made", "<x", "'", '"',
    "\\", "*", "~", "", "-n", "--", "#", "!", "\t", "\n", "\r\n", "{a,b}", "%s", "ü€😀", "\x1b[31m",
)  # fmt: skip


@pytest.mark.attack(67)
def test_words_reach_the_program_as_they_were_sent(crowd: Crowd) -> None:
    """By both ways in: the contract's {command, args}, and a list."""
    token, repo_id = crowd.sessions["alice"], crowd.world.repo_ids[OPEN]
    argv = ["printf", "%s\\0", *WORDS]
    expected = "".join(f"{word}\0" for word in WORDS)
    place = f"/api/sandbox/{repo_id}"
    asked = {"command": argv[0], "args": argv[1:]}
    done = crowd.ask("POST", f"{place}/exec", token, asked).json
    assert (done["stdout"], done["exitCode"], done["stderr"]) == (expected, 0, "")
    (sandbox,) = crowd.ask("GET", "/api/v1/sandboxes", token).json
    one = f"/api/v1/sandboxes/{sandbox['id']}"
    done = crowd.ask("POST", f"{one}/exec", token, {"argv": argv}).json
    assert (done["stdout"], done["code"], done["stderr"]) == (expected, 0, "")
    for line in ("id; id", "sh -c id", "printf x | cat", "$(id)"):
        done = crowd.ask("POST", f"{place}/exec", token, {"command": line}).json
        assert (done["exitCode"], done["stdout"]) == (127, ""), line
    names = [entry["name"] for entry in crowd.ask("GET", f"{one}/files/list", token).json]
    assert "made" not in names
    for wrong in ({"command": ["id"]}, {"command": "id", "args": "-u"}, {"command": "i\0d"}):
        assert crowd.ask("POST", f"{place}/exec", token, wrong).status == 400, wrong
    assert crowd.ask("DELETE", f"{place}/pool", token).json["removed"] == 1
