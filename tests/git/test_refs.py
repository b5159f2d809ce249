"""The ref snapshot against what git says, while git changes the repository in all its ways."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred, gatherResults

from tests.git.bare import git
from wit.errors import Unavailable
from wit.git import refs_files
from wit.git.refs import AnswerCache, RefReader, RefSnapshot

FORMATS = ["sha1", "sha256"]


def make_repo(folder: Path, object_format: str = "sha1", name: str = "r.git") -> Any:
    path = folder / name
    subprocess.run(
        ["git", "init", "-q", "--bare", f"--object-format={object_format}", str(path)], check=True
    )
    return SimpleNamespace(key=name, path=str(path), object_format=object_format)


def commit(repo: Any, ref: str | None = None, message: str = "x", parent: str | None = None) -> str:
    tree = git(repo, "mktree")
    parents = ["-p", parent] if parent else []
    oid = git(repo, "commit-tree", *parents, "-m", message, tree)
    if ref is not None:
        git(repo, "update-ref", ref, oid)
    return oid


def as_git_says(repo: Any) -> list[tuple[str, str, str, str]]:
    lines = git(repo, "for-each-ref", "--format=%(refname) %(objectname) =%(symref)").splitlines()
    dereferenced = git(repo, "show-ref", "--dereference") if lines else ""
    peeled = {
        name.removesuffix("^{}"): oid
        for oid, name in (line.split() for line in dereferenced.splitlines())
        if name.endswith("^{}")
    }
    return [
        (name, oid, peeled.get(name, ""), symref[1:])
        for name, oid, symref in (line.split(" ") for line in lines)
    ]


def as_we_say(snapshot: RefSnapshot) -> list[tuple[str, str, str, str]]:
    return [
        (ref.name.decode(), ref.oid, ref.peeled or "", (ref.symref or b"").decode())
        for ref in snapshot.refs
    ]


@pytest.fixture(params=FORMATS)
def repo(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return make_repo(tmp_path, request.param)


@pytest.fixture
def reader(runtime: Any) -> RefReader:
    return RefReader(runtime, ("refs/wit", "refs/merge-queue/"))


@pytest.fixture
def look(run: Any, reader: RefReader) -> Any:
    return lambda repo: run(reader.snapshot(repo))


def test_an_empty_repository(repo: Any, look: Any) -> None:
    snapshot = look(repo)
    assert snapshot.head == b"refs/heads/main"
    assert snapshot.head_oid is None
    assert snapshot.refs == () and snapshot.tips == frozenset()


def test_loose_refs_packed_refs_and_both(repo: Any, look: Any) -> None:
    one = commit(repo, "refs/heads/main", "one")
    two = commit(repo, "refs/heads/feature/a", "two", one)
    git(repo, "tag", "-a", "-m", "t", "v1", one)
    git(repo, "tag", "light", two)
    blob = git(repo, "hash-object", "-w", "--stdin", stdin="hello")
    git(repo, "tag", "-a", "-m", "b", "blob", blob)
    git(repo, "update-ref", "refs/tags/raw-blob", blob)
    git(repo, "tag", "-a", "-m", "tt", "nested", git(repo, "rev-parse", "refs/tags/v1"))
    loose = look(repo)
    assert as_we_say(loose) == as_git_says(repo)
    assert loose.by_name[b"refs/tags/nested"].peeled == one
    assert loose.by_name[b"refs/tags/blob"].peeled == blob
    assert loose.head_oid == one
    git(repo, "pack-refs", "--all", "--prune")
    packed = look(repo)
    assert packed is not loose and packed.version == loose.version
    commit(repo, "refs/heads/main", "three", one)  # a loose ref over a packed one
    git(repo, "update-ref", "-d", "refs/tags/light")
    both = look(repo)
    assert as_we_say(both) == as_git_says(repo)
    assert both.version != packed.version
    assert both.tips == {ref.oid for ref in both.refs} | {one, blob}


@pytest.mark.parametrize("header", ["", "# pack-refs with: peeled \n"])
def test_older_packed_refs_are_peeled_by_us(repo: Any, look: Any, header: str) -> None:
    one = commit(repo, "refs/heads/main")
    git(repo, "tag", "-a", "-m", "t", "v1", one)
    tag = git(repo, "rev-parse", "refs/tags/v1")
    git(repo, "update-ref", "refs/other/tag", tag)
    git(repo, "pack-refs", "--all", "--prune")
    packed = Path(repo.path, "packed-refs")
    lines = [line for line in packed.read_text().splitlines() if line[0] not in "#^"]
    if header:  # "peeled" means that tags without a peeled line are none
        lines.insert(lines.index(f"{tag} refs/tags/v1") + 1, f"^{one}")
    packed.write_text(header + "\n".join(lines) + "\n")
    assert as_we_say(look(repo)) == as_git_says(repo)


@pytest.mark.parametrize("offsets", ["true", "false"])
def test_tags_in_packs_are_peeled_whole_or_as_deltas(
    repo: Any, look: Any, tmp_path: Path, offsets: str
) -> None:
    one = commit(repo, "refs/heads/main")
    for number in range(30):
        message = "the same long text over and over\n" * 200 + str(number)
        git(repo, "tag", "-a", "-m", message, f"v{number}", one)
    git(repo, "tag", "-a", "-F", "-", "huge", one, stdin="huge " * 400_000)
    git(repo, "-c", f"repack.useDeltaBaseOffset={offsets}", "repack", "-a", "-d", "-q")
    bases = git(repo, "cat-file", "--batch-all-objects", "--batch-check=%(deltabase)")
    assert len(set(bases.splitlines())) > 1, "git made no deltas, so nothing was tested"
    for loose_object in Path(repo.path, "objects").glob("??/*"):
        raise AssertionError(loose_object)
    snapshot = look(repo)
    theirs = [line for line in as_git_says(repo) if line[0] != "refs/tags/huge"]
    assert [line for line in as_we_say(snapshot) if line[0] != "refs/tags/huge"] == theirs
    assert snapshot.by_name[b"refs/tags/huge"].peeled is None
    # What is borrowed from another repository is found as well.
    borrower = make_repo(tmp_path, repo.object_format, "borrower.git")
    Path(borrower.path, "objects/info/alternates").write_text(f"{repo.path}/objects\n")
    git(borrower, "update-ref", "refs/tags/v1", git(repo, "rev-parse", "refs/tags/v1"))
    assert look(borrower).by_name[b"refs/tags/v1"].peeled == one


def test_an_unchanged_repository_is_not_read_again(
    repo: Any, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit(repo, "refs/heads/main")
    settle(repo)
    first = look(repo)
    monkeypatch.setattr("wit.git.refs.read_refs", None)
    assert all(look(repo) is first for _ in range(3))


def settle(repo: Any) -> None:
    """Make the files look as if they had been written a while ago; wait for the change time."""
    newest = max(
        os.lstat(path).st_ctime_ns for path in [repo.path + "/HEAD", *_folders(repo.path + "/refs")]
    )
    while time.time_ns() <= newest + refs_files.RACY_NS:
        time.sleep(0.005)


def _folders(path: str) -> list[str]:
    return [folder for folder, _, _ in os.walk(path)]


def test_every_change_is_seen_at_once(repo: Any, look: Any) -> None:
    oids = [commit(repo, None, str(number)) for number in range(4)]
    for number in range(60):
        ref = f"refs/heads/{'deep/' * (number % 3)}b{number % 5}"
        git(repo, "update-ref", ref, oids[number % 4])
        assert as_we_say(look(repo)) == as_git_says(repo)
        if number % 7 == 0:
            git(repo, "pack-refs", "--all", "--prune")
            assert as_we_say(look(repo)) == as_git_says(repo)
        if number % 3 == 0:
            git(repo, "update-ref", "-d", ref)
            assert as_we_say(look(repo)) == as_git_says(repo)
    git(repo, "symbolic-ref", "HEAD", "refs/heads/other")
    assert look(repo).head == b"refs/heads/other"


def test_nothing_is_missed_within_one_tick_of_the_clock(repo: Any, look: Any) -> None:
    """Refs replaced by renaming, as git does, faster than the file system's clock moves."""
    oids = [commit(repo, None, str(number)) for number in range(2)]
    target = Path(repo.path, "refs/heads/main")
    lock = target.with_suffix(".lock")
    for number in range(200):
        lock.write_text(oids[number % 2] + "\n")
        os.rename(lock, target)
        assert look(repo).head_oid == oids[number % 2]


