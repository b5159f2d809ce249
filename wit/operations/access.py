"""What a caller must be to call a procedure: part of every declaration, checked in one place.

An access requirement is asked twice: ``admit`` before the input is looked at (an anonymous caller
of a protected procedure learns nothing about its input), ``authorise`` with the input, when a
repository or an organization decides. What was authorised (``call.repo``, ``call.org``) is what the
procedure works on, so that it cannot look at one thing and change another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from wit.access.actor import SCOPES, Actor, Level, OrgRole
from wit.errors import Forbidden, Unauthorized
from wit.git.names import repo_from_path
from wit.packages.names import parse_name
from wit.packages.rights import READ_SCOPE, WRITE_SCOPE, Act

if TYPE_CHECKING:
    from wit.operations.call import Call

SIGN_IN = "sign in to do this"


class Access(Protocol):
    """One requirement."""

    @property
    def scope(self) -> str | None:
        """The scope that a token needs; None: no scope is asked for."""
        ...

    def admit(self, actor: Actor) -> None:
        """Raises Unauthorized, Forbidden."""
        ...

    async def authorise(self, call: Call, values: Any) -> None:
        """``values`` is the validated input. Raises Unauthorized, Forbidden, NotFound."""
        ...

    def describe(self) -> str:
        """A line for the documents: who may."""
        ...


@attrs.frozen
class Public:
    """Everybody. What a procedure shows of private things it filters itself, by the gate."""

    scope: str | None = attrs.field(default=None, init=False)

    def admit(self, actor: Actor) -> None:
        return None

    async def authorise(self, call: Call, values: Any) -> None:
        return None

    def describe(self) -> str:
        return "everybody"


@attrs.frozen
class SignedIn:
    """A signed-in user acting for itself; a token needs ``scope``.

    ``scope`` None: no token is good enough, only the user in person (password or session), as for
    making further credentials.
    """

    scope: str | None = attrs.field(
        validator=attrs.validators.optional(attrs.validators.in_(SCOPES))
    )

    def admit(self, actor: Actor) -> None:
        if actor.anonymous:
            raise Unauthorized(SIGN_IN)
        if self.scope is None:
            if actor.scopes is not None:
                raise Forbidden("this cannot be done with a token; sign in with your password")
        else:
            need_scope(actor, self.scope)

    async def authorise(self, call: Call, values: Any) -> None:
        return None

    def describe(self) -> str:
        return "signed in" if self.scope else "signed in, not by a token"


@attrs.frozen
class Administrator:
    """An administrator of the site (``superior``: a superadmin), in person or with a personal
    access token for everything; an OAuth app never is."""

    superior: bool = False
    scope: str | None = attrs.field(default="repo:admin", init=False)

    def admit(self, actor: Actor) -> None:
        if actor.anonymous:
            raise Unauthorized(SIGN_IN)
        if not (actor.is_superadmin if self.superior else actor.is_admin):
            who = "superadmins" if self.superior else "administrators"
            raise Forbidden(f"only {who} may do this")

    async def authorise(self, call: Call, values: Any) -> None:
        return None

    def describe(self) -> str:
        return "superadmin" if self.superior else "administrator"


@attrs.frozen
class Repo:
    """A level on one repository, which becomes ``call.repo``.

    ``by`` names the input's fields: ``owner/repo``, or one field with the repository's id.
    ``signed_in``: even where a public repository would do for anybody; a token needs the scope for
    public ones, too, because the act is in the user's name. ``scope``: what a token
    needs, if the contract asks for another one than the level's.
    """

    level: Level
    by: str = "owner/repo"
    signed_in: bool = False
    scope: str = attrs.field(validator=attrs.validators.in_(SCOPES))

    @scope.default
    def _scope_of_the_level(self) -> str:
        return self.level.scope

    def admit(self, actor: Actor) -> None:
        if actor.anonymous and (self.signed_in or self.level > Level.READ):
            raise Unauthorized(SIGN_IN)
        if self.signed_in:
            need_scope(actor, self.scope)

    async def authorise(self, call: Call, values: Any) -> None:
        first, _, second = self.by.partition("/")
        if second:
            name = repo_from_path(f"{getattr(values, first)}/{getattr(values, second)}")
            call.repo = await call.core.gate.repository(call.actor, name, self.level, self.scope)
        else:
            repo_id = getattr(values, first)
            call.repo = await call.core.gate.repository_by_id(
                call.actor, str(repo_id), self.level, self.scope
            )

    def describe(self) -> str:
        who = f"{self.level.name.lower()} access to the repository"
        return f"signed in, {who}" if self.signed_in else who


@attrs.frozen
class Org:
    """A role in one organization, which becomes ``call.org``; ``by`` names the input's field.

    ``or_self`` names a field with a user id: that user may, too.
    """

    role: OrgRole
    by: str = "orgId"
    or_self: str | None = None

    @property
    def scope(self) -> str | None:
        return "org:write"

    def admit(self, actor: Actor) -> None:
        if actor.anonymous:
            raise Unauthorized(SIGN_IN)
        need_scope(actor, "org:write")

    async def authorise(self, call: Call, values: Any) -> None:
        needed: OrgRole | None = self.role
        if self.or_self is not None and getattr(values, self.or_self) == call.actor.user_id:
            needed = None
        found = str(getattr(values, self.by))
        if self.by == "orgId":
            call.org = await call.core.org_gate.by_id(call.actor, found, needed)
        elif self.by == "teamId":
            call.org, call.team = await call.core.org_gate.of_team(call.actor, found, needed)
        else:
            call.org = await call.core.org_gate.by_name(call.actor, found, needed)

    def describe(self) -> str:
        who = f"{self.role.name.lower()} of the organization"
        return f"{who}, or the user concerned" if self.or_self else who


@attrs.frozen
class Package:
    """What one may do with a package, which becomes ``call.package``.

    ``by`` names the input's fields: one with the package's id, ``fullName``, or ``scope/name``.
    Changing needs the scope ``packages:write``; a token without ``packages:read`` sees what
    everybody sees.
    """

    act: Act
    by: str = "packageId"

    @property
    def scope(self) -> str | None:
        return READ_SCOPE if self.act is Act.SEE else WRITE_SCOPE

    def admit(self, actor: Actor) -> None:
        if self.act > Act.SEE:
            if actor.anonymous:
                raise Unauthorized(SIGN_IN)
            need_scope(actor, WRITE_SCOPE)

    async def authorise(self, call: Call, values: Any) -> None:
        rights = call.core.packages.rights
        first, _, second = self.by.partition("/")
        found = getattr(values, first)
        if second:
            plain = getattr(values, second)
            name = parse_name(plain if found is None else f"@{found}/{plain}")
            call.package = await rights.see(call.actor, name, self.act)
        elif first == "fullName":
            call.package = await rights.see(call.actor, parse_name(found), self.act)
        else:
            call.package = await rights.by_id(call.actor, str(found), self.act)

    def describe(self) -> str:
        return {
            Act.SEE: "who may see the package",
            Act.PUBLISH: "maintainers of the package, and who may write to its repository",
            Act.MANAGE: "maintainers of the package, and owners of its repository",
            Act.OWN: "owners of the package's repository",
        }[self.act]


def need_scope(actor: Actor, scope: str) -> None:
    """Raises Forbidden if ``actor`` came with a token that lacks ``scope``."""
    if not actor.has_scope(scope):
        raise Forbidden(f"this token lacks the scope {scope}")
