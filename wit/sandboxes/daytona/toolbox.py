"""The toolbox of one sandbox: its processes, sessions, terminals and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import IO, Any
from urllib.parse import quote

import attrs

from wit.sandboxes.daytona.scripts import script
from wit.sandboxes.daytona.wire import SECONDS, Refused, Wire
from wit.sandboxes.provider import TerminalSize
from wit.streams import ByteSource

INPUT_SECONDS = 3600.0
"""Input waits in the daemon until the command takes it."""

TRANSFER_SECONDS = 1800.0


@attrs.frozen
class Toolbox:
    """All methods raise Refused, with 404 also when the sandbox itself is gone, and Unavailable."""

    wire: Wire
    url: str
    """Its address, without a slash at its end."""
    key: str = attrs.field(repr=False)

    # processes

    async def run(self, text: str, *arguments: str, seconds: float = SECONDS) -> tuple[int, str]:
        """A script to its end: exit code, and what it printed."""
        body = {"command": script(text, *arguments), "timeout": int(seconds)}
        answer = await self._json("POST", "process/execute", body, seconds + 5)
        if not isinstance(answer, dict) or not isinstance(answer.get("exitCode"), int):
            raise Refused(502, "no exit code")
        return answer["exitCode"], str(answer.get("result") or "")

    # sessions

    async def new_session(self, session: str) -> None:
        await self._json("POST", "process/session", {"sessionId": session})

    async def start_in_session(self, session: str, text: str) -> str:
        """Start a shell text; the id of the command."""
        body = {"command": text, "runAsync": True, "suppressInputEcho": True}
        answer = await self._json("POST", f"process/session/{_safe(session)}/exec", body)
        command = answer.get("cmdId") if isinstance(answer, dict) else None
        if not isinstance(command, str) or not command:
            raise Refused(502, "no id of the command")
        return command

    async def send_input(self, session: str, command: str, data: str) -> None:
        path = f"{_of_command(session, command)}/input"
        await self._json("POST", path, {"data": data}, INPUT_SECONDS)

    async def exit_code(self, session: str, command: str) -> int | None:
        """None while it runs."""
        answer = await self._json("GET", _of_command(session, command))
        code = answer.get("exitCode") if isinstance(answer, dict) else None
        return code if isinstance(code, int) else None

    def log_url(self, session: str, command: str) -> str:
        return f"{self.url}/{_of_command(session, command)}/logs?follow=true"

    async def end_session(self, session: str) -> None:
        await self._json("DELETE", f"process/session/{_safe(session)}")

    # terminals

    async def new_terminal(self, terminal: str, size: TerminalSize, env: Mapping[str, str]) -> None:
        body = {
            "id": terminal,
            "cwd": "/",
            "envs": dict(env),
            "cols": size.columns,
            "rows": size.rows,
        }
        await self._json("POST", "process/pty", body)

    def terminal_url(self, terminal: str) -> str:
        return f"{self.url}/process/pty/{_safe(terminal)}/connect"

    async def resize(self, terminal: str, size: TerminalSize) -> None:
        body = {"cols": size.columns, "rows": size.rows}
        await self._json("POST", f"process/pty/{_safe(terminal)}/resize", body)

    async def end_terminal(self, terminal: str) -> None:
        await self._json("DELETE", f"process/pty/{_safe(terminal)}")

    # files

    async def info(self, path: str) -> dict[str, Any]:
        answer = await self._json("GET", "files/info", query={"path": path})
        if not isinstance(answer, dict):
            raise Refused(502, "no file information")
        return answer

    async def download(self, path: str) -> ByteSource:
        return await self.wire.stream(f"{self.url}/files/download", self.key, {"path": path})

    async def upload(self, path: str, file: IO[bytes]) -> None:
        url = f"{self.url}/files/bulk-upload"
        await self.wire.send_file(url, self.key, path, file, TRANSFER_SECONDS)

    async def _json(
        self,
        method: str,
        path: str,
        body: object = None,
        seconds: float = SECONDS,
        query: Mapping[str, str] | None = None,
    ) -> Any:
        url = f"{self.url}/{path}"
        return await self.wire.json(method, url, self.key, query=query, body=body, seconds=seconds)


def _safe(name: str) -> str:
    return quote(name, safe="")


def _of_command(session: str, command: str) -> str:
    return f"process/session/{_safe(session)}/command/{_safe(command)}"
