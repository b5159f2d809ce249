"""Guessing passwords and codes from outside: the same count on every door; and a crowd that signs in
is no reason to stop for anybody else."""

from __future__ import annotations

import base64
import http.client
import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.daemon import PASSWORD
from tests.support.site import Site
from wit.db.port import Row

pytestmark = pytest.mark.attack(51)

FAILURES = 10
"""``accounts.failures_per_minute``, as it is by default."""

_numbers = itertools.count(1)


def ask(site: Site, source: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """From an address of one's own; the status, and the answer's header lines."""
    port = site.daemon.http_port
    connection = http.client.HTTPConnection("127.0.0.1", port, 60, source_address=(source, 0))
    try:
        if body is None:
            connection.request("GET", path, headers=headers)
        else:
            sent = {"Content-Type": "application/json", **headers}
            connection.request("POST", path, json.dumps(body), sent)
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.headers
    finally:
        connection.close()


def sign_in(site: Site, source: str, name: str, password: str = PASSWORD) -> int:
    body = {"username": name, "password": password}
    return ask(site, source, "/api/auth/sign-in/username", body)[0]


def by_git(site: Site, source: str, name: str, password: str = PASSWORD) -> int:
    secret = base64.b64encode(f"{name}:{password}".encode()).decode()
    path = f"/{name}/x/info/refs?service=git-upload-pack"
    return ask(site, source, path, Authorization=f"Basic {secret}")[0]


def by_trpc(site: Site, source: str, name: str, password: str = PASSWORD) -> int:
    values = {"json": {"usernameOrEmail": name, "password": password}}
    return ask(site, source, "/trpc/auth.login", values)[0]


def new_user(site: Site) -> str:
    name = f"guessed{next(_numbers)}"

    async def make(core: Any) -> Row:
        row: Row = await core.users.create(name, f"{name}@example.org", PASSWORD)
        return row

    site.do(make)
    return name


DOORS = {"page": sign_in, "git": by_git, "trpc": by_trpc}


def network(door: str) -> int:
    return list(DOORS).index(door)


@pytest.mark.parametrize("door", DOORS)
def test_all_doors_count_together(site: Site, door: str) -> None:
    """Wrong passwords for a name, from many addresses, through one door lock all of them."""
    name = new_user(site)
    statuses = [
        DOORS[door](site, f"127.51.{network(door)}.{number}", name, f"wrong password {number}")
        for number in range(1, FAILURES + 1)
    ]
    assert 429 not in statuses and 200 not in statuses
    for other in DOORS.values():
        assert other(site, f"127.51.{network(door)}.99", name) == 429, "the right one is not tried"


@pytest.mark.parametrize("door", DOORS)
def test_one_address_tries_many_names(site: Site, door: str) -> None:
    source = f"127.51.{network(door)}.200"
    names = [new_user(site), *(f"nobody{number}" for number in range(FAILURES))]
    statuses = [DOORS[door](site, source, name, "wrong password") for name in names]
    assert statuses[-1] == 429 and 429 not in statuses[:-1]
    assert len(set(statuses[:-1])) == 1, "whether there is such a name is not told"
    assert sign_in(site, source, names[0]) == 429
    assert sign_in(site, f"127.51.{network(door)}.201", names[0]) == 200


def test_guesses_that_come_together_are_counted_too(site: Site) -> None:
    """Not one more is answered than are allowed, however many are on their way at once."""
    name = new_user(site)
    guesses = [f"wrong password {number}" for number in range(30)] + [PASSWORD]
    with ThreadPoolExecutor(len(guesses)) as crowd:
        statuses = list(crowd.map(lambda guess: sign_in(site, "127.51.9.1", name, guess), guesses))
    assert statuses.count(401) <= FAILURES
    assert set(statuses) <= {200, 401, 429} and 429 in statuses


def test_a_crowd_with_right_passwords(site: Site) -> None:
    """Nobody of a hundred is refused, and /health answers while they wait for their turn."""
    names = [new_user(site) for _ in range(5)]
    done = threading.Event()
    health: list[int] = []

    def watch() -> None:
        while not done.is_set() or not health:
            health.append(ask(site, "127.51.9.2", "/health")[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(100) as crowd:
            statuses = list(
                crowd.map(lambda number: sign_in(site, "127.51.9.3", names[number % 5]), range(100))
            )
    finally:
        done.set()
        watcher.join()
    assert set(statuses) == {200} and set(health) == {200}
