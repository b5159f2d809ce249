"""Diffs as text: applied by git, they make the next tree of the one before."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git.reading import Parts, commit, git, imported, parts
from wit.errors import Unavailable
from wit.git import diff_text
from wit.git.repository import BareRepository
from wit.runtime import Runtime

TRICKS = "diff --git a/x b/x\nindex 1234567..89abcde 100644\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n"


@pytest.fixture
def engine(runtime: Runtime, run: Any) -> Iterator[Parts]:
    with parts(runtime, run) as made:
        yield made


def text(engine: Parts, run: Any, repo: BareRepository, old: str | None, new: str) -> str:
    oids = [None if name is None else git(repo.path, "rev-parse", name) for name in (old, new)]
    made: str = run(engine.diffs.text(repo, oids[0], str(oids[1]), None))
    return made


def test_the_form(engine: Parts, run: Any, tmp_path: Path) -> None:
    stream = commit("main", "one", {"a": "1\n2\n3\n4\n5\n6\n7\n8\n9\n", "old": "x\n"})
    changed = "1\n2\n3\n4\nfive\n6\n7\n8\n9\n"
    stream += commit("main", "two", {"a": changed, "old": None, "dir/new": "no end"})
    repo = imported(tmp_path / "r.git", stream)
    assert text(engine, run, repo, "main~1", "main") == (
        "diff --wit a/a b/a\n--- a/a\n+++ b/a\n@@ -2,7 +2,7 @@\n"
        " 2\n 3\n 4\n-5\n+five\n 6\n 7\n 8\n"
        "diff --wit a/dir/new b/dir/new\nnew file mode 100644\n--- /dev/null\n+++ b/dir/new\n"
        "@@ -0,0 +1 @@\n+no end\n\\ No newline at end of file\n"
        "diff --wit a/old b/old\ndeleted file mode 100644\n--- a/old\n+++ /dev/null\n"
        "@@ -1 +0,0 @@\n-x"
    )
    first = text(engine, run, repo, None, "main~1")
    assert first.count("new file mode 100644") == 2 and "+9\n" in first
    assert text(engine, run, repo, "main", "main") == ""


def test_special_entries(engine: Parts, run: Any, tmp_path: Path) -> None:
    stream = commit("main", "one", {"f": "1\n", "bin": "a\0b", "120000 l": "f"})
    stream += commit(
        "main",
        "two",
        {"100755 f": "1\n", "bin": "a\0c", "120000 l": "g", "160000 s": "5" * 40, "ü": "ö\udcff\n"},
    )
    repo = imported(tmp_path / "r.git", stream)
    made = text(engine, run, repo, "main~1", "main")
    assert "diff --wit a/f b/f\nold mode 100644\nnew mode 100755\n" in made
    assert "diff --wit a/bin b/bin\nBinary files a/bin and b/bin differ\n" in made
    assert "new file mode 160000\n" in made and f"+Subproject commit {'5' * 40}" in made
    assert "-f\n\\ No newline at end of file\n+g" in made
    assert "diff --wit a/ü b/ü" in made and "+ö\ufffd" in made


@pytest.mark.attack(3)
def test_content_and_names_that_look_like_headers(engine: Parts, run: Any, tmp_path: Path) -> None:
    stream = commit("main", "one", {"--output=x": TRICKS, "index 12..34": "a\n"})
    stream += commit("main", "two", {"--output=x": TRICKS + TRICKS, "index 12..34": TRICKS})
    repo = imported(tmp_path / "r.git", stream)
    made = text(engine, run, repo, "main~1", "main")
    assert made.count("diff --wit ") == 2
    assert [line for line in made.splitlines() if line.startswith("diff")] == [
        "diff --wit a/--output=x b/--output=x",
        "diff --wit a/index 12..34 b/index 12..34",
    ]
    assert made.count("+index 1234567..89abcde 100644") == 2
    assert not Path("x").exists()


def test_settings_of_the_repository_change_nothing(engine: Parts, run: Any, tmp_path: Path) -> None:
    stream = commit("main", "one", {"a": "1\n", ".gitattributes": "* diff=evil textconv=evil\n"})
    stream += commit("main", "two", {"a": "2\n"})
    repo = imported(tmp_path / "r.git", stream)
    before = text(engine, run, repo, "main~1", "main")
    marker = tmp_path / "pwned"
    for key, value in {
        "diff.noprefix": "true",
        "diff.mnemonicPrefix": "true",
        "diff.external": f"touch {marker}",
        "diff.evil.command": f"touch {marker}",
        "diff.evil.textconv": f"touch {marker}",
    }.items():
        git(repo.path, "config", key, value)
    assert text(engine, run, repo, "main~1", "main") == before
    assert not marker.exists()


@pytest.mark.parametrize("seed", range(5))
def test_git_can_apply_it(engine: Parts, run: Any, tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    lines = [f"line {number}\n" for number in range(200)]
    files: dict[str, str | None] = {f"d{n % 3}/f{n}": "".join(lines) for n in range(6)}
    stream = commit("main", "one", files)
    for name in list(files):
        changed = [line for line in lines if chance.random() > 0.1]
        for _ in range(10):
            changed.insert(chance.randrange(len(changed)), f"{chance.random()}\n")
        files[name] = chance.choice(["".join(changed), "".join(changed).rstrip("\n"), None, ""])
    files["100755 new"] = "#!/bin/sh\n"
    stream += commit("main", "two", files)
    repo = imported(tmp_path / "r.git", stream)
    made = text(engine, run, repo, "main~1", "main")
    patch = re.sub("(?m)^diff --wit ", "diff --git ", made) + "\n"
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", repo.path, str(work))
    git(work, "checkout", "-q", "main~1")
    git(work, "apply", "--index", stdin=patch)
    assert git(work, "write-tree") == git(repo.path, "rev-parse", "main^{tree}")


def test_limits(engine: Parts, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = "".join(f"{number}\n" for number in range(100_000))
    repo = imported(tmp_path / "r.git", commit("main", "one", {"a": numbers, "b": "x"}))
    whole = text(engine, run, repo, None, "main")
    monkeypatch.setattr(diff_text, "MAX_DIFF", 10_000)
    *lines, last = text(engine, run, repo, None, "main").split("\n")
    assert last == diff_text.CUT
    assert whole.startswith("\n".join(lines)) and len("\n".join(lines)) < 10_000
    monkeypatch.setattr(diff_text, "DIFF_SECONDS", 0.0)
    assert text(engine, run, repo, None, "main") == diff_text.LATE


def test_a_commit_whose_parts_are_missing(engine: Parts, run: Any, tmp_path: Path) -> None:
    repo = imported(tmp_path / "r.git", commit("main", "one", {"a": "1"}))
    with pytest.raises(Unavailable):
        run(engine.diffs.text(repo, None, "1" * 40, None))
