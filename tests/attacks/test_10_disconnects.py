"""Clients that vanish in the middle of a push or a clone."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from tests.attacks.heavy import MIB, import_heavy
from tests.support.daemon import wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site, refs
from tests.support.wire import (
    BLOB,
    ZERO,
    Http,
    commands,
    entry,
    fetch_v2,
    history,
    pack,
    push_history,
    request,
    service_headers,
    ssh,
)

pytestmark = pytest.mark.attack(10)

NOISE = pack([entry(BLOB, os.urandom(4 * MIB))] * 4)
START = commands([(ZERO, history().commit, "refs/heads/broken")])
STAGES = {
    "commands": START[:-10],
    "pack-header": START + NOISE[:8],
    "pack": START + NOISE[: 9 * MIB],
    "all-but-one-byte": START + NOISE[:-1],
}


@pytest.fixture(scope="module")
def heavy(sites: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    site: Site = sites("sqlite")  # type: ignore[operator]
    yield "alice/heavy10", import_heavy(site, "alice/heavy10", tmp_path_factory.mktemp("heavy"))


def untouched(site: Site, name: str) -> None:
    Quarry(site.daemon).check()
    assert set(refs(site.disk(name))) == {"refs/heads/main"}
    objects = site.disk(name) / "objects"
    assert not list(objects.rglob("tmp_*"))


@pytest.mark.parametrize("stage", list(STAGES))
def test_pushes_over_http(site: Site, new_name: str, stage: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    fds = Quarry(site.daemon).fds()
    headers = service_headers(site.alice, "git-receive-pack", 0)
    headers["Content-Length"] = str(len(START) + len(NOISE))
    http = Http(site.daemon.http_port)
    http.send(request("POST", f"/{new_name}/git-receive-pack", headers) + STAGES[stage])
    if stage != "commands":
        wait_until(lambda: Quarry(site.daemon).gits("receive-pack"), what="git")
    http.reset()
    untouched(site, new_name)
    wait_until(lambda: Quarry(site.daemon).fds() <= fds + 2, what="the end of all descriptors")


@pytest.mark.parametrize("stage", list(STAGES))
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_pushes_over_ssh(site: Site, new_name: str, stage: str, end: signal.Signals) -> None:
    push_history(site.daemon, site.alice, new_name)
    fds = Quarry(site.daemon).fds()
    client = ssh(site.daemon, site.alice, f"git-receive-pack '{new_name}'")
    assert client.stdin is not None
    client.stdin.write(STAGES[stage])
    client.stdin.flush()
    if stage != "commands":
        wait_until(lambda: Quarry(site.daemon).gits("receive-pack"), what="git")
    client.send_signal(end)
    client.wait(20)
    untouched(site, new_name)
    wait_until(lambda: Quarry(site.daemon).fds() <= fds + 2, what="the end of all descriptors")


@pytest.mark.parametrize("known", [[], [f"have {ZERO[:-1]}1"]], ids=["cached", "uncached"])
def test_clones_over_http(site: Site, heavy: tuple[str, str], known: list[str]) -> None:
    name, head = heavy
    fds = Quarry(site.daemon).fds()
    headers = service_headers(site.alice, "git-upload-pack")
    for size in (0, 100, 1 * MIB):
        http = Http(site.daemon.http_port)
        http.send(request("POST", f"/{name}/git-upload-pack", headers, fetch_v2([head], *known)))
        http.take(size)
        http.reset()
    wait_until(lambda: Quarry(site.daemon).fds() <= fds + 2, what="the end of all descriptors")


@pytest.mark.parametrize("known", [[], [f"have {ZERO[:-1]}1"]], ids=["cached", "uncached"])
def test_clones_over_ssh(site: Site, heavy: tuple[str, str], known: list[str]) -> None:
    name, head = heavy
    fds = Quarry(site.daemon).fds()
    for size in (0, 100, 1 * MIB):
        client = ssh(
            site.daemon, site.alice, f"git-upload-pack '{name}'",
            "-o", "SetEnv=GIT_PROTOCOL=version=2",
        )  # fmt: skip
        assert client.stdin is not None and client.stdout is not None
        client.stdin.write(fetch_v2([head], *known))
        client.stdin.flush()
        client.stdout.read(size)
        client.kill()
        client.wait()
    wait_until(lambda: Quarry(site.daemon).fds() <= fds + 2, what="the end of all descriptors")
