"""The rules that protect branches, one by one; and what they say about a change before it is made.

The answers come from the engine that judges pushes (:mod:`wit.access.ref_rules`), so that nobody
is promised what the push then refuses.
"""

from __future__ import annotations

from typing import Any

import attrs
from sqlalchemy import bindparam, delete, insert, select, update

from wit.access.actor import Actor, Level
from wit.access.ref_rules import BRANCHES, Kind, Rules, UpdateFacts, case_twins, judge
from wit.db.port import Connection, Database, ForeignKeyViolation, Row, UniqueViolation
from wit.db.tables import branch_protection_rules as rules
from wit.errors import Conflict, NotFound
from wit.git.refname import check_pattern
from wit.git.refs import RefReader
from wit.repositories.manager import RepoManager
from wit.repositories.push_policy import PushPolicy, closed, rule
from wit.repositories.rows import lock_repository
from wit.runtime import Runtime

MAX_RULES = 200
"""Of one repository; each push looks at all of them."""

_OF_REPO = rules.c.repo_id == bindparam("repo")
_LIST = select(rules).where(_OF_REPO).order_by(rules.c.pattern)
_ONE = select(rules).where(_OF_REPO, rules.c.id == bindparam("id"))
_LOCKED = _ONE.with_for_update()
_INSERT = insert(rules)
_CHANGE = (
    update(rules)
    .where(_OF_REPO, rules.c.id == bindparam("rule"))
    .values(
        {
            name: bindparam(f"new_{name}")
            for name in (
                "pattern",
                "require_pull_request",
                "required_reviewers",
                "require_status_checks",
                "required_status_checks",
                "allow_force_push",
                "allow_deletion",
                "updated_at",
            )
        }
    )
)
_DELETE = delete(rules).where(_OF_REPO, rules.c.id == bindparam("rule"))


@attrs.frozen
class Forecast:
    """Whether a change of a branch would be allowed."""

    reason: str | None
    """Why not; None: it would."""
    rule_id: str | None
    """The rule that is in the way, if one is."""


class BranchProtection:
    """The caller has asked the gate. Rows are those of ``branch_protection_rules``."""

    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        *,
        policy: PushPolicy,
        refs: RefReader,
        manager: RepoManager,
    ) -> None:
        self._db = db
        self._runtime = runtime
        self._policy = policy
        self._refs = refs
        self._manager = manager

    async def list(self, repo_id: str) -> list[Row]:
        """By pattern."""
        return await self._db.fetch_all(_LIST, repo=repo_id)

    async def get(self, repo_id: str, rule_id: str) -> Row:
        """Raises NotFound, also for another repository's rule."""
        return _found(await self._db.fetch_one(_ONE, repo=repo_id, id=rule_id))

    async def create(self, repo_id: str, pattern: str, **values: Any) -> Row:
        """A new rule; ``values`` are columns. Raises Invalid for what is no pattern, Conflict if
        there is a rule for it or there are MAX_RULES, NotFound."""
        check_pattern(pattern)
        now = self._runtime.now()
        rule_id = self._runtime.new_id()
        try:
            async with self._db.transaction() as tx:
                await lock_repository(tx, repo_id)
                if len(await tx.fetch_all(_LIST, repo=repo_id)) >= MAX_RULES:
                    raise Conflict(f"a repository has at most {MAX_RULES} protection rules")
                await tx.execute(
                    _INSERT,
                    id=rule_id,
                    repo_id=repo_id,
                    pattern=pattern,
                    created_at=now,
                    updated_at=now,
                    **values,
                )
        except UniqueViolation:
            raise _exists(pattern) from None
        except ForeignKeyViolation:
            raise NotFound("repository not found") from None
        return await self.get(repo_id, rule_id)

    async def change(self, repo_id: str, rule_id: str, **values: Any) -> Row:
        """``values`` are columns; the others stay. Raises Invalid, NotFound, Conflict."""
        if "pattern" in values:
            check_pattern(values["pattern"])
        try:
            async with self._db.transaction() as tx:
                await self._change(tx, repo_id, rule_id, values)
        except UniqueViolation:
            raise _exists(values["pattern"]) from None
        return await self.get(repo_id, rule_id)

    async def _change(
        self, tx: Connection, repo_id: str, rule_id: str, values: dict[str, Any]
    ) -> None:
        row = _found(await tx.fetch_one(_LOCKED, repo=repo_id, id=rule_id))
        new = {**row, **values, "updated_at": self._runtime.now()}
        kept = ("id", "repo_id", "created_at", "allowed_pushers")
        await tx.execute(
            _CHANGE,
            repo=repo_id,
            rule=rule_id,
            **{f"new_{name}": value for name, value in new.items() if name not in kept},
        )

    async def delete(self, repo_id: str, rule_id: str) -> None:
        """Raises NotFound, also for another repository's rule."""
        if not await self._db.execute(_DELETE, repo=repo_id, rule=rule_id):
            raise _no_rule()

    async def covering(self, repo_id: str, branch: str) -> Row | None:
        """The rule that speaks of the branch most exactly: by its name, or the longest pattern.

        All rules that cover a branch count together; this is the one to show.
        """
        ref = _ref(branch)
        found = [row for row in await self.list(repo_id) if rule(row).covers(ref)]
        return max(
            found, key=lambda row: (row["pattern"] == branch, len(row["pattern"])), default=None
        )

    async def forecast(
        self,
        actor: Actor,
        repo: Row,
        branch: str,
        *,
        is_forced: bool = False,
        is_deletion: bool = False,
        is_merge: bool = False,
    ) -> Forecast:
        """What a push of the branch by ``actor`` would be told. ``repo`` is the gate's row."""
        if repo["level"] < Level.WRITE:
            return Forecast("you have no write access to this repository", None)
        if (state := closed(repo)) is not None:
            return Forecast(f"this repository {state}", None)
        snapshot = await self._refs.snapshot(self._manager.bare(repo))
        ref = _ref(branch)
        kind = Kind.UPDATE if ref in snapshot.by_name else Kind.CREATE
        if is_deletion:
            kind = Kind.DELETE
        created = [ref] if kind is Kind.CREATE else []
        twins = await self._runtime.in_thread(case_twins, created, snapshot.by_name)
        facts = UpdateFacts(
            ref=ref,
            kind=kind,
            is_forced=is_forced and kind is Kind.UPDATE,
            case_twin=twins.get(ref),
            is_merge=is_merge,
        )
        all_rules = await self._policy.rules(repo)
        reason = judge(facts, actor.user_id, all_rules)
        if reason is None:
            return Forecast(None, None)
        return Forecast(reason, await self._in_the_way(actor, repo, facts, all_rules, reason))

    async def _in_the_way(
        self, actor: Actor, repo: Row, facts: UpdateFacts, all_rules: Rules, reason: str
    ) -> str | None:
        """The first rule that alone gives the same reason; None if no rule is needed for it."""
        if judge(facts, actor.user_id, attrs.evolve(all_rules, protected=())) == reason:
            return None
        for row in await self.list(repo["id"]):
            alone = attrs.evolve(all_rules, protected=(rule(row),))
            if judge(facts, actor.user_id, alone) == reason:
                found: str = row["id"]
                return found
        return None


def _ref(branch: str) -> bytes:
    return BRANCHES + branch.encode("utf-8", "surrogatepass")


def _found(row: Row | None) -> Row:
    if row is None:
        raise _no_rule()
    return row


def _no_rule() -> NotFound:
    return NotFound("protection rule not found")


def _exists(pattern: str) -> Conflict:
    return Conflict(f"there is a rule for {pattern[:80]!r} already; change that one")
