"""A daemon with people of every kind, and each kind of credential of theirs."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
from twisted.internet import reactor

from tests.operations.world import World, make_world
from tests.support.daemon import PASSWORD, Daemon
from tests.support.site import Person, Run
from wit.access.actor import OAUTH_SCOPES, SCOPES, TOKEN_SCOPES, oauth_scopes, token_scopes
from wit.accounts.sessions import Device
from wit.core import Core
from wit.oauth.scopes import Scopes
from wit.runtime import Runtime

UNLIMITED = {
    f"WIT_LIMITS_{name}": "0"
    for name in (
        "STRICT", "STANDARD", "STANDARD_ANONYMOUS", "RELAXED", "AUTH", "SEARCH", "API",
        "API_ANONYMOUS",
    )
}  # fmt: skip

APP, FRIEND = "https://app.example", "https://friend.example"
"""Pages there may call the API, and sign people in, respectively."""

ORIGINS = {
    "WIT_SERVER_CORS_ORIGINS": f"{APP},*",
    "WIT_ACCOUNTS_TRUSTED_ORIGINS": FRIEND,
}

JSON = {"Content-Type": "application/json"}


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@attrs.define
class Crowd:
    """The people of :mod:`tests.operations.world`, on a daemon without rate limits; alice and
    ``suspended`` have passwords."""

    daemon: Daemon
    world: World
    sessions: dict[str, str]
    """By name: a session, which carries all of the person's power."""
    lacking: dict[tuple[str, str], str]
    """By person (or ``oauth``, an app of alice's) and scope: a token without just that scope."""
    suspended: Person
    suspended_oauth: str
    openid: str
    """An OAuth token of alice's that tells who she is, and nothing else."""
    _connection: http.client.HTTPConnection | None = None
    _used_at: float = 0.0

    def ask(
        self, method: str, path: str, token: str | None = None, body: Any = None, **headers: str
    ) -> Answer:
        """On one connection, which stays; the daemon closes it when it was idle for a minute, so
        an old one is not used again. ``headers``: names with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        data = None
        if body is not None:
            sent, data = {**JSON, **sent}, json.dumps(body).encode()
        if self._connection is not None and time.monotonic() - self._used_at > 30:
            self._connection.close()
            self._connection = None
        self._used_at = time.monotonic()
        if self._connection is None:
            port = self.daemon.http_port
            self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            self._connection.request(method, path, data, sent)
            answer = self._connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        except (http.client.HTTPException, OSError):
            self._connection.close()
            self._connection = None
            raise

    def call(self, name: str, token: str | None = None, /, **values: Any) -> Any:
        """A mutation of tRPC: what it answers, or the code of its error."""
        answer = self.ask("POST", f"/trpc/{name}", token, {"json": values})
        told = answer.json
        if "error" in told:
            return told["error"]["json"]["data"]["code"]
        return told["result"]["data"]["json"]

    def as_(self, person: str, name: str, /, **values: Any) -> Any:
        """:meth:`call` by a person with a session."""
        return self.call(name, self.sessions[person], **values)


def gather(run: Run, folder: Path) -> Iterator[Crowd]:
    """Make the people, start the daemon; when told to go on, stop it."""
    data = folder / "data"
    data.mkdir()
    world: World = run(make_world(Runtime(reactor), data, f"sqlite:///{data / 'wit.db'}"))
    daemon = Daemon(data, environment=UNLIMITED | ORIGINS)
    try:
        daemon.start()
        yield run(_credentials(world, daemon, folder))
    finally:
        run(world.core.close())
        status = daemon.stop()
    assert status == 0, daemon.log()


async def _credentials(world: World, daemon: Daemon, folder: Path) -> Crowd:
    core, ids = world.core, world.user_ids
    app, _ = await core.oauth.apps.create(
        ids["stranger"], name="App", callback_url="https://app.example/back"
    )

    async def oauth(person: str, scopes: Scopes) -> str:
        async with core.db.transaction() as tx:
            row = await core.oauth.authorizations.grant(tx, app["id"], ids[person], scopes)
            made = await core.oauth.tokens.issue(tx, row, core.runtime.new_id(), scopes, scopes)
        return made.access_token

    lacking: dict[tuple[str, str], str] = {}
    for scope in sorted(SCOPES):
        granted = [one for one in TOKEN_SCOPES if scope not in token_scopes(frozenset((one,)))]
        for person in ("alice", "superadmin"):
            _, secret = await core.tokens.create(ids[person], f"no {scope}", granted)
            lacking[person, scope] = secret
        others = [one for one in OAUTH_SCOPES if scope not in oauth_scopes(frozenset((one,)))]
        lacking["oauth", scope] = await oauth("alice", Scopes.of(others))
    await core.users.set_password(ids["alice"], PASSWORD)
    sessions = {
        name: (await core.identity.sessions.create(ids[name], Device())).token
        for name in ids
        if name != "suspended"
    }
    suspended_oauth, suspended = await _suspended(core, ids["suspended"], folder, oauth)
    return Crowd(
        daemon,
        world,
        sessions,
        lacking,
        suspended,
        suspended_oauth,
        await oauth("alice", Scopes.of((), openid=True)),
    )


async def _suspended(core: Core, user_id: str, folder: Path, oauth: Any) -> tuple[str, Person]:
    """What somebody had before the suspension."""
    await core.users.resume(user_id)
    person = await credentials(core, user_id, "suspended", folder)
    app = await oauth("suspended", Scopes.of(OAUTH_SCOPES, openid=True))
    await core.users.set_password(user_id, PASSWORD)
    await core.users.suspend(user_id, "spam")
    return app, person


async def credentials(core: Core, user_id: str, name: str, folder: Path) -> Person:
    """A token for everything, and an SSH key."""
    _, token = await core.tokens.create(user_id, "all", list(TOKEN_SCOPES))
    key = folder / name
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(key)]
    await core.runtime.in_thread(subprocess.check_call, command)
    await core.keys.add(user_id, key.with_suffix(".pub").read_text())
    return Person(name, token, key)
