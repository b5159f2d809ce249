"""A GitHub on a loopback port: its OAuth (RFC 6749 with RFC 7636) and the two API calls."""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

CLIENT_ID, CLIENT_SECRET = "client", "client secret"


class GitHubServer(ThreadingHTTPServer):
    """``profile`` and ``emails`` are what the API says of whoever signs in."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.profile: Any = {
            "id": 42, "login": "Octo-Cat", "name": "The Octocat", "email": None,
            "avatar_url": "https://avatars.example.org/42", "bio": "a cat",
        }  # fmt: skip
        self.emails: Any = [
            {"email": "old@example.org", "primary": False, "verified": True},
            {"email": "Octo@example.org", "primary": True, "verified": True},
        ]
        self.granted: dict[str, dict[str, str]] = {}
        """Code -> the query of the request for it."""
        self.tokens: list[str] = []
        self.down = False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "github_url": self.url, "github_api_url": self.url,
            "github_client_id": CLIENT_ID, "github_client_secret": CLIENT_SECRET,
        }  # fmt: skip

    def agree(self, address: str) -> str:
        """The user at ``address`` agrees; the query that the browser goes back with."""
        parts = urlsplit(address)
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.url}/login/oauth/authorize"
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        assert query["client_id"] == CLIENT_ID and query["response_type"] == "code"
        assert query["scope"].split() == ["repo", "user:email"]
        assert query["code_challenge_method"] == "S256"
        code = f"code{len(self.granted)}"
        self.granted[code] = query
        return f"code={code}&state={query['state']}"

    def exchange(self, form: dict[str, str]) -> dict[str, str]:
        query = self.granted.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = urlsafe_b64encode(digest).rstrip(b"=").decode()
        if (
            query is None
            or (form.get("client_id"), form.get("client_secret")) != (CLIENT_ID, CLIENT_SECRET)
            or challenge != query["code_challenge"]
            or form.get("redirect_uri") != query["redirect_uri"]
        ):
            return {"error": "bad_verification_code"}
        self.tokens.append(f"gho_{len(self.tokens)}")
        return {"access_token": self.tokens[-1], "scope": "repo,user:email", "token_type": "bearer"}


class _Handler(BaseHTTPRequestHandler):
    server: GitHubServer

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        form = {
            name: values[0] for name, values in parse_qs(self.rfile.read(length).decode()).items()
        }
        assert self.path == "/login/oauth/access_token"
        self._answer(self.server.exchange(form))

    def do_GET(self) -> None:
        if self.path.startswith("/login/oauth/authorize?"):  # a browser, whose user agrees
            (back,) = parse_qs(urlsplit(self.path).query)["redirect_uri"]
            self.send_response(302)
            self.send_header("Location", f"{back}?{self.server.agree(self.server.url + self.path)}")
            self.end_headers()
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in self.server.tokens or self.server.down:
            self.send_error(401)
        else:
            self._answer(
                {"/user": self.server.profile, "/user/emails": self.server.emails}[self.path]
            )

    def _answer(self, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def github_server() -> Iterator[GitHubServer]:
    server = GitHubServer()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)
