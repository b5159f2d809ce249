"""One call of a procedure: who calls, from where, and what the gate has let it touch."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs

from wit.access.actor import Actor
from wit.db.port import Row
from wit.streams import ByteSource

if TYPE_CHECKING:
    from wit.core import Core

Granted = TypeVar("Granted")


@attrs.frozen
class Client:
    """Where a call came from."""

    address: str = ""
    user_agent: str = ""
    request_id: str = ""


@attrs.define
class Call:
    """Passed to every procedure as its first argument.

    The gate's answers are attributes that raise when the declaration did not ask for them, so
    that a procedure cannot run on something nobody authorised.
    """

    core: Core
    actor: Actor
    client: Client = Client()
    _repo: Row | None = None
    _org: Row | None = None
    _team: Row | None = None
    _package: Row | None = None
    _body: ByteSource | None = None

    @property
    def user_id(self) -> str:
        """Of a caller who is signed in."""
        if self.actor.user_id is None:
            raise RuntimeError("this procedure's declaration does not ask for a sign-in")
        return self.actor.user_id

    @property
    def user_key(self) -> str:
        """Whose share of the git processes this call takes: as for fetches and pushes."""
        user_id = self.actor.user_id
        return f"addr:{self.client.address}" if user_id is None else f"user:{user_id}"

    @property
    def repo(self) -> Row:
        """The repository that ``access=Repo(...)`` found, as the gate returns it."""
        return _granted(self._repo, "a repository")

    @repo.setter
    def repo(self, row: Row) -> None:
        self._repo = row

    @property
    def org(self) -> Row:
        """The organization that ``access=Org(...)`` found; ``role`` is the caller's, or None."""
        return _granted(self._org, "an organization")

    @org.setter
    def org(self, row: Row) -> None:
        self._org = row

    @property
    def team(self) -> Row:
        """The team that ``access=Org(by="teamId")`` found."""
        return _granted(self._team, "a team")

    @team.setter
    def team(self, row: Row) -> None:
        self._team = row

    @property
    def package(self) -> Row:
        """The package that ``access=Package(...)`` found, as :class:`wit.packages.rights.Rights`
        returns it."""
        return _granted(self._package, "a package")

    @package.setter
    def package(self, row: Row) -> None:
        self._package = row

    @property
    def body(self) -> ByteSource:
        """The request's body, of at most the declaration's ``max_body`` bytes, for a route that
        takes something else than JSON. Raises what :func:`wit.web.middleware.bodies.read_body`
        raises."""
        return _granted(self._body, "a body")

    @body.setter
    def body(self, source: ByteSource) -> None:
        self._body = source


def _granted(found: Granted | None, what: str) -> Granted:
    if found is None:
        raise RuntimeError(f"this procedure's declaration does not ask for {what}")
    return found
