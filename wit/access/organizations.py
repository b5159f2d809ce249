"""The gate of organizations: which role a caller has in one.

Organizations are public things: their names, members and teams may be read by everybody (contract,
trpc-notes.md). What needs a role asks here, in one step with finding the organization.
"""

from __future__ import annotations

from sqlalchemy import and_, bindparam, select

from wit.access.actor import Actor, OrgRole, Origin
from wit.db.port import Database, Row
from wit.db.tables import namespaces, org_members, organizations, teams
from wit.errors import Forbidden, NotFound, Unauthorized

_ROLES = {"member": OrgRole.MEMBER, "admin": OrgRole.ADMIN, "owner": OrgRole.OWNER}

_WITH_ROLE = select(organizations, org_members.c.role.label("_role")).join_from(
    organizations,
    org_members,
    and_(
        org_members.c.org_id == organizations.c.id,
        org_members.c.user_id == bindparam("user"),
    ),
    isouter=True,
)
_BY_ID = _WITH_ROLE.where(organizations.c.id == bindparam("id"))
_BY_NAME = _WITH_ROLE.join(namespaces, namespaces.c.owner_id == organizations.c.id).where(
    namespaces.c.name_key == bindparam("key")
)
_TEAM = select(teams).where(teams.c.id == bindparam("id"))


class OrgGate:
    """Finds organizations and authorises in one step.

    Each row has the columns of ``organizations`` and ``role``, the caller's OrgRole or None.
    ``needed`` None: being signed in is enough. Raises NotFound, Unauthorized, Forbidden.
    """

    def __init__(self, db: Database) -> None:
        self._db = db

    async def by_id(self, actor: Actor, org_id: str, needed: OrgRole | None) -> Row:
        found = await self._db.fetch_one(_BY_ID, id=org_id, user=actor.user_id or "")
        return _judge(actor, found, needed)

    async def by_name(self, actor: Actor, name: str, needed: OrgRole | None) -> Row:
        found = await self._db.fetch_one(_BY_NAME, key=name.lower(), user=actor.user_id or "")
        return _judge(actor, found, needed)

    async def of_team(self, actor: Actor, team_id: str, needed: OrgRole | None) -> tuple[Row, Row]:
        """The organization of a team, and the team."""
        team = await self._db.fetch_one(_TEAM, id=team_id)
        if team is None:
            raise NotFound("team not found")
        return await self.by_id(actor, team["org_id"], needed), team


def _judge(actor: Actor, found: Row | None, needed: OrgRole | None) -> Row:
    if actor.anonymous:
        raise Unauthorized("sign in to do this")
    if found is None:
        raise NotFound("organization not found")
    role = _ROLES.get(found["_role"])
    if actor.origin is Origin.CLI:
        role = OrgRole.OWNER
    if needed is not None and (role is None or role < needed):
        raise Forbidden(f"only an {needed.name.lower()} of {found['name']} may do this")
    row = {key: value for key, value in found.items() if key != "_role"}
    return {**row, "role": role}