def test_symrefs(repo: Any, look: Any) -> None:
    one = commit(repo, "refs/heads/main")
    git(repo, "symbolic-ref", "refs/heads/alias", "refs/heads/main")
    git(repo, "symbolic-ref", "refs/heads/alias2", "refs/heads/alias")
    git(repo, "symbolic-ref", "refs/heads/dangling", "refs/heads/nowhere")
    git(repo, "symbolic-ref", "refs/heads/a", "refs/heads/b")
    git(repo, "symbolic-ref", "refs/heads/b", "refs/heads/a")
    git(repo, "symbolic-ref", "HEAD", "refs/heads/alias2")
    snapshot = look(repo)
    assert [(ref.name, ref.symref) for ref in snapshot.refs] == [
        (b"refs/heads/alias", b"refs/heads/main"),
        (b"refs/heads/alias2", b"refs/heads/main"),
        (b"refs/heads/main", None),
    ]
    assert (snapshot.head, snapshot.head_oid) == (b"refs/heads/main", one)
    git(repo, "update-ref", "--no-deref", "HEAD", one)
    detached = look(repo)
    assert (detached.head, detached.head_oid) == (None, one)
    assert detached.version != snapshot.version


@pytest.mark.attack(19)
def test_hidden_namespaces_are_not_there(repo: Any, look: Any) -> None:
    one = commit(repo, "refs/heads/main")
    secret = commit(repo, "refs/wit/secret", "secret")
    git(repo, "update-ref", "refs/wit-not-hidden/x", one)
    git(repo, "update-ref", "refs/merge-queue/1", secret)
    git(repo, "symbolic-ref", "refs/heads/leak", "refs/wit/secret")
    for _ in range(2):
        snapshot = look(repo)
        names = {ref.name for ref in snapshot.refs}
        assert names == {b"refs/heads/main", b"refs/wit-not-hidden/x"}
        assert secret not in snapshot.tips
        git(repo, "pack-refs", "--all", "--prune")
    Path(repo.path, "HEAD").write_text("ref: refs/wit/secret\n")
    assert (look(repo).head, look(repo).head_oid) == (None, None)


