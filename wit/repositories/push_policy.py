"""The rules of a repository, applied to the updates of one push."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select

from wit.access.ref_rules import (
    BRANCHES,
    TAGS,
    Kind,
    Rule,
    Rules,
    UpdateFacts,
    case_twins,
    judge,
    needs_ancestry,
    show,
)
from wit.config import Config
from wit.db.port import Database, Row
from wit.db.tables import branch_protection_rules
from wit.git.command import Git
from wit.git.delta_chains import has_deep_chain, too_deep
from wit.git.push import Quarantine, RefUpdate
from wit.git.pushed_objects import find_oversized, is_ancestor
from wit.git.refname import is_zero
from wit.git.refs import RefReader, RefSnapshot
from wit.runtime import Runtime

MAX_ANCESTRY = 50
"""Protected branches that one push may update; each costs a process."""

REFS_ON_REACTOR = 500
"""Refs, above which names are compared in a thread."""

_RULES = (
    select(branch_protection_rules)
    .where(branch_protection_rules.c.repo_id == bindparam("repo"))
    .execution_options(quick=True)
)


class PushPolicy:
    """Judges pushes; also what web edits and merges will ask."""

    def __init__(
        self, db: Database, git: Git, refs: RefReader, runtime: Runtime, config: Config
    ) -> None:
        self._db = db
        self._git = git
        self._refs = refs
        self._runtime = runtime
        self._config = config.repositories

    async def rules(self, repo: Row) -> Rules:
        """All that holds for the repository of this row."""
        rows = await self._db.fetch_all(_RULES, repo=repo["id"])
        return Rules(
            protected=tuple(rule(row) for row in rows),
            hidden=self._config.hidden_refs,
            read_only=self._config.read_only_refs,
            default_branch=repo["default_branch"],
        )

    async def refusals(
        self, repo: Row, actor_id: str | None, quarantine: Quarantine, updates: Sequence[RefUpdate]
    ) -> dict[bytes, str]:
        """The refs that may not be changed, each with the reason."""
        if (state := closed(repo)) is not None:
            return {update.ref: f"this repository {state}" for update in updates}
        depth = self._config.max_delta_depth
        if quarantine.object_directory and await has_deep_chain(
            self._runtime, quarantine.object_directory, quarantine.repo.object_format, depth
        ):
            return {update.ref: too_deep(depth) for update in updates}
        limit = self._config.max_file_bytes
        oversized = await find_oversized(self._git, self._runtime, quarantine, limit)
        if oversized is not None:
            reason = (
                f"object {oversized.oid} has {oversized.size} bytes; a file may have {limit} here. "
                "Remove it from the commits that you push, or keep it elsewhere"
            )
            return {update.ref: reason for update in updates}
        rules = await self.rules(repo)
        snapshot = await self._refs.snapshot(quarantine.repo)
        twins = await self._case_twins(updates, snapshot)
        refused: dict[bytes, str] = {}
        asked = 0
        for update in updates:
            kind = kind_of(update)
            forced = kind is Kind.UPDATE and update.ref.startswith(TAGS)
            if needs_ancestry(update.ref, kind, rules):
                asked += 1
                if asked > MAX_ANCESTRY:
                    refused[update.ref] = (
                        f"{show(update.ref)}: more than {MAX_ANCESTRY} protected branches in one "
                        "push; push them in smaller groups"
                    )
                    continue
                forced = not await is_ancestor(
                    self._git, self._runtime, quarantine, update.old, update.new
                )
            facts = UpdateFacts(
                ref=update.ref,
                kind=kind,
                is_forced=forced,
                case_twin=twins.get(update.ref),
                same_named_branch=BRANCHES + update.ref.removeprefix(TAGS) in snapshot.by_name,
            )
            reason_or_none = judge(facts, actor_id, rules) or stale(update, snapshot)
            if reason_or_none is not None:
                refused[update.ref] = reason_or_none
        return refused

    async def _case_twins(
        self, updates: Sequence[RefUpdate], snapshot: RefSnapshot
    ) -> dict[bytes, bytes]:
        created = [update.ref for update in updates if kind_of(update) is Kind.CREATE]
        if not created:
            return {}
        if len(created) + len(snapshot.refs) <= REFS_ON_REACTOR:
            return case_twins(created, snapshot.by_name)
        return await self._runtime.in_thread(case_twins, created, snapshot.by_name)


def closed(repo: Row) -> str | None:
    """Why nothing at all can be changed in a repository, in words that follow its name; None: it
    is open."""
    if repo["read_only_reason"]:
        return f"is read-only: {repo['read_only_reason']}"
    if repo["is_archived"]:
        return "is archived: its administrators can open it again in its settings"
    return None


def kind_of(update: RefUpdate) -> Kind:
    if is_zero(update.new):
        return Kind.DELETE
    return Kind.CREATE if is_zero(update.old) else Kind.UPDATE


def stale(update: RefUpdate, snapshot: RefSnapshot) -> str | None:
    """Why an update cannot come true as things are, as git would find out later, less clearly."""
    ref = snapshot.by_name.get(update.ref)
    if ref is not None and ref.symref is not None:
        return f"{show(update.ref)} is another name of {show(ref.symref)}; push to that"
    if ref is None and is_zero(update.new):
        return f"{show(update.ref)} does not exist; there is nothing to delete"
    if ref is None and not is_zero(update.old):
        return f"{show(update.ref)} was deleted meanwhile; fetch first, then push again"
    if ref is not None and ref.oid != update.old:
        return f"{show(update.ref)} was changed by somebody else meanwhile; fetch first"
    return None


def rule(row: Row) -> Rule:
    """From a row of ``branch_protection_rules``."""
    pushers = row["allowed_pushers"]
    return Rule(
        pattern=row["pattern"],
        allow_force_push=row["allow_force_push"],
        allow_deletion=row["allow_deletion"],
        require_pull_request=row["require_pull_request"],
        allowed_pushers=None if pushers is None else frozenset(pushers),
    )
