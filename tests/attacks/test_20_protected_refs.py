"""One policy for every way to change a ref."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.support.site import Person, Site, new_name, refs
from tests.support.wire import (
    CAPABILITIES,
    ZERO,
    History,
    Report,
    commands,
    history,
    post,
    push,
    push_history,
    read_report,
    ssh,
)
from wit.git.names import parse_full_name
from wit.repositories.rights import Protection

pytestmark = pytest.mark.attack(20)

Updates = Sequence[tuple[str, str, str]]


def push_over_ssh(site: Site, person: Person, name: str, updates: Updates, packed: bytes) -> Report:
    client = ssh(site.daemon, person, f"git-receive-pack '{name}'")
    out, err = client.communicate(commands(updates, CAPABILITIES) + packed, timeout=30)
    while out and out[:4] != b"0000":  # the advertisement
        out = out[int(out[:4], 16) :]
    report = read_report(out[4:])
    return Report(report.unpack, report.refs, report.messages + err.decode())


def push_over_http(
    site: Site, person: Person, name: str, updates: Updates, packed: bytes
) -> Report:
    return push(site.daemon, person, name, updates, packed)


DOORS = {"http": push_over_http, "ssh": push_over_ssh}


def protect(site: Site, name: str, pattern: str, **rule: object) -> None:
    full_name = parse_full_name(name)

    async def work(core):  # type: ignore[no-untyped-def]
        repo = await core.repos.get(full_name)
        await core.rights.protect(repo["id"], pattern, Protection(**rule))  # type: ignore[arg-type]

    site.do(work)


def add_writer(site: Site, name: str, person: Person) -> None:
    full_name = parse_full_name(name)

    async def work(core):  # type: ignore[no-untyped-def]
        repo = await core.repos.get(full_name)
        await core.rights.set_collaborator(repo["id"], person.name, "write")

    site.do(work)


@pytest.fixture
def protected(each_site: Site) -> tuple[str, History]:
    """A repository of alice's in which bob may write, with a protected branch ``release/1``."""
    name = new_name()
    made = push_history(each_site.daemon, each_site.alice, name)
    updates = [(ZERO, made.commit, f"refs/heads/{short}") for short in ("release/1", "open")]
    push(each_site.daemon, each_site.alice, name, updates, made.pack)
    protect(each_site, name, "release/*", allow_force_push=False, allow_deletion=False)
    add_writer(each_site, name, each_site.bob)
    return name, made


@pytest.mark.parametrize("door", list(DOORS))
@pytest.mark.parametrize("who", ["alice", "bob"])
def test_nobody_rewrites_or_deletes_a_protected_branch(
    each_site: Site, protected: tuple[str, History], door: str, who: str
) -> None:
    """Not even the owner, who is an administrator of the site."""
    site, (name, made) = each_site, protected
    person: Person = getattr(site, who)
    other = history(b"rewritten\n")
    before = refs(site.disk(name))
    ref = "refs/heads/release/1"
    attacks = [
        ([(made.commit, other.commit, ref)], other.pack),
        ([(made.commit, ZERO, ref)], b""),
        ([(made.commit, ZERO, "refs/heads/main")], b""),  # the default branch
        # Deleting and making anew in one push, and hidden among harmless ones:
        ([(made.commit, ZERO, ref), (ZERO, other.commit, ref)], other.pack),
        ([(ZERO, made.commit, "refs/heads/x"), (made.commit, other.commit, ref)], other.pack),
        # A wrong idea of what is there:
        ([(ZERO, other.commit, ref)], other.pack),
        ([(other.commit, ZERO, ref)], b""),
        # A tag that git would take for the branch:
        ([(ZERO, other.commit, "refs/tags/release/1")], other.pack),
        ([(ZERO, other.commit, "refs/pull/1/head")], other.pack),
        ([(ZERO, other.commit, "refs/merge-queue/main")], other.pack),
        ([(ZERO, other.commit, "refs/wit/x")], other.pack),
    ]
    for updates, packed in attacks:
        report = DOORS[door](site, person, name, updates, packed)
        for _, _, target in updates:
            if target != "refs/heads/x":
                assert report.refs.get(target, "refused") != "ok", (updates, report)
        now = refs(site.disk(name))
        now.pop("refs/heads/x", None)
        assert now == before, updates


@pytest.mark.parametrize("door", list(DOORS))
def test_what_is_not_protected_stays_free(
    each_site: Site, protected: tuple[str, History], door: str
) -> None:
    site, (name, made) = each_site, protected
    other = history(b"rewritten\n")
    ref = "refs/heads/open"
    report = DOORS[door](site, site.bob, name, [(made.commit, other.commit, ref)], other.pack)
    assert report.refs == {ref: "ok"}
    assert DOORS[door](site, site.bob, name, [(other.commit, ZERO, ref)], b"").refs == {ref: "ok"}
    later = history(b"later\n", made.commit)
    ref = "refs/heads/release/1"
    report = DOORS[door](site, site.bob, name, [(made.commit, later.commit, ref)], later.pack)
    assert report.refs == {ref: "ok"}, report


@pytest.mark.parametrize("door", list(DOORS))
def test_only_those_named_push_to_a_branch(
    each_site: Site, protected: tuple[str, History], door: str
) -> None:
    site, (name, made) = each_site, protected
    protect(site, name, "open", allowed_pushers=("alice",), allow_force_push=True)
    later = history(b"later\n", made.commit)
    update = [(made.commit, later.commit, "refs/heads/open")]
    report = DOORS[door](site, site.bob, name, update, later.pack)
    assert report.refs["refs/heads/open"] != "ok" and "not among those" in report.messages
    report = DOORS[door](site, site.alice, name, update, later.pack)
    assert report.refs == {"refs/heads/open": "ok"}


@pytest.mark.parametrize("door", list(DOORS))
def test_a_rule_counts_for_branches_that_are_yet_to_come(
    each_site: Site, protected: tuple[str, History], door: str
) -> None:
    site, (name, made) = each_site, protected
    protect(site, name, "future/**", require_pull_request=True)
    ref = "refs/heads/future/a/b"
    report = DOORS[door](site, site.bob, name, [(ZERO, made.commit, ref)], made.pack)
    assert report.refs[ref] != "ok" and "pull request" in report.messages


def test_a_reader_pushes_nothing_at_all(each_site: Site) -> None:
    site, name = each_site, new_name()
    made = push_history(site.daemon, site.alice, name)
    site.wit("collaborator", "add", name, "bob", "read")
    body = commands([(ZERO, made.commit, "refs/heads/theirs")]) + made.pack
    answer = post(site.daemon, site.bob, name, "git-receive-pack", body, version=0)
    assert answer.status == 403
    report = push_over_ssh(site, site.bob, name, [(ZERO, made.commit, "refs/heads/t")], made.pack)
    assert not report.refs
    assert set(refs(site.disk(name))) == {"refs/heads/main"}


def test_a_token_without_the_scope_pushes_nothing(each_site: Site) -> None:
    site, name = each_site, new_name()
    made = push_history(site.daemon, site.alice, name)
    reading = Person("alice", site.daemon.token("alice", "repo:read"), site.alice.key)
    body = commands([(ZERO, made.commit, "refs/heads/theirs")]) + made.pack
    answer = post(site.daemon, reading, name, "git-receive-pack", body, version=0)
    assert answer.status == 403, answer
    assert set(refs(site.disk(name))) == {"refs/heads/main"}
