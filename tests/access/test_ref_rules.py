from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.access.ref_rules import (
    Kind,
    Rule,
    Rules,
    UpdateFacts,
    case_twins,
    judge,
    needs_ancestry,
)

MAIN = b"refs/heads/main"
OPEN = Rules(hidden=("refs/wit",), read_only=("refs/pull",), default_branch="main")


def said(
    ref: bytes | str,
    kind: Kind = Kind.UPDATE,
    *rules: Rule,
    forced: bool = False,
    actor: str = "ada",
    default: str = "trunk",
    **facts: object,
) -> str | None:
    ref = ref.encode() if isinstance(ref, str) else ref
    all_rules = Rules(rules, OPEN.hidden, OPEN.read_only, default)
    return judge(UpdateFacts(ref, kind, is_forced=forced, **facts), actor, all_rules)  # type: ignore[arg-type]


def test_without_rules_a_writer_may_do_everything_but_lose_the_default_branch() -> None:
    for kind in Kind:
        for ref in ("refs/heads/a", "refs/tags/v1", "refs/notes/commits"):
            assert said(ref, kind, forced=True) is None
    text = said(MAIN, Kind.DELETE, default="main")
    assert text is not None and "make another branch the default first" in text


@pytest.mark.attack(20)
def test_a_protected_branch() -> None:
    rule = Rule("main")
    assert said(MAIN, Kind.UPDATE, rule) is None
    assert said(MAIN, Kind.CREATE, rule) is None
    forced = said(MAIN, Kind.UPDATE, rule, forced=True)
    assert forced is not None
    assert forced.startswith("main is protected: force-push is not allowed; push a new commit")
    deleted = said(MAIN, Kind.DELETE, rule)
    assert deleted is not None and "cannot be deleted" in deleted
    assert said("refs/heads/main2", Kind.DELETE, rule, forced=True) is None
    assert said("refs/tags/main", Kind.UPDATE, rule, forced=True) is None
    lenient = Rule("main", allow_force_push=True, allow_deletion=True)
    assert said(MAIN, Kind.UPDATE, lenient, forced=True) is None
    assert said(MAIN, Kind.DELETE, lenient) is None


def test_only_through_a_pull_request() -> None:
    rule = Rule("main", require_pull_request=True, allow_deletion=True)
    text = said(MAIN, Kind.UPDATE, rule)
    assert text is not None and "open a pull request" in text
    assert said(MAIN, Kind.CREATE, rule) is not None
    assert said(MAIN, Kind.CREATE, rule, default="main") is None, "somebody has to begin"
    assert said(MAIN, Kind.DELETE, rule) is None


def test_allowed_pushers() -> None:
    rule = Rule("release/*", allowed_pushers=frozenset({"ada"}))
    assert said("refs/heads/release/1", Kind.UPDATE, rule) is None
    for kind in Kind:
        text = said("refs/heads/release/1", kind, rule, actor="bob")
        assert text is not None and "not among those who may push" in text
    nobody = Rule("x", allowed_pushers=frozenset())
    assert said("refs/heads/x", Kind.CREATE, nobody) is not None


@pytest.mark.attack(20)
def test_tags_are_protected_by_their_whole_name() -> None:
    rule = Rule("refs/tags/v*", allowed_pushers=frozenset({"ada"}))
    assert said("refs/tags/v1", Kind.CREATE, rule) is None
    assert said("refs/tags/v1", Kind.CREATE, rule, actor="bob") is not None
    assert said("refs/tags/v1", Kind.UPDATE, rule, forced=True) is not None
    assert said("refs/tags/v1", Kind.DELETE, rule) is not None
    assert said("refs/heads/v1", Kind.DELETE, rule) is None


@pytest.mark.attack(20)
def test_a_tag_must_not_hide_a_protected_branch() -> None:
    text = said("refs/tags/main", Kind.CREATE, Rule("main"), same_named_branch=True)
    assert text is not None and "would hide the protected branch main" in text
    assert said("refs/tags/main", Kind.CREATE, same_named_branch=True) is None


