"""Terminals on a running daemon: a repository with a sandbox, and the way to it."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from tests.support.site import Site, new_name
from tests.support.websocket import Client
from wit.accounts.sessions import Device
from wit.core import Core
from wit.git.names import parse_full_name


@attrs.define
class Desk:
    """Somebody in front of terminals in the sandbox of a repository."""

    site: Site
    repo_id: str
    session: str
    """A bearer secret."""
    clients: list[Client] = attrs.field(factory=list)

    @property
    def path(self) -> str:
        return f"/api/sandbox/ws/{self.repo_id}"

    def open(self, query: str = "", *, form: str = "wit.term.v1", **options: Any) -> Client:
        headers = {"Authorization": f"Bearer {self.session}"} | options.pop("headers", {})
        client = Client(
            self.site.daemon.http_port,
            f"{self.path}?{query}",
            headers=headers,
            subprotocols=[form] if form else [],
            **options,
        )
        self.clients.append(client)
        return client

    def terminal(self, query: str = "") -> tuple[Client, str]:
        """One that is ready, and its id; skips where sandboxes cannot be had."""
        client = self.open(query)
        client.until(lambda: client.messages or client.closed)
        message = client.messages.pop(0)
        if message["t"] == "error" and message["code"] in ("unavailable", "precondition_failed"):
            pytest.skip(f"no sandboxes here: {message['message']}")
        assert message["t"] == "hello", message
        client.until_message(t="replayed")
        return client, message["id"]

    def close(self) -> None:
        for client in self.clients:
            client.close()


def desk_of(site: Site, person: str = "alice") -> Desk:
    """At a new repository of alice's."""

    async def prepare(core: Core) -> tuple[str, str]:
        full_name = parse_full_name(new_name())
        repo = await core.repos.create(full_name, private=True, object_format="sha1")
        user = await core.users.by_username(person)
        session = await core.identity.sessions.create(user["id"], Device())
        return str(repo["id"]), session.token

    repo_id, session = site.do(prepare)
    return Desk(site, repo_id, session)
