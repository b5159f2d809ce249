"""Chains, ranges and counts of commits, as the real git says."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.git.reading import Parts, commit, git, imported, parts
from wit.errors import TimedOut, Unavailable
from wit.git import history
from wit.git.repository import BareRepository
from wit.runtime import Runtime


@pytest.fixture
def engine(runtime: Runtime, run: Any) -> Iterator[Parts]:
    with parts(runtime, run) as made:
        yield made


@pytest.fixture
def repo(tmp_path: Path) -> BareRepository:
    """60 commits with merges."""
    chance = random.Random(5)
    stream = commit("main", "0", {"a": "0"}, mark=1)
    for number in range(2, 61):
        first = number - 1 if chance.random() < 0.8 else chance.randrange(1, number)
        others = {chance.randrange(1, number)} - {first} if chance.random() < 0.3 else set()
        parents = tuple(f":{mark}" for mark in (first, *others))
        at = 1_600_000_000 + 60 * number
        stream += commit(
            "main", f"{number}", {"a": f"{number}"}, parents=parents, at=at, mark=number
        )
    return imported(tmp_path / "r.git", stream)


@pytest.mark.parametrize("with_graph", [False, True])
def test_as_git_says(engine: Parts, run: Any, repo: BareRepository, with_graph: bool) -> None:
    if with_graph:
        git(repo.path, "commit-graph", "write", "--reachable", "--changed-paths")
    main, middle = git(repo.path, "rev-parse", "main", "main~5").split()
    chain = git(repo.path, "rev-list", "--first-parent", "main").split()
    assert run(engine.history.first_parents(repo, main, 7, None)) == chain[:7]
    assert run(engine.history.first_parents(repo, main, 100, None)) == chain
    assert run(engine.history.count_first_parents(repo, main, None)) == len(chain)
    everything = git(repo.path, "rev-list", "main").split()
    assert run(engine.history.between(repo, None, main, 500, None)) == everything
    assert run(engine.history.count_between(repo, None, main, None)) == len(everything)
    newer = git(repo.path, "rev-list", "main", f"^{middle}").split()
    assert run(engine.history.between(repo, middle, main, 3, None)) == newer[:3]
    assert run(engine.history.count_between(repo, middle, main, None)) == len(newer)
    assert run(engine.history.between(repo, main, middle, 3, None)) == []
    since = 1_600_000_000 + 60 * 50
    expected = git(repo.path, "rev-list", "--count", f"--since={since}", "main")
    assert run(engine.history.count_newer(repo, main, since)) == int(expected)


def test_counts_are_remembered(
    engine: Parts, run: Any, repo: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    main, middle = git(repo.path, "rev-parse", "main", "main~5").split()
    counted = run(engine.history.count_first_parents(repo, main, None))
    Path(repo.path, "HEAD").unlink()  # no git will answer any more
    assert run(engine.history.count_first_parents(repo, main, None)) == counted
    with pytest.raises(Unavailable):
        run(engine.history.count_first_parents(repo, middle, None))
    monkeypatch.setattr(history, "WALK_SECONDS", 0.0)
    with pytest.raises(TimedOut):
        run(engine.history.count_between(repo, None, main, None))
