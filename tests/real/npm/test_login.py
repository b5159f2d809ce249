"""Signing in with npm, by password and by the web, and out again; tokens of all kinds."""

from __future__ import annotations

import os
import re
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, OpenerDirector, Request, build_opener

import pytest

from tests.real.npm.registry import Registry
from tests.support.daemon import PASSWORD


class Terminal:
    """A program whose words are read as they come, and that is answered."""

    def __init__(self, registry: Registry, home: Path, *command: str) -> None:
        environment = {**registry.environment(""), "HOME": str(home)}
        self.said = ""
        self._process = subprocess.Popen(
            command,
            cwd=home,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def until(self, pattern: str) -> str:
        """Read until ``pattern`` has been said; its first group."""
        assert self._process.stdout is not None
        start = len(self.said)
        while not (match := re.search(pattern, self.said[start:])):
            data = os.read(self._process.stdout.fileno(), 65536)
            assert data, f"ended without {pattern!r}: {self.said}"
            self.said += data.decode()
        return match[1] if match.groups() else match[0]

    def type(self, text: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())
        self._process.stdin.flush()

    def end(self) -> int:
        rest, _ = self._process.communicate(timeout=15)
        self.said += rest.decode()
        return self._process.returncode


@pytest.fixture
def home(registry: Registry, tmp_path: Path) -> Path:
    (tmp_path / ".npmrc").write_text(f"registry={registry.url}\nupdate-notifier=false\n")
    return tmp_path


@pytest.fixture
def browser(registry: Registry) -> Iterator[OpenerDirector]:
    """bob's, who is signed in."""
    opener = build_opener(HTTPCookieProcessor(CookieJar()))
    with submit(opener, registry, "login", login="bob", password=PASSWORD) as answer:
        assert answer.status == 200
    yield opener


def submit(opener: OpenerDirector, registry: Registry, path: str, **fields: str):  # type: ignore[no-untyped-def]
    origin = registry.daemon.url().rstrip("/")
    return opener.open(
        Request(
            registry.daemon.url(path), data=urlencode(fields).encode(), headers={"Origin": origin}
        )
    )


def npm(registry: Registry, home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["npm", *words],
        cwd=home,
        env={**registry.environment(""), "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_login_with_a_password_and_logout(registry: Registry, home: Path) -> None:
    terminal = Terminal(registry, home, "npm", "login", "--auth-type=legacy")
    terminal.until("Username:")
    terminal.type("bob")
    terminal.until("Password:")
    terminal.type(PASSWORD)
    assert terminal.end() == 0, terminal.said
    assert "Logged in on" in terminal.said
    token = (home / ".npmrc").read_text().split("_authToken=")[1].split()[0]
    assert re.fullmatch("wit_[0-9a-f]{40}", token)
    assert npm(registry, home, "whoami").stdout == "bob\n"
    done = npm(registry, home, "logout")
    assert done.returncode == 0, done.stderr
    assert "_authToken" not in (home / ".npmrc").read_text()
    status, _, _ = registry.daemon.get(
        "api/packages/-/whoami", {"Authorization": f"Bearer {token}"}
    )
    assert status == 401
    assert token not in registry.daemon.log()


def test_a_wrong_password(registry: Registry, home: Path) -> None:
    terminal = Terminal(registry, home, "npm", "login", "--auth-type=legacy")
    terminal.until("Username:")
    terminal.type("bob")
    terminal.until("Password:")
    terminal.type("wrong horse battery")
    assert terminal.end() != 0
    assert "Incorrect or missing password" in terminal.said


def test_login_by_the_web(registry: Registry, home: Path, browser: OpenerDirector) -> None:
    terminal = Terminal(registry, home, "npm", "login", "--browser=false")
    path = terminal.until(rf"{re.escape(registry.daemon.url())}(login/npm/\w+)\s")
    page = browser.open(registry.daemon.url(path)).read().decode()
    assert "<strong>bob</strong>" in page
    assert "npm/" in page
    ticket = re.search('name="csrf_token" value="([^"]+)"', page)
    assert ticket is not None
    done = submit(browser, registry, path, csrf_token=ticket[1], decision="approve")
    assert "You can close this page" in done.read().decode()
    assert terminal.end() == 0, terminal.said
    assert "Logged in on" in terminal.said
    assert npm(registry, home, "whoami").stdout == "bob\n"
    secret = path.rpartition("/")[2]
    assert secret not in registry.daemon.log()


def test_a_refused_login_by_the_web(
    registry: Registry, home: Path, browser: OpenerDirector
) -> None:
    terminal = Terminal(registry, home, "npm", "login", "--browser=false")
    path = terminal.until(rf"{re.escape(registry.daemon.url())}(login/npm/\w+)\s")
    page = browser.open(registry.daemon.url(path)).read().decode()
    ticket = re.search('name="csrf_token" value="([^"]+)"', page)
    assert ticket is not None
    for forged in ("", ticket[1][:-1] + ("0" if ticket[1][-1] != "0" else "1")):
        with pytest.raises(HTTPError) as refused:
            submit(browser, registry, path, csrf_token=forged, decision="approve")
        assert refused.value.code == 403
        refused.value.close()
    submit(browser, registry, path, csrf_token=ticket[1], decision="deny").close()
    terminal.until("(?i)password|username")  # npm tries the other way then
    terminal.type("")
    terminal.end()
    assert "_authToken" not in (home / ".npmrc").read_text()


def test_a_page_for_nobody_leads_to_the_sign_in(registry: Registry) -> None:
    opener = build_opener()
    page = opener.open(registry.daemon.url("login/npm/" + "x" * 32))
    assert "/login?returnTo=%2Flogin%2Fnpm%2F" in page.url


@pytest.mark.parametrize("secret", [PASSWORD, None], ids=["password", "token"])
def test_basic_credentials(registry: Registry, tmp_path: Path, secret: str | None) -> None:
    """``_auth`` in an npmrc."""
    pair = f"alice:{secret or registry.tokens['alice']}"
    encoded = b64encode(pair.encode()).decode()
    (tmp_path / ".npmrc").write_text(f"{registry.line}:_auth={encoded}\n")
    (tmp_path / "package.json").write_text("{}")
    said = registry.npm("profile", "get", "name", cwd=tmp_path, person="")
    assert said.out == "alice\n"