def test_damaged_loose_refs_are_skipped_and_do_not_uncover_older_ones(repo: Any, look: Any) -> None:
    one = commit(repo, "refs/heads/main")
    commit(repo, "refs/heads/old", "old")
    git(repo, "pack-refs", "--all", "--prune")
    heads = Path(repo.path, "refs/heads")
    (heads / "old").write_text("")
    (heads / "empty").write_text("")
    (heads / "garbage").write_text("garbage\n")
    (heads / "short").write_text(one[:-1] + "\n")
    (heads / "zero").write_text("0" * len(one) + "\n")
    (heads / "x.lock").write_text(one + "\n")
    (heads / "bad name").write_text(one + "\n")
    (heads / "link").symlink_to("/etc/passwd")
    (heads / "folder").symlink_to("/etc")
    (heads / "spaced").write_text(one + " \n and more")
    assert [ref.name for ref in look(repo).refs] == [b"refs/heads/main", b"refs/heads/spaced"]


@pytest.mark.attack(27)
def test_damaged_packed_refs_lose_only_the_damaged_lines(repo: Any, look: Any) -> None:
    commit(repo, "refs/heads/main")
    git(repo, "pack-refs", "--all", "--prune")
    with open(repo.path + "/packed-refs", "ab") as packed:
        packed.write(b"\x00\xff garbage\n^^^\nzz refs/heads/q\n" + b"1" * 64)
    assert [ref.name for ref in look(repo).refs] == [b"refs/heads/main"]


@pytest.mark.attack(27)
@pytest.mark.parametrize("damage", ["gone", "no refs", "no HEAD", "bad HEAD", "HEAD is a folder"])
def test_a_damaged_repository_is_unavailable_and_comes_back(
    tmp_path: Path, look: Any, damage: str
) -> None:
    repo = make_repo(tmp_path)
    commit(repo, "refs/heads/main")
    settle(repo)
    before = look(repo)
    kept = tmp_path / "kept"
    os.rename(repo.path, kept)
    if damage != "gone":
        make_repo(tmp_path)
    if damage == "no refs":
        os.rename(repo.path + "/refs", repo.path + "/fers")
    elif damage == "no HEAD":
        os.unlink(repo.path + "/HEAD")
    elif damage == "bad HEAD":
        Path(repo.path, "HEAD").write_text("nonsense")
    elif damage == "HEAD is a folder":
        os.unlink(repo.path + "/HEAD")
        os.mkdir(repo.path + "/HEAD")
    with pytest.raises(Unavailable, match="damaged"):
        look(repo)
    if damage != "gone":
        os.rename(repo.path, tmp_path / "broken")
    os.rename(kept, repo.path)
    assert look(repo).version == before.version


