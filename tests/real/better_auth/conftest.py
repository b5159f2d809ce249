"""The two servers, shared by all tests of this folder."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Iterator

import pytest

from tests.mail.server import SmtpServer, smtp_server
from tests.real.better_auth.compare import NODE, PASSWORD, Pair, Server, node
from tests.support.daemon import Daemon, free_port, wait_until

SECRET = "0123456789abcdef" * 2
_LINK = re.compile(r"http://\S+/api/auth/\S+")


@pytest.fixture(scope="session")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("better-auth") / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            node(str(NODE / "auth_server.mjs"), str(port), url),
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            env={**os.environ, "WITH_GITHUB": "1", "NODE_ENV": "production"},
        )  # fmt: skip

    def links() -> list[str]:
        with urllib.request.urlopen(f"{url}/mails", timeout=10) as answer:
            return list(json.load(answer))

    try:
        wait_until(lambda: "listening" in log.read_text(), 30, "the start of better-auth")
        yield Server(url, links)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture(scope="session")
def smtp() -> Iterator[SmtpServer]:
    with smtp_server() as server:
        yield server


@pytest.fixture(scope="session")
def daemon(tmp_path_factory: pytest.TempPathFactory, smtp: SmtpServer) -> Iterator[Daemon]:
    daemon = Daemon(
        tmp_path_factory.mktemp("auth") / "data",
        environment={
            "WIT_ACCOUNTS_SIGN_UP": "open",
            "WIT_ACCOUNTS_SECRET": SECRET,
            "WIT_ACCOUNTS_ATTEMPTS_PER_MINUTE": "1000",
            "WIT_ACCOUNTS_FAILURES_PER_MINUTE": "1000",
            "WIT_MAIL_SMTP": smtp.url,
            "GITHUB_CLIENT_ID": "id",
            "GITHUB_CLIENT_SECRET": "secret",
        },
    )
    daemon.environment["AUTH_BASE_URL"] = daemon.url().rstrip("/")
    daemon.start()
    yield daemon
    assert daemon.stop() == 0, daemon.log()


@pytest.fixture(scope="session")
def ours(daemon: Daemon, smtp: SmtpServer) -> Server:
    def links() -> list[str]:
        texts = (mail.replace(b"=\r\n", b"").replace(b"=3D", b"=").decode() for mail in smtp.mails)
        return [link for text in texts for link in _LINK.findall(text)]

    return Server(daemon.url().rstrip("/"), links, known={"secret": SECRET})


@pytest.fixture(scope="session")
def both(theirs: Server, ours: Server) -> Pair:
    pair = Pair(theirs, ours)
    pair(
        "POST", "/sign-up/email",
        {"name": "Ada", "email": "Ada@example.org", "password": PASSWORD, "username": "Ada",
         "bio": "b", "location": "here", "website": "https://example.org",
         "avatarUrl": "https://example.org/a.png", "image": "https://example.org/a.png"},
    )  # fmt: skip
    return pair
