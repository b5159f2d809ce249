"""Which objects may be had: compared with a full enumeration, in every layout of a repository."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.git.fetching import Served, git, make_repository, make_served, serving
from wit.git.command import Git
from wit.git.pktline import encode
from wit.git.reachability import NotOurRef, Reachability
from wit.git.refs import RefReader
from wit.runtime import Runtime
from wit.streams import BytesSink, BytesSource

HIDDEN = ("refs/wit", "refs/merge-queue")


@attrs.frozen
class Objects:
    """A repository, and what its visible refs lead to and do not."""

    path: Path
    visible: frozenset[str]
    invisible: frozenset[str]


def everything(path: Path) -> set[str]:
    listing = git("cat-file", "--batch-all-objects", "--batch-check=%(objectname)", cwd=path)
    return set(listing.split())


def make_objects(path: Path, layout: str, object_format: str = "sha1") -> Objects:
    make_repository(path, object_format)
    work = path.with_suffix(".work")
    # A nested tag: the inner one is reachable, but no ref points to it.
    git("tag", "-am", "inner", "inner", "main~1", cwd=work)
    git("tag", "-am", "outer", "outer", "inner", cwd=work)
    # A tag of a tree and one of a blob.
    git("tag", "tree-tag", "main~4^{tree}", cwd=work)
    (work / "lonely").write_text("only a tag knows me")
    git(
        "tag",
        "-am",
        "of a blob",
        "blob-tag",
        git("hash-object", "-w", "lonely", cwd=work),
        cwd=work,
    )
    # A force push: the old commits are unreachable. A hidden ref: so are these.
    for branch, ref in (
        ("forgotten", None),
        ("hidden", "refs/wit/secret"),
        ("queued", "refs/merge-queue/1"),
    ):
        git("checkout", "-q", "-b", branch, "main", cwd=work)
        (work / branch).write_text(f"secret of {branch}")
        (work / "dir" / branch).write_text(f"deep secret of {branch}")
        git("add", ".", cwd=work)
        git("commit", "-qm", branch, cwd=work)
        git("tag", "-am", "a secret tag", f"t-{branch}", cwd=work)
        for source in (branch, f"t-{branch}"):
            git("push", "-q", path, f"{source}:{ref}-{source}", cwd=work)
    git("push", "-q", path, "refs/tags/outer", "refs/tags/tree-tag", "refs/tags/blob-tag", cwd=work)
    for name in ("forgotten", "t-forgotten"):
        git("update-ref", "-d", f"refs/tags/x-{name}", cwd=path)
    if layout == "packed":
        git("repack", "-adkq", cwd=path)
    elif layout == "bitmap":
        git("repack", "-adkqb", cwd=path)
        assert list((path / "objects" / "pack").glob("*.bitmap"))
    elif layout == "midx":
        git("repack", "-dq", cwd=path)
        git("multi-pack-index", "write", "--bitmap", cwd=path)
    refs = git("for-each-ref", "--format=%(objectname) %(refname)", cwd=path).splitlines()
    tips = [line.split()[0] for line in refs if not line.split()[1].startswith(HIDDEN)]
    visible = set(git("rev-list", "--objects", "--no-object-names", *tips, cwd=path).split())
    return Objects(path, frozenset(visible), frozenset(everything(path) - visible))


@pytest.fixture(scope="module", params=["loose", "packed", "bitmap", "midx", "sha256"])
def objects(request: Any, tmp_path_factory: Any) -> Objects:
    path = tmp_path_factory.mktemp("repos") / "a.git"
    return make_objects(path, request.param, "sha256" if request.param == "sha256" else "sha1")


@pytest.fixture
def served(objects: Objects, runtime: Runtime, run: Any) -> Iterator[Served]:
    with serving(objects.path, runtime, run) as served:
        yield served


def refusals(
    served: Served, runtime: Runtime, run: Any, wants: list[list[str]]
) -> list[str | None]:
    """For each list of wants the object that is refused, with nothing remembered before."""

    async def check() -> list[str | None]:
        reachability = Reachability(Git.find(), runtime, served.governor)
        repo = served.repo("a.git")
        snapshot = await RefReader(runtime, HIDDEN).snapshot(repo)
        answers: list[str | None] = []
        for each in wants:
            try:
                await reachability.check_wants(repo, snapshot, each, "tester")
                answers.append(None)
            except NotOurRef as error:
                answers.append(error.message.removeprefix("upload-pack: not our ref "))
        return answers

    answers: list[str | None] = run(check())
    return answers


@pytest.mark.attack(15)
def test_every_single_object_is_judged_as_the_full_walk_does(
    served: Served, objects: Objects, runtime: Runtime, run: Any
) -> None:
    kinds = dict(
        line.split()
        for line in git(
            "cat-file",
            "--batch-all-objects",
            "--batch-check=%(objectname) %(objecttype)",
            cwd=objects.path,
        ).splitlines()
    )
    assert {kinds[oid] for oid in objects.visible} == {"commit", "tree", "blob", "tag"}
    assert {kinds[oid] for oid in objects.invisible} == {"commit", "tree", "blob", "tag"}
    every = sorted(objects.visible | objects.invisible)
    answers = refusals(served, runtime, run, [[oid] for oid in every])
    assert answers == [None if oid in objects.visible else oid for oid in every]


@pytest.mark.attack(15)
def test_many_wants_at_once(served: Served, objects: Objects, runtime: Runtime, run: Any) -> None:
    missing = "1" * len(next(iter(objects.visible)))
    bad = sorted(objects.invisible)[0]
    good = sorted(objects.visible)
    answers = refusals(served, runtime, run, [good, [*good, bad], [missing, *good], good])
    assert answers == [None, bad, missing, None]


def test_what_was_proven_is_remembered_for_this_state_of_the_refs(
    served: Served, objects: Objects, runtime: Runtime, run: Any
) -> None:
    async def check() -> None:
        reachability = Reachability(Git.find(), runtime, served.governor)
        repo = served.repo("a.git")
        snapshot = await RefReader(runtime, HIDDEN).snapshot(repo)
        await reachability.check_wants(repo, snapshot, objects.visible, "tester")
        served.governor.close()
        await reachability.check_wants(repo, snapshot, objects.visible, "tester")

    run(check())


@pytest.mark.attack(15)
@pytest.mark.parametrize("protocol", [0, 2])
def test_no_request_gets_an_invisible_object(
    served: Served, objects: Objects, run: Any, protocol: int
) -> None:
    """Over the wire, as a client that does not care what was advertised."""
    repo = served.repo("a.git")
    visible = git("rev-parse", "main", cwd=objects.path)
    for oid in [*sorted(objects.invisible), "2" * len(visible)]:
        sink = BytesSink()
        wants = encode(f"want {oid} side-band-64k\n".encode())
        if protocol == 2:
            wants = (
                encode(b"command=fetch")
                + encode(b"object-format=" + repo.object_format.encode())
                + b"0001"
                + encode(f"want {oid}\n".encode())
            )
        done = encode(b"done\n") + b"0000" if protocol == 2 else b"0000" + encode(b"done\n")
        source = BytesSource(wants + done)
        run(served.upload_pack.serve_request(repo, protocol, source, sink, "tester"))
        assert sink.value() == encode(f"ERR upload-pack: not our ref {oid}".encode())


@pytest.mark.attack(15)
@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_no_session_gets_an_invisible_object(
    served: Served, objects: Objects, tmp_path: Path, protocol: int
) -> None:
    git("init", "-q", f"--object-format={served.repo('a.git').object_format}", tmp_path / "c")
    env = {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "protocol.version",
        "GIT_CONFIG_VALUE_0": str(protocol),
    }
    for oid in sorted(objects.invisible):
        said = git("fetch", served.url("git", "a.git"), oid, cwd=tmp_path / "c", code=128, env=env)
        assert f"not our ref {oid}" in said
    refs = git("ls-remote", served.url("git", "a.git"), env=env)
    assert "refs/heads/main" in refs
    assert "refs/wit" not in refs and "merge-queue" not in refs


@pytest.mark.attack(15)
def test_replace_refs_do_not_widen_what_is_reachable(
    tmp_path: Path, runtime: Runtime, run: Any
) -> None:
    """A pushed refs/replace could graft a secret commit below a visible one."""
    objects = make_objects(tmp_path / "a.git", "loose")
    secret = git("rev-parse", "refs/wit/secret-hidden", cwd=objects.path)
    tree = git("rev-parse", "main^{tree}", cwd=objects.path)
    fake = git("commit-tree", "-p", secret, "-m", "fake", tree, cwd=objects.path)
    main = git("rev-parse", "main", cwd=objects.path)
    git("update-ref", f"refs/replace/{main}", fake, cwd=objects.path)
    blob = git("rev-parse", f"{secret}:hidden", cwd=objects.path)
    served = make_served(tmp_path, runtime)
    # refs/replace/* is an ordinary visible ref here, so the fake commit leads to the secret …
    assert refusals(served, runtime, run, [[secret]]) == [None]
    # … and without it, nothing does, whatever git would show as main's parent.
    git("update-ref", f"refs/wit/{main}", fake, cwd=objects.path)
    git("update-ref", "-d", f"refs/replace/{main}", cwd=objects.path)
    assert refusals(served, runtime, run, [[secret], [blob]]) == [secret, blob]


@pytest.mark.attack(15)
def test_objects_of_an_alternate_are_not_handed_out(
    tmp_path: Path, runtime: Runtime, run: Any
) -> None:
    pool = make_repository(tmp_path / "pool.git")
    fork = tmp_path / "a.git"
    git("clone", "-q", "--bare", "--shared", "--single-branch", "-b", "side", pool, fork)
    secret = git("rev-parse", "main", cwd=pool)
    subprocess.run(["git", "cat-file", "-e", secret], cwd=fork, check=True)
    served = make_served(tmp_path, runtime)
    assert refusals(served, runtime, run, [[secret], [git("rev-parse", "side~1", cwd=fork)]]) == [
        secret,
        None,
    ]
