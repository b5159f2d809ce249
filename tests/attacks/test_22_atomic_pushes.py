"""One denied ref: with ``atomic`` nothing is applied, without it each ref has its own answer."""

from __future__ import annotations

import pytest

from tests.support.daemon import wait_until
from tests.support.site import Site, new_name, refs
from tests.support.wire import CAPABILITIES, ZERO, history, push, push_history

pytestmark = pytest.mark.attack(22)

DENIED = ["refs/pull/1/head", "refs/heads/-x", "refs/heads/MAIN", "refs/wit/x", "refs/heads/x.lock"]


def pushes(site: Site, name: str) -> int:
    return [event["type"] for event in site.daemon.events(name)].count("push")


@pytest.mark.parametrize("denied", DENIED)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_atomic_is_all_or_nothing(each_site: Site, denied: str, place: int) -> None:
    site, name = each_site, new_name()
    made = push_history(site.daemon, site.alice, name)
    other = history(b"other\n", made.commit)
    updates = [
        (ZERO, made.commit, "refs/heads/new"),
        (made.commit, other.commit, "refs/heads/main"),
    ]
    updates.insert(place, (ZERO, made.commit, denied))
    report = push(site.daemon, site.alice, name, updates, other.pack, CAPABILITIES + b" atomic")
    assert "ok" not in report.refs.values()
    assert refs(site.disk(name)) == {"refs/heads/main": made.commit}
    wait_until(lambda: pushes(site, name), what="the entry of the first push")
    assert pushes(site, name) == 1


def test_without_atomic_each_ref_has_its_answer(each_site: Site) -> None:
    site, name = each_site, new_name()
    made = push_history(site.daemon, site.alice, name)
    other = history(b"other\n", made.commit)
    good = [
        (ZERO, made.commit, "refs/heads/new"),
        (made.commit, other.commit, "refs/heads/main"),
        (ZERO, other.commit, "refs/tags/v1"),
    ]
    bad = [(ZERO, made.commit, ref) for ref in ("refs/pull/1/head", "refs/heads/MAIN")]
    bad.append((other.commit, made.commit, "refs/heads/gone"))
    report = push(site.daemon, site.alice, name, [*bad, *good], other.pack)
    assert {ref for ref, said in report.refs.items() if said == "ok"} == {ref for *_, ref in good}
    assert {ref for ref, said in report.refs.items() if said != "ok"} == {ref for *_, ref in bad}
    assert refs(site.disk(name)) == {ref: new for _, new, ref in good}


def test_atomic_and_stale(each_site: Site) -> None:
    """A wrong old value among right ones."""
    site, name = each_site, new_name()
    made = push_history(site.daemon, site.alice, name)
    other = history(b"other\n", made.commit)
    updates = [
        (ZERO, other.commit, "refs/heads/new"),
        (other.commit, made.commit, "refs/heads/main"),
    ]
    report = push(site.daemon, site.alice, name, updates, other.pack, CAPABILITIES + b" atomic")
    assert "ok" not in report.refs.values()
    assert refs(site.disk(name)) == {"refs/heads/main": made.commit}