def test_a_tag_whose_object_is_missing_is_not_peeled(repo: Any, look: Any) -> None:
    commit(repo, "refs/heads/main")
    missing = "12" * (32 if repo.object_format == "sha256" else 20)
    Path(repo.path, "refs/tags/lost").write_text(missing + "\n")
    assert look(repo).by_name[b"refs/tags/lost"].peeled is None


def test_no_ref_is_lost_while_refs_are_packed(repo: Any, look: Any) -> None:
    oid = commit(repo)
    names = [f"refs/heads/b{number:02}" for number in range(40)]
    git(repo, "update-ref", "--stdin", stdin="".join(f"create {name} {oid}\n" for name in names))
    stop = threading.Event()

    def pack_and_unpack() -> None:
        while not stop.is_set():
            git(repo, "pack-refs", "--all", "--prune")
            for name in names[::7]:
                git(repo, "update-ref", name, commit(repo))

    thread = threading.Thread(target=pack_and_unpack)
    thread.start()
    try:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            assert len(look(repo).refs) == len(names)
    finally:
        stop.set()
        thread.join()


def test_many_folders_are_looked_at_in_a_thread(repo: Any, look: Any) -> None:
    oid = commit(repo)
    lines = "".join(f"create refs/pull/{number}/head {oid}\n" for number in range(100))
    git(repo, "update-ref", "--stdin", stdin=lines)
    settle(repo)
    first = look(repo)
    assert len(first.refs) == 100
    assert look(repo) is first
    git(repo, "update-ref", "refs/pull/7/merge", oid)
    assert len(look(repo).refs) == 101


def test_who_comes_during_a_reading_gets_the_next_one(
    repo: Any, run: Any, reader: RefReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = commit(repo, "refs/heads/main", "old"), commit(repo, None, "new")
    readings = []
    started, go_on = threading.Event(), threading.Event()
    read_refs = refs_files.read_refs

    def slow(*args: Any) -> Any:
        reading = read_refs(*args)
        readings.append(reading)
        started.set()
        assert go_on.wait(10)
        return reading

    monkeypatch.setattr("wit.git.refs.read_refs", slow)

    async def scenario() -> list[str | None]:
        first = Deferred.fromCoroutine(reader.snapshot(repo))
        await reader._runtime.in_thread(started.wait, 10)
        await reader._runtime.in_thread(git, repo, "update-ref", "refs/heads/main", new)
        later = [Deferred.fromCoroutine(reader.snapshot(repo)) for _ in range(5)]
        later[0].addErrback(lambda failure: failure.trap(CancelledError))
        later[0].cancel()  # stops nobody else
        go_on.set()
        return [(await first).head_oid, *[s.head_oid for s in await gatherResults(later[1:])]]

    assert run(scenario()) == [old, new, new, new, new]
    assert len(readings) == 2


def test_memory_is_bounded(tmp_path: Path, runtime: Any, run: Any) -> None:
    reader = RefReader(runtime, (), max_repositories=3, max_refs=10)
    repos = [make_repo(tmp_path, name=f"r{number}.git") for number in range(5)]
    for repo in repos:
        run(reader.snapshot(repo))
    assert list(reader._entries) == [repo.path for repo in repos[-3:]]
    oid = commit(repos[0])
    lines = "".join(f"create refs/heads/b{number} {oid}\n" for number in range(20))
    git(repos[0], "update-ref", "--stdin", stdin=lines)
    run(reader.snapshot(repos[0]))
    assert list(reader._entries) == [repos[0].path]  # more than all may have, and the latest
    run(reader.snapshot(repos[1]))
    assert list(reader._entries) == [repos[1].path]
    reader.invalidate(repos[1])
    assert not reader._entries and reader._refs_remembered == 0


def test_the_answer_cache_is_bounded() -> None:
    cache = AnswerCache(max_bytes=5 * (AnswerCache.ENTRY_BYTES + 20))
    for number in range(30):
        cache.put(number, b"x" * 20)
        assert cache.get(0) is not None  # used, so it stays
    assert [number for number in range(30) if cache.get(number)] == [0, 26, 27, 28, 29]
    cache.put("large", b"x" * 2000)
    assert cache.get("large") is None
    cache.put(29, b"x" * 20)
    assert len(cache._answers) == 5
