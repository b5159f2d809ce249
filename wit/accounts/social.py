"""Signing in with GitHub: there, and back again (contract, auth.md).

The state is a one-time secret that the browser must hold in a signed cookie as well, so that
nobody can have another person's browser finish a sign-in that they began.
"""

from __future__ import annotations

import hmac
import json
from datetime import timedelta

import attrs
from twisted.logger import Logger

from wit.accounts.github import GitHub, Granted, Person, Refused
from wit.accounts.linked import AlreadyLinked, LinkedAccounts
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.profiles import LIMITS, Profiles
from wit.accounts.sessions import Device, Session, Sessions
from wit.accounts.sign_up import NewAccount, SignUp, SignUpClosed
from wit.accounts.users import random_text
from wit.db.port import Connection
from wit.errors import Unavailable, WitError
from wit.runtime import Runtime

KIND = "social"
LIFETIME = timedelta(minutes=10)
STATE_LENGTH = 32
VERIFIER_LENGTH = 128
"""RFC 7636, section 4.1: 43 to 128 characters."""


class SocialFailed(WitError):
    """Nobody was signed in. ``reason`` is a word for the page that the person is sent to."""

    code = "unauthorized"

    def __init__(self, reason: str) -> None:
        super().__init__(f"signing in with GitHub failed: {reason}")
        self.reason = reason


@attrs.frozen
class Journey:
    """What we have to know when the person comes back. The addresses have been checked."""

    return_to: str
    on_error: str = ""
    when_new: str = ""
    link_to: str | None = None
    """The user who connects an account, instead of signing in."""
    verifier: str = attrs.field(default="", repr=False)


@attrs.frozen
class Arrival:
    return_to: str
    session: Session | None
    """None when an account was connected."""


class Social:
    log = Logger()

    def __init__(
        self,
        runtime: Runtime,
        *,
        github: GitHub,
        linked: LinkedAccounts,
        one_time: OneTimeSecrets,
        profiles: Profiles,
        sessions: Sessions,
        sign_up: SignUp,
    ) -> None:
        self.github = github
        self._runtime = runtime
        self._linked = linked
        self._one_time = one_time
        self._profiles = profiles
        self._sessions = sessions
        self._sign_up = sign_up

    async def begin(self, journey: Journey) -> tuple[str, str]:
        """Where to send the person, and the state for the cookie."""
        verifier = random_text(self._runtime, VERIFIER_LENGTH)
        value = json.dumps(attrs.asdict(attrs.evolve(journey, verifier=verifier)))
        state = await self._one_time.create(KIND, value, LIFETIME, STATE_LENGTH)
        return self.github.address(state, verifier), state

    async def recall(self, state: str, cookie: str | None) -> Journey:
        """What a state stands for, once, in the browser that has it in its cookie.

        Raises SocialFailed.
        """
        if not state:
            raise SocialFailed("state_not_found")
        if await self._one_time.look(KIND, state) is None:
            raise SocialFailed("please_restart_the_process")
        if cookie is None or not hmac.compare_digest(cookie.encode(), state.encode()):
            raise SocialFailed("state_mismatch")
        value = await self._one_time.take(KIND, state)
        if value is None:
            raise SocialFailed("please_restart_the_process")
        return Journey(**json.loads(value))

    async def arrive(self, journey: Journey, code: str, error: str, device: Device) -> Arrival:
        """``code`` or ``error`` is what GitHub says. Raises SocialFailed."""
        if error or not code:
            raise SocialFailed(error or "no_code")
        granted, person = await self._ask_github(code, journey.verifier)
        if journey.link_to is not None:
            try:
                await self._linked.connect(journey.link_to, person, granted)
            except AlreadyLinked:
                raise SocialFailed("account_already_linked_to_different_user") from None
            return Arrival(journey.return_to, None)
        user_id, new = await self._user(person, granted)
        user = await self._profiles.get(user_id)
        if user["suspended"]:
            raise SocialFailed("account_suspended")
        session = await self._sessions.create(user_id, device)
        return Arrival(journey.when_new if new and journey.when_new else journey.return_to, session)

    async def _ask_github(self, code: str, verifier: str) -> tuple[Granted, Person]:
        try:
            granted = await self.github.exchange(code, verifier)
        except (Refused, Unavailable) as error:
            self.log.warn("GitHub gave no token: {reason}", reason=str(error))
            raise SocialFailed("invalid_code") from None
        try:
            person = await self.github.person(granted.token)
        except (Refused, Unavailable) as error:
            self.log.warn("GitHub gave no profile: {reason}", reason=str(error))
            raise SocialFailed("unable_to_get_user_info") from None
        return granted, person

    async def _user(self, person: Person, granted: Granted) -> tuple[str, bool]:
        """Who the person is here, and whether that is new."""
        known = await self._linked.owner(person)
        if known is not None:
            await self._linked.connect(known, person, granted)
            return known, False
        if not person.email:
            raise SocialFailed("email_not_found")
        user = await self._profiles.by_email(person.email)
        if user is None:
            return await self._register(person, granted), True
        # Both sides must have proved the address: else whoever made an account here with somebody
        # else's address would get that person's GitHub sign-in, or the other way round.
        if not (person.email_verified and user["email_verified"]):
            raise SocialFailed("account_not_linked")
        await self._linked.connect(user["id"], person, granted)
        return str(user["id"]), False

    async def _register(self, person: Person, granted: Granted) -> str:
        async def link(tx: Connection, user_id: str) -> None:
            await self._linked.link(tx, user_id, person, granted)

        profile = {"image": person.picture, "avatar_url": person.picture, "bio": person.bio}
        new = NewAccount(
            email=person.email,
            name=" ".join(person.name.split())[: LIMITS["name"]],
            username=await self._sign_up.free_name(person.login),
            profile={key: text[: LIMITS[key]] for key, text in profile.items() if text},
            verified=person.email_verified,
        )
        try:
            user = await self._sign_up.register_linked(new, link)
        except SignUpClosed:
            raise SocialFailed("signup_disabled") from None
        except WitError as error:
            self.log.warn("no account for a GitHub user: {reason}", reason=error.message)
            raise SocialFailed("unable_to_create_user") from None
        return str(user["id"])
