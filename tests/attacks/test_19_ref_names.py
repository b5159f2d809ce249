"""Names of refs that lead out of the folder, into git's own, or into each other."""

from __future__ import annotations

import pytest

from tests.support.daemon import git
from tests.support.site import Site, new_name, refs
from tests.support.wire import (
    CAPABILITIES,
    ZERO,
    commands,
    history,
    post,
    push,
    push_history,
    read_report,
    shared_repository,
)

pytestmark = pytest.mark.attack(19)

NAMES: list[bytes] = [
    b"refs/heads/../../x", b"refs/heads/..", b"refs/heads/../config", b"refs/../config",
    b"../config", b"/etc/passwd", b"config", b"HEAD", b"FETCH_HEAD", b"objects/info/alternates",
    b"refs", b"refs/", b"refs/heads", b"refs/heads/", b"/refs/heads/x", b"refs//heads/x",
    b"refs/heads/x.lock", b"refs/heads/a.lock/b", b"refs/heads/.x", b"refs/heads/a/.b",
    b"refs/heads/x.", b"refs/heads/x..y", b"refs/heads/x@{1}", b"refs/heads/@{", b"refs/heads/a b",
    b"refs/heads/a~b", b"refs/heads/a^b", b"refs/heads/a:b", b"refs/heads/a?b", b"refs/heads/a*b",
    b"refs/heads/a[b", b"refs/heads/a\\b", b"refs/heads/a\x7fb", b"refs/heads/a\x01b",
    b"refs/heads/-x", b"refs/heads/-", b"refs/heads/--all", b"refs/heads/HEAD", b"refs/heads/@",
    b"refs/heads/" + b"1" * 40, b"refs/tags/" + b"a" * 64, b"refs/heads/refs/heads/x",
    b"refs/heads/\xff\xfe", b"refs/heads/" + b"x" * 5000, b"refs/heads/" + b"x/" * 2000 + b"x",
    b"refs/heads/" + b"x" * 251,
    b"refs/replace/" + b"1" * 40, b"refs/notes", b"refs/wit/x", b"refs/wit", b"refs/merge-queue/x",
    b"refs/pull/1/head", b"refs/pull/1/merge", b"refs/remotes/origin/x", b"refs/stash",
    b"refs/bisect/bad", b"refs/worktree/x", b"refs/rewritten/x", b"refs/HEADS/x", b"refs/x/y",
    b"refs/internal/x", b"", b" ", b"refs/heads/x ", b"refs/heads/x\n",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:40])
def test_no_such_ref_is_made(site: Site, name: bytes) -> None:
    repo, _ = shared_repository(site)
    before = refs(site.disk(repo))
    config = (site.disk(repo) / "config").read_bytes()
    head = (site.disk(repo) / "HEAD").read_bytes()
    made = history()
    body = commands([(ZERO, made.commit, name)]) + made.pack
    answer = post(site.daemon, site.alice, repo, "git-receive-pack", body, version=0)
    assert answer.status == 200, answer
    report = read_report(answer.body)
    assert "ok" not in report.refs.values(), report
    assert report.refs or report.messages, "the client is told why"
    assert "internal error" not in answer.text
    assert refs(site.disk(repo)) == before
    assert (site.disk(repo) / "config").read_bytes() == config
    assert (site.disk(repo) / "HEAD").read_bytes() == head


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(b"refs/heads/")][:12])
def test_nothing_is_updated_or_deleted_by_such_a_name(site: Site, name: bytes) -> None:
    repo, _ = shared_repository(site)
    before = refs(site.disk(repo))
    oid = before["refs/heads/main"]
    for old, new in ((oid, ZERO), (oid, "1" * 40)):
        answer = post(
            site.daemon, site.alice, repo, "git-receive-pack", commands([(old, new, name)]),
            version=0,
        )  # fmt: skip
        assert "ok" not in read_report(answer.body).refs.values()
    assert refs(site.disk(repo)) == before


def test_hidden_refs_are_neither_seen_nor_touched(site: Site) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    folder = str(site.disk(name))
    for ref in ("refs/wit/secret", "refs/merge-queue/main", "refs/pull/1/head"):
        git("-C", folder, "update-ref", ref, made.commit)
    url = site.daemon.url(name, "alice", site.alice.token)
    for version in (0, 1, 2):
        listed = git("-c", f"protocol.version={version}", "ls-remote", url).stdout
        assert "refs/pull/1/head" in listed
        assert "refs/wit" not in listed and "refs/merge-queue" not in listed
    other = history(b"other\n")
    for ref in ("refs/wit/secret", "refs/merge-queue/main", "refs/pull/1/head"):
        for old, new in ((made.commit, ZERO), (made.commit, other.commit), (ZERO, other.commit)):
            packed = b"" if new == ZERO else other.pack
            report = push(site.daemon, site.alice, name, [(old, new, ref)], packed)
            assert report.refs.get(ref, "refused") != "ok", report
        assert refs(folder)[ref] == made.commit


def test_files_and_folders_do_not_mix(site: Site) -> None:
    """refs/heads/a and refs/heads/a/b cannot both be, in one push or in two."""
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    both = [(ZERO, made.commit, "refs/heads/a"), (ZERO, made.commit, "refs/heads/a/b")]
    for updates in (both, both[::-1]):
        push(site.daemon, site.alice, name, updates, made.pack)
        now = refs(site.disk(name))
        assert not {"refs/heads/a", "refs/heads/a/b"} <= set(now)
        for ref in ("refs/heads/a", "refs/heads/a/b"):
            if ref in now:
                push(site.daemon, site.alice, name, [(made.commit, ZERO, ref)])
    push(site.daemon, site.alice, name, [both[0]], made.pack)
    report = push(site.daemon, site.alice, name, [both[1]], made.pack)
    assert report.refs["refs/heads/a/b"] != "ok"
    assert refs(site.disk(name)).get("refs/heads/a") == made.commit
    assert git("-C", str(site.disk(name)), "fsck").returncode == 0


def test_names_that_differ_by_case_alone(site: Site) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    for twin in ("refs/heads/MAIN", "refs/heads/Main"):
        report = push(site.daemon, site.alice, name, [(ZERO, made.commit, twin)], made.pack)
        assert "upper and lower case" in str(report.refs) + report.messages
    shorts = ("stra\u00dfe", "STRASSE", "\u00e9", "e\u0301")
    twins = [(ZERO, made.commit, f"refs/heads/{short}") for short in shorts]
    report = push(site.daemon, site.alice, name, twins, made.pack)
    assert len([ref for ref, said in report.refs.items() if said == "ok"]) == 2, report


def test_one_ref_twice_in_one_push(site: Site) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    other = history(b"other\n")
    updates = [(ZERO, made.commit, "refs/heads/x"), (ZERO, other.commit, "refs/heads/x")]
    push(site.daemon, site.alice, name, updates, other.pack)
    now = refs(site.disk(name)).get("refs/heads/x")
    assert now in (None, made.commit, other.commit)
    assert git("-C", str(site.disk(name)), "fsck").returncode == 0


def test_three_thousand_refs_in_one_push(site: Site) -> None:
    """Many refs are work, and no more than that."""
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    updates = [(ZERO, made.commit, f"refs/tags/{number:05}") for number in range(3000)]
    report = push(site.daemon, site.alice, name, updates, made.pack, CAPABILITIES + b" atomic")
    assert set(report.refs.values()) == {"ok"} and len(report.refs) == 3000
    assert site.daemon.get("readyz")[0] == 200
