"""The last commit of each entry is the one that ``git log -1 -- <entry>`` names."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.git.conftest import Children
from tests.git.reading import Parts, commit, git, imported, parts
from wit.git import last_commits
from wit.git.command import Git
from wit.git.last_commit_walk import Walk
from wit.git.last_commits import Folder, LastCommits
from wit.git.process import spawn as real_spawn
from wit.git.repository import BareRepository
from wit.runtime import Runtime


@pytest.fixture
def engine(runtime: Runtime, run: Any) -> Iterator[Parts]:
    with parts(runtime, run) as made:
        yield made


def folder(repo: BareRepository, rev: str, path: str) -> Folder:
    tree = f"{rev}:{path}"
    listed = git(repo.path, "ls-tree", "-z", "--name-only", tree)
    names = listed.encode("utf-8", "surrogateescape").split(b"\0")[:-1]
    commit = git(repo.path, "rev-parse", f"{rev}^{{commit}}")
    return Folder(repo, commit, path.encode("utf-8", "surrogateescape"), names)


def expected(repo: BareRepository, rev: str, path: str, names: Sequence[bytes]) -> dict[bytes, str]:
    prefix = f"{path}/" if path else ""
    return {
        name: git(
            repo.path, "--literal-pathspecs", "log", "-1", "--format=%H", rev, "--",
            prefix + name.decode("utf-8", "surrogateescape"),
        )
        for name in names
    }  # fmt: skip


def check(engine: Parts, run: Any, repo: BareRepository, rev: str, path: str) -> LastCommits:
    asked = folder(repo, rev, path)
    found: LastCommits = run(engine.last_commits.of(asked, None))
    assert found.complete
    assert found.commits == expected(repo, rev, path, list(asked.names))
    return found


def random_history(chance: random.Random, commits: int, clock: str) -> str:
    """Commits with merges, reverts, and files that come back; all on main."""
    contents: dict[int, dict[str, str]] = {}
    stream = ""
    for number in range(1, commits + 1):
        first = (
            number - 1
            if chance.random() < 0.6
            else chance.randrange(max(1, number - 8), number + 1)
        )
        first = min(first, number - 1)
        parents = [first] if first >= 1 else []
        if parents and chance.random() < 0.35:
            other = chance.randrange(1, number)
            if other != first:
                parents.append(other)
        files = dict(contents[first]) if parents else {}
        if len(parents) == 2 and chance.random() < 0.8:
            for path, content in contents[parents[1]].items():
                if chance.random() < 0.5:
                    files[path] = content
        for _ in range(chance.choice([0, 1, 1, 2])):
            path = chance.choice(
                ["a", "b", "d/a", "d/b", "d/c", "d/e/f", "d/e/g", "other/x", "other/y"]
            )
            if path in files and chance.random() < 0.25:
                del files[path]
            else:
                files[path] = chance.choice("123")
        contents[number] = files
        before = contents[first] if parents else {}
        changes: dict[str, str | None] = dict.fromkeys(before.keys() - files.keys())
        changes |= {path: text for path, text in files.items() if before.get(path) != text}
        at = {
            "right": 1_600_000_000 + 60 * number,
            "equal": 1_600_000_000,
            "wrong": 1_600_000_000 + chance.randrange(10_000),
        }[clock]
        marks = tuple(f":{parent}" for parent in parents)
        stream += commit("main", f"{number}", changes, parents=marks, at=at, mark=number)
    return stream


@pytest.mark.parametrize("clock", ["right", "equal", "wrong"])
@pytest.mark.parametrize("seed", range(3))
def test_random_histories(engine: Parts, run: Any, tmp_path: Path, seed: int, clock: str) -> None:
    chance = random.Random(f"{seed} {clock}")
    repo = imported(tmp_path / "r.git", random_history(chance, 60, clock))
    if seed % 2:
        git(repo.path, "commit-graph", "write", "--reachable", "--changed-paths")
    revs = git(repo.path, "rev-list", "main").split()
    # Older ones first: later walks come upon what is known by then.
    for rev in [*revs[40::9], *revs[20::7], revs[3], "main"]:
        for path in ("", "d", "d/e"):
            trees = git(repo.path, "ls-tree", "-r", "-t", "--name-only", rev).splitlines()
            if not path or path in trees:
                check(engine, run, repo, rev, path)


def test_names_that_look_like_something_else(engine: Parts, run: Any, tmp_path: Path) -> None:
    fake = "commit " + "1" * 40
    names = [fake, f":100644 100644 {'1' * 40} {'2' * 40} M", "--output=x", "odd\udcff", "a\nb",
             "*", ":(exclude)x", '"q"', "tab\t"]  # fmt: skip
    stream = "".join(
        commit(
            "main",
            f"{fake} ({'3' * 40})\n\n:100644 100644\n{fake}\n",
            {f"dir/{name}/f" if number % 2 else f"dir/{name}": "x"},
            author=f"{fake} <:100644>",
            at=1_600_000_000 + number,
        )
        for number, name in enumerate(names)
    )
    stream += commit("main", "-", {"--exec=x/-f": "y", "*/x": "1", "zz/x": "1"}, at=1_700_000_000)
    stream += commit("main", "+", {"zz/x": "2", "*/y": "1"}, at=1_700_000_001)
    repo = imported(tmp_path / "r.git", stream)
    check(engine, run, repo, "main", "dir")
    check(engine, run, repo, "main", "--exec=x")
    check(engine, run, repo, "main", "*")
    found = check(engine, run, repo, "main", "")
    assert len(found.commits) == 4


def test_a_file_that_became_a_directory_and_a_submodule(
    engine: Parts, run: Any, tmp_path: Path
) -> None:
    stream = commit("main", "one", {"x": "file", "y": "1"}, at=1_600_000_000)
    stream += commit("main", "two", {"x": None, "x/a": "1", "x/b": "1"}, at=1_600_000_001)
    stream += commit("main", "three", {"x/b": "2", "160000 x/s": "5" * 40}, at=1_600_000_002)
    stream += commit("main", "four", {"160000 x/s": "6" * 40, "100755 x/a": "1"}, at=1_600_000_003)
    repo = imported(tmp_path / "r.git", stream)
    check(engine, run, repo, "main", "x")
    check(engine, run, repo, "main", "")


def test_sha256(engine: Parts, run: Any, tmp_path: Path) -> None:
    chance = random.Random(1)
    repo = imported(tmp_path / "r.git", random_history(chance, 30, "right"), "sha256")
    check(engine, run, repo, "main", "")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> BareRepository:
    """1 000 files in one directory, 900 of them changed now and then in 3 000 commits."""
    chance = random.Random(9)
    stream = [commit("main", "0", {f"big/f{number:03}": "x" for number in range(1000)})]
    for number in range(1, 3001):
        path = f"big/f{chance.randrange(900):03}" if number % 2 else f"other/g{number % 50}"
        at = 1_600_000_000 + number
        stream.append(commit("main", f"{number}", {path: f"{number}"}, at=at))
    repo = imported(tmp_path_factory.mktemp("large") / "r.git", "".join(stream))
    git(repo.path, "commit-graph", "write", "--reachable", "--changed-paths")
    return repo


def by_whole_log(repo: BareRepository) -> dict[bytes, str]:
    """Of a history without merges, the quick way to the same."""
    logged = git(repo.path, "log", "--format=commit %H", "--name-only", "main", "--", "big")
    found: dict[bytes, str] = {}
    commit = ""
    for line in logged.splitlines():
        if line.startswith("commit "):
            commit = line[7:]
        elif line:
            found.setdefault(line.removeprefix("big/").encode(), commit)
    return found


def test_a_large_directory_once_and_from_memory(
    engine: Parts, run: Any, large: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = folder(large, "main", "big")
    found = run(engine.last_commits.of(asked, None))
    assert found.complete and found.commits == by_whole_log(large)
    monkeypatch.setattr(last_commits, "spawn", None)  # nothing is asked of git any more
    assert run(engine.last_commits.of(asked, None)).commits == found.commits


def test_a_later_commit_goes_back_to_what_is_known(
    engine: Parts, run: Any, large: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(engine.last_commits.of(folder(large, "main~40", "big"), None))
    fed: list[int] = []
    real = Walk.feed

    def counted(walk: Walk, data: bytes) -> None:
        fed.append(data.count(b"commit "))
        real(walk, data)

    monkeypatch.setattr(Walk, "feed", counted)
    found = run(engine.last_commits.of(folder(large, "main", "big"), None))
    assert found.commits == by_whole_log(large)
    assert sum(fed) < 1500, "the walk has gone through the whole history"


def test_what_is_found_in_time_is_kept_and_the_rest_found_later(
    engine: Parts, run: Any, large: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = folder(large, "main", "big")
    whole = by_whole_log(large)
    with monkeypatch.context() as patch:
        patch.setattr(last_commits, "WALK_SECONDS", 0.0)
        first = run(engine.last_commits.of(asked, None))
    assert not first.complete
    assert first.commits.items() <= whole.items()
    second = run(engine.last_commits.of(asked, None))
    assert second.complete and second.commits == whole


def test_two_who_ask_at_once_walk_once(
    engine: Parts, run: Any, large: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = []

    def counted(*args: Any, **kwargs: Any) -> Any:
        started.append(args)
        return real_spawn(*args, **kwargs)

    monkeypatch.setattr(last_commits, "spawn", counted)
    asked = folder(large, "main", "big")

    async def both() -> Any:
        one = Deferred.fromCoroutine(engine.last_commits.of(asked, None))
        two = Deferred.fromCoroutine(engine.last_commits.of(asked, None))
        return (await one).commits == (await two).commits

    assert run(both())
    assert len(started) == 2  # rev-list and diff-tree


def test_who_goes_away_leaves_nothing_behind(
    engine: Parts, run: Any, large: BareRepository, children: Children
) -> None:
    asked = folder(large, "main", "big")

    async def give_up() -> Any:
        one = Deferred.fromCoroutine(engine.last_commits.of(asked, None))
        two = Deferred.fromCoroutine(engine.last_commits.of(asked, None))
        one.cancel()
        with pytest.raises(CancelledError):
            await one
        return await two

    assert run(give_up()).commits == by_whole_log(large)
    assert children() == []


def test_memory_is_bounded(
    engine: Parts, run: Any, large: BareRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_commits, "REMEMBERED", 2500)
    for rev in ("main~100", "main~50", "main"):
        for path in ("big", "other", ""):
            run(engine.last_commits.of(folder(large, rev, path), None))
    finder = engine.last_commits
    kept = [found for commits in finder._folders.values() for found in commits.values()]
    assert sum(found.weight for found in kept) == finder._weight <= 2500


def test_the_walk_takes_its_output_in_any_pieces(tmp_path: Path) -> None:
    repo = imported(tmp_path / "r.git", random_history(random.Random(3), 40, "right"))
    asked = folder(repo, "main", "")
    revisions = git(repo.path, "rev-list", "main")
    words = ("diff-tree", "--stdin", "-m", "--root", "--always", "--raw", "-z", "--parents",
             "--no-renames", "--pretty=short")  # fmt: skip
    output = git(repo.path, *words, stdin=revisions + "\n").encode()
    for size in (1, 2, 7, 1000, len(output)):
        walk = Walk(b"", {asked.commit: asked.names}, {})
        for start in range(0, len(output), size):
            walk.feed(output[start : start + size])
        walk.end()
        assert walk.done
        assert walk.answers == expected(repo, "main", "", list(asked.names))


def test_the_builder_has_the_commands(tmp_path: Path) -> None:
    command = Git.find().command("diff-tree", operands=["1" * 40], paths=["--output=x"])
    assert command.argv[-4:] == ("--end-of-options", "1" * 40, "--", "--output=x")
    for paths in (["/etc/passwd"], [""], ["a\0b"]):
        with pytest.raises(ValueError):
            Git.find().command("diff-tree", operands=["1" * 40], paths=paths)
    with pytest.raises(ValueError):
        Git.find().command("cat-file", "-e", operands=["1" * 40], paths=["a"])
