"""One request to the auth door: its body, its session, and the cookies of its answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
from pydantic import BaseModel, ConfigDict, ValidationError

from wit.accounts.identity import Identity
from wit.accounts.sessions import LIFETIME, Device, Session
from wit.web.cookies import DONT_REMEMBER, SESSION, SESSION_DATA, AuthCookies
from wit.web.origins import TrustedOrigins
from wit.web.routes.auth.errors import AuthError, NotSignedIn, invalid_callback
from wit.web.routes.auth.session_data import SECONDS, session_data
from wit.web.streaming import Request

LIFETIME_SECONDS = int(LIFETIME.total_seconds())


class Body(BaseModel):
    """Base of request bodies: nothing is converted, what is not known is dropped."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


T = TypeVar("T", bound=Body)


@attrs.frozen
class Redirect:
    """An answer that sends the browser on. ``location`` has been checked or is ours."""

    location: str


@attrs.define(eq=False)
class Exchange:
    """What a handler of the door works with."""

    identity: Identity
    cookies: AuthCookies
    origins: TrustedOrigins
    public_url: str
    request: Request
    path: Mapping[str, str]
    """The path's parameters."""
    query: Mapping[str, str]
    data: Any
    """The body, as JSON has it; None without one."""
    _session: Session | None = None
    _looked: bool = False

    @property
    def device(self) -> Device:
        return Device(self.request.address, self.request.header(b"User-Agent") or "")

    def body(self, model: type[T]) -> T:
        """The body as ``model``. Raises AuthError."""
        try:
            return model.model_validate({} if self.data is None else self.data)
        except ValidationError as error:
            said = "; ".join(
                f"[{'.'.join(('body', *map(str, issue['loc'])))}] {issue['msg']}"
                for issue in error.errors(include_url=False, include_input=False)
            )
            raise AuthError(400, said[:1000], "VALIDATION_ERROR") from None

    def check_return(self, address: str | None, what: str = "callbackURL") -> None:
        """Raises AuthError for an address that people must not be sent to."""
        if address and not self.origins.may_return_to(address):
            raise invalid_callback(what)

    # the session

    async def session(self) -> Session | None:
        """The caller's, by its cookie."""
        if not self._looked:
            self._looked = True
            token = self.cookies.signed(self.request, SESSION)
            if token is not None:
                self._session = await self.identity.sessions.find(token)
            if self._session is not None:
                self.request.actor_name = str(self._session.user["username"])
        return self._session

    async def signed_in(self) -> Session:
        """Raises NotSignedIn."""
        session = await self.session()
        if session is None:
            raise NotSignedIn
        return session

    def begin(self, session: Session) -> None:
        """Have the browser keep the session."""
        max_age = LIFETIME_SECONDS if session.remember else None
        self.cookies.set(self.request, SESSION, session.token, max_age)
        if not session.remember:
            self.cookies.set(self.request, DONT_REMEMBER, "true", None)
        self.tell(session)
        self.request.actor_name = str(session.user["username"])
        self._session, self._looked = session, True

    def tell(self, session: Session) -> None:
        """Write ``session_data``."""
        value = session_data(session, self.cookies.signer, self.identity.runtime.now())
        if value is None:
            self.cookies.delete(self.request, SESSION_DATA)
        else:
            max_age = SECONDS if session.remember else None
            self.cookies.set_plain(self.request, SESSION_DATA, value, max_age)

    def end(self) -> None:
        """Have the browser forget the session."""
        self.cookies.delete(self.request, SESSION, SESSION_DATA, DONT_REMEMBER)
        self._session, self._looked = None, True