def test_the_strictest_rule_wins() -> None:
    strict, lenient = Rule("main"), Rule("*", allow_force_push=True, allow_deletion=True)
    for rules in ((strict, lenient), (lenient, strict)):
        assert said(MAIN, Kind.UPDATE, *rules, forced=True) is not None
        assert said("refs/heads/x", Kind.UPDATE, *rules, forced=True) is None


@pytest.mark.attack(19, 20)
@pytest.mark.parametrize("ref", ["refs/wit/x", "refs/wit", "refs/pull/1/head", "refs/pull/1/merge"])
def test_closed_namespaces(ref: str) -> None:
    for kind in Kind:
        assert said(ref, kind) is not None


@pytest.mark.attack(19)
@pytest.mark.parametrize(
    "ref",
    [
        "HEAD",
        "refs/replace/" + "1" * 40,
        "refs/remotes/origin/main",
        "refs/stash",
        "refs/heads/../../x",
        "refs/heads/a.lock",
        "refs/heads/-x",
        "refs/heads/--exec=x",
        "refs/heads/HEAD",
        "refs/heads/FETCH_HEAD",
        "refs/heads/@",
        "refs/heads/refs/heads/main",
        "refs/tags/refs/x",
        "refs/heads/" + "1" * 40,
        "refs/heads/" + "x" * 251,
        "refs/heads/" + "x/" * 2500,
        "refs/heads/a b",
        "refs/heads/a\x1b[0m",
        b"refs/heads/\xff",
    ],
)
def test_names_that_nobody_may_create(ref: bytes | str) -> None:
    text = said(ref, Kind.CREATE)
    assert text is not None and len(text) < 500
    if not (isinstance(ref, str) and ref.startswith("refs/wit")):
        assert said(ref, Kind.DELETE) is None, "what is there may go"


@pytest.mark.attack(19)
def test_case_twins() -> None:
    existing = [MAIN, "refs/heads/Straße".encode(), "refs/heads/é".encode()]
    created = [b"refs/heads/Main", b"refs/heads/STRASSE", "refs/heads/e\u0301".encode(), b"x", b"X"]
    twins = case_twins(created, existing)
    assert twins == {
        b"refs/heads/Main": MAIN,
        b"refs/heads/STRASSE": existing[1],
        "refs/heads/e\u0301".encode(): existing[2],
        b"X": b"x",
    }
    assert case_twins([MAIN], [MAIN]) == {}
    text = said(b"refs/heads/Main", Kind.CREATE, case_twin=MAIN)
    assert text is not None and "upper and lower case" in text


names = st.text("abAB/.-*?v1é", min_size=1, max_size=12)


@given(name=names, pattern=names, kind=st.sampled_from(Kind), forced=st.booleans())
def test_rules_never_fail_and_only_take_away(
    name: str, pattern: str, kind: Kind, forced: bool
) -> None:
    ref = b"refs/heads/" + name.encode()
    facts = UpdateFacts(ref, kind, is_forced=forced)
    free = judge(facts, "ada", Rules(default_branch="trunk"))
    ruled = Rules((Rule(pattern),), default_branch="trunk")
    reason = judge(facts, "ada", ruled)
    if free is not None:
        assert reason == free
    if reason is not None and free is None:
        assert ruled.covering(ref)
        assert kind is Kind.DELETE or (kind is Kind.UPDATE and forced) or forced


@given(name=st.text("ab/", min_size=1, max_size=8), kind=st.sampled_from(Kind))
def test_ancestry_is_asked_only_when_it_matters(name: str, kind: Kind) -> None:
    ref = b"refs/heads/" + name.encode()
    rules = Rules((Rule("a*"), Rule("b", allow_force_push=True)), default_branch="trunk")
    if not needs_ancestry(ref, kind, rules) and kind is not Kind.CREATE:
        facts = [UpdateFacts(ref, kind, is_forced=forced) for forced in (True, False)]
        assert judge(facts[0], "x", rules) == judge(facts[1], "x", rules)
