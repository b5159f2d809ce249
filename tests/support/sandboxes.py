"""Sandboxes of a running daemon, from outside: its public API, with alice's token."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs

from tests.support import site as sites_
from tests.support.daemon import PASSWORD, Daemon, git
from tests.support.site import Run, Site, make_work
from wit.core import Core

ENVIRONMENT = {
    **{f"WIT_LIMITS_{name}": "0" for name in ("STANDARD", "STRICT", "API")},
    "WIT_SANDBOXES_PROVIDER": "local",
    "WIT_SANDBOXES_MAX_PER_USER": "2",
}
REPO = "alice/boxed"

CONFLICT = 422
"""Status of a conflict in the public API, which has no 409."""


@attrs.frozen
class Boxes:
    site: Site
    tokens: dict[str, str]

    def ask(self, method: str, path: str, body: Any = None, who: str = "alice") -> tuple[int, Any]:
        """Status and answer."""
        headers = {"Authorization": f"Bearer {self.tokens[who]}"}
        data = None
        if body is not None:
            headers["Content-Type"], data = "application/json", json.dumps(body).encode()
        status, _, text = self.site.daemon.get(f"api/v1/{path}", headers, method, data)
        return status, json.loads(text)

    def create(self, **wishes: Any) -> dict[str, Any]:
        status, made = self.ask("POST", f"repos/{REPO}/sandboxes", wishes)
        assert status == 201, made
        return dict(made)

    def get(self, sandbox: str) -> dict[str, Any]:
        status, found = self.ask("GET", f"sandboxes/{sandbox}")
        assert status == 200, found
        return dict(found)

    def sh(self, sandbox: str, script: str) -> str:
        """What a script says, which must succeed."""
        status, done = self.ask(
            "POST", f"sandboxes/{sandbox}/exec", {"argv": ["sh", "-ec", script]}
        )
        assert status == 200 and done["code"] == 0, done
        return str(done["stdout"])

    def destroy(self, sandbox: str) -> None:
        assert self.ask("DELETE", f"sandboxes/{sandbox}")[0] == 200

    def all(self) -> list[dict[str, Any]]:
        return list(self.ask("GET", "sandboxes")[1])


@contextmanager
def open_boxes(
    run: Run,
    folder: Path,
    environment: dict[str, str] | None = None,
    python: Sequence[str] = (),
) -> Iterator[Boxes]:
    """A daemon with sandboxes on this machine, and a repository with some files."""
    known = {**ENVIRONMENT, **(environment or {})}
    daemon = Daemon(folder / "data", environment=known, python=python)
    with contextmanager(sites_.open_site)(daemon, folder, run) as site:
        work = make_work(folder / "work")
        git(
            "push", "-q", daemon.url(REPO, "alice", PASSWORD), "HEAD:main", cwd=work
        )  # which makes it

        async def tokens(core: Core) -> dict[str, str]:
            made = {}
            for name in ("alice", "bob"):
                user = await core.users.by_username(name)
                scopes = ["sandbox", "repo:read", "repo:write"]
                made[name] = (await core.tokens.create(user["id"], "sandboxes", scopes))[1]
            return made

        yield Boxes(site, site.do(tokens))
