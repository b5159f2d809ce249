"""Who may change which ref: one set of rules for pushes over every door, web edits and merges.

Pure: plain facts in, a reason or None out (attack list, lines 19 and 20).
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Iterable

import attrs

from wit.errors import Invalid
from wit.git.refname import check_refname, matches

BRANCHES = b"refs/heads/"
TAGS = b"refs/tags/"
WRITABLE = (BRANCHES, TAGS, b"refs/notes/")
"""The namespaces in which clients may create refs."""

_MISLEADING = re.compile(rb"@|[A-Z_]*HEAD|[0-9a-f]{40}|[0-9a-f]{64}")
"""Short names that git, or a person, would take for something else."""


class Kind(enum.Enum):
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@attrs.frozen
class Rule:
    """One protection rule of a repository.

    ``pattern`` matches names of branches, or whole names if it begins with ``refs/``.
    ``allowed_pushers`` are user ids; None: everybody who may write.
    """

    pattern: str
    allow_force_push: bool = False
    allow_deletion: bool = False
    require_pull_request: bool = False
    allowed_pushers: frozenset[str] | None = None

    def covers(self, ref: bytes) -> bool:
        if self.pattern.startswith("refs/"):
            return matches(self.pattern, ref)
        return ref.startswith(BRANCHES) and matches(self.pattern, ref.removeprefix(BRANCHES))


@attrs.frozen
class Rules:
    """All that holds for one repository. Of several protection rules the strictest wins."""

    protected: tuple[Rule, ...] = ()
    hidden: tuple[str, ...] = ()
    """Namespaces (``refs/wit``) that clients neither see nor write."""
    read_only: tuple[str, ...] = ()
    """Namespaces that clients see and do not write."""
    default_branch: str = "main"

    def covering(self, ref: bytes) -> list[Rule]:
        return [rule for rule in self.protected if rule.covers(ref)]


@attrs.frozen
class UpdateFacts:
    """One wanted change, and what has to be known about it."""

    ref: bytes
    kind: Kind
    is_forced: bool = False
    """The old value would be lost: not an ancestor of the new one, or a tag that moves."""
    case_twin: bytes | None = None
    """Another ref, there or just being created, whose name differs by case alone."""
    same_named_branch: bool = False
    """For a tag: there is a branch of that name."""
    is_merge: bool = False
    """A pull request is being merged."""


def needs_ancestry(ref: bytes, kind: Kind, rules: Rules) -> bool:
    """Whether ``is_forced`` matters for this change of a branch; finding it out costs a process."""
    return (
        kind is Kind.UPDATE
        and not ref.startswith(TAGS)
        and any(not rule.allow_force_push for rule in rules.covering(ref))
    )


def judge(facts: UpdateFacts, actor_id: str | None, rules: Rules) -> str | None:
    """Why ``actor_id``, who may write to the repository, may not make this change; None: may."""
    return _closed_namespace(facts, rules) or _bad_name(facts) or _protected(facts, actor_id, rules)


def case_twins(created: Iterable[bytes], existing: Iterable[bytes]) -> dict[bytes, bytes]:
    """For each ref to be created the one whose name differs by case (or Unicode form) alone.

    Two such refs cannot be checked out side by side on many people's file systems. The first of
    two in one push has no twin.
    """
    seen: dict[str, bytes] = {}
    wanted: dict[bytes, str] = {}
    twins: dict[bytes, bytes] = {}
    for ref in created:
        folded = wanted[ref] = fold(ref)
        if seen.setdefault(folded, ref) != ref:
            twins[ref] = seen[folded]
    if wanted:
        folds = set(wanted.values())
        found = {folded: ref for ref in existing if (folded := fold(ref)) in folds}
        for ref, folded in wanted.items():
            if found.get(folded, ref) != ref:
                twins[ref] = found[folded]
    return twins


def fold(ref: bytes) -> str:
    return unicodedata.normalize("NFC", ref.decode("utf-8", "surrogateescape")).casefold()


def show(ref: bytes) -> str:
    """A ref as people call it."""
    short = ref.removeprefix(BRANCHES)
    return (short if len(short) < 200 else short[:200] + b"...").decode("utf-8", "replace")


def _closed_namespace(facts: UpdateFacts, rules: Rules) -> str | None:
    for names, what in ((rules.hidden, "reserved for the server"), (rules.read_only, "read-only")):
        for name in names:
            prefix = name.rstrip("/").encode()
            if facts.ref == prefix or facts.ref.startswith(prefix + b"/"):
                return f"{show(facts.ref)}: {name.rstrip('/')}/ is {what}; push to a branch instead"
    return None


def _bad_name(facts: UpdateFacts) -> str | None:
    """A ref that is there already, whatever its name is, may be deleted."""
    if facts.kind is Kind.DELETE:
        return None
    ref = facts.ref
    if not ref.startswith(WRITABLE):
        return (
            f"{show(ref)}: only branches (refs/heads/), tags (refs/tags/) and notes (refs/notes/) "
            "can be pushed"
        )
    try:
        check_refname(ref)
    except Invalid as error:
        return error.message
    if facts.kind is not Kind.CREATE:
        return None
    short = ref.split(b"/", 2)[2]
    if short.startswith(b"refs/") or _MISLEADING.fullmatch(short):
        return f"{show(ref)}: this name would be mistaken for something else; choose another"
    if facts.case_twin is not None:
        return (
            f"{show(ref)}: {show(facts.case_twin)} differs from it by upper and lower case alone; "
            "choose another name"
        )
    return None


def _protected(facts: UpdateFacts, actor_id: str | None, rules: Rules) -> str | None:
    ref, kind, name = facts.ref, facts.kind, show(facts.ref)
    is_default = ref == BRANCHES + rules.default_branch.encode()
    if is_default and kind is Kind.DELETE:
        return (
            f"{name} is the default branch and cannot be deleted; "
            "make another branch the default first"
        )
    if ref.startswith(TAGS) and kind is Kind.CREATE and facts.same_named_branch:
        branch = BRANCHES + ref.removeprefix(TAGS)
        if rules.covering(branch):
            return (
                f"{name} would hide the protected branch {show(branch)} of the same name; "
                "choose another name for the tag"
            )
    covering = rules.covering(ref)
    if any(r.allowed_pushers is not None and actor_id not in r.allowed_pushers for r in covering):
        return (
            f"{name} is protected: you are not among those who may push to it; "
            "push to another branch and open a pull request, or ask an administrator"
        )
    if kind is Kind.DELETE:
        if any(not rule.allow_deletion for rule in covering):
            return (
                f"{name} is protected: it cannot be deleted; "
                "ask an administrator of the repository to change the rule"
            )
        return None
    if any(rule.require_pull_request for rule in covering) and not (
        facts.is_merge or (is_default and kind is Kind.CREATE)
    ):
        return (
            f"{name} is protected: it changes through pull requests only; "
            "push to another branch and open a pull request"
        )
    if facts.is_forced and any(not rule.allow_force_push for rule in covering):
        return (
            f"{name} is protected: force-push is not allowed; push a new commit on top, "
            "or ask an administrator of the repository"
        )
    return None
