"""Negotiations that are made to be long."""

from __future__ import annotations

import subprocess
import time

import pytest

from tests.support.daemon import wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site
from tests.support.wire import (
    Http,
    fetch_v0,
    fetch_v2,
    pkt,
    post,
    push_history,
    request,
    service_headers,
    ssh,
)

pytestmark = pytest.mark.attack(16)

FETCH_SECONDS = 2.5
"""STRICT has it so."""
MIB = 1024 * 1024


def haves(count: int) -> list[str]:
    return [f"have {number:040x}" for number in range(1, count + 1)]


def test_a_million_haves_are_refused_before_they_are_collected(site: Site, new_name: str) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    quarry = Quarry(site.daemon)
    before = quarry.rss()
    line = pkt("have " + "1" * 40 + "\n")
    headers = service_headers(site.alice, "git-upload-pack")
    headers["Transfer-Encoding"] = "chunked"
    block = line * 1000
    with Http(site.daemon.http_port) as http:
        http.send(request("POST", f"/{new_name}/git-upload-pack", headers))
        start = fetch_v2([made.commit])[:-13]  # without its "done" and flush
        http.send(b"%x\r\n%b\r\n" % (len(start), start))
        sent = 0
        try:
            while sent < 1000:
                http.send(b"%x\r\n%b\r\n" % (len(block), block))
                sent += 1
        except OSError:
            pass
        said = http.remainder()
    assert b"PACK" not in said and b"larger than" in said, said[:300]
    assert quarry.rss() - before < 40 * MIB


@pytest.mark.parametrize("version", [0, 2])
def test_many_haves_that_nobody_knows_are_answered_soon(
    site: Site, new_name: str, version: int
) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    lines = haves(100_000)
    if version == 2:
        body = fetch_v2([made.commit], *lines)
    else:
        body = fetch_v0([made.commit], *(line.removeprefix("have ") for line in lines))
    answer = post(site.daemon, site.alice, new_name, "git-upload-pack", body, version=version)
    assert answer.status == 200 and b"PACK" in answer.body


def talk(client: subprocess.Popen[bytes], line: bytes, seconds: float) -> float:
    """Send ``line`` again and again until the server ends it; how long that took."""
    assert client.stdin is not None
    began = time.monotonic()
    while client.poll() is None and time.monotonic() - began < seconds:
        try:
            client.stdin.write(line)
            client.stdin.flush()
        except BrokenPipeError:
            break
        time.sleep(0.05)
    return time.monotonic() - began


def test_an_endless_negotiation_over_ssh_is_ended(strict: Site, new_name: str) -> None:
    """Version 0: rounds of haves, and never "done". Something moves all the time, so it is not
    the idle limit that ends this."""
    made = push_history(strict.daemon, strict.alice, new_name)
    quarry = Quarry(strict.daemon)
    client = ssh(strict.daemon, strict.alice, f"git-upload-pack '{new_name}'")
    assert client.stdin is not None
    client.stdin.write(pkt(f"want {made.commit} multi_ack_detailed\n") + b"0000")
    client.stdin.flush()
    wait_until(lambda: quarry.gits("upload-pack"), what="git")
    took = talk(client, pkt(*(f"{line}\n" for line in haves(16))) + b"0000", 5 * FETCH_SECONDS)
    client.kill()
    client.wait()
    assert took < 3 * FETCH_SECONDS


def test_a_request_that_drips_over_ssh_is_ended(strict: Site, new_name: str) -> None:
    """Version 2: one request that never ends."""
    made = push_history(strict.daemon, strict.alice, new_name)
    client = ssh(
        strict.daemon, strict.alice, f"git-upload-pack '{new_name}'",
        "-o", "SetEnv=GIT_PROTOCOL=version=2",
    )  # fmt: skip
    assert client.stdin is not None
    client.stdin.write(fetch_v2([made.commit])[:-13])
    client.stdin.flush()
    took = talk(client, pkt("have " + "1" * 40 + "\n"), 5 * FETCH_SECONDS)
    client.kill()
    client.wait()
    assert took < 3 * FETCH_SECONDS


def test_deepening_and_filters_are_no_way_to_work_for_ever(site: Site, new_name: str) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    bodies = [
        fetch_v2([made.commit], "deepen 2147483647"),
        fetch_v2([made.commit], *(f"shallow {number:040x}" for number in range(20_000))),
        fetch_v2([made.commit], *("deepen-not refs/heads/main" for _ in range(1000))),
        fetch_v2([made.commit], "filter tree:18446744073709551615"),
        fetch_v2([made.commit], "filter combine:" + "+".join(["tree:1"] * 2000)),
        fetch_v2([made.commit] * 50_000),
    ]
    for body in bodies:
        answer = post(site.daemon, site.alice, new_name, "git-upload-pack", body)
        assert answer.status == 200
        assert b"PACK" in answer.body or b"ERR " in answer.body, body[:200]
