"""The form of a clone's answer over HTTP: sized when it is a finished file, chunked while it grows.

Black-box, against the daemon: either form must be whole, and a cut must show."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.daemon import commit, git
from tests.support.site import Door, Site, new_name
from tests.support.wire import (
    Answer,
    Http,
    fetch_v0,
    fetch_v2,
    packets,
    post,
    request,
    service_headers,
)
from wit.git.names import parse_full_name

SERVICE = "git-upload-pack"
NOISE = 3_000_000


@pytest.fixture(scope="module")
def heads() -> dict[str, str]:
    """The tip of each repository that ``imported`` made."""
    return {}


@pytest.fixture
def name(site: Site, tmp_path: Path, heads: dict[str, str]) -> str:
    """A new repository with a file of some megabytes."""
    name = new_name()
    work = tmp_path / "work"
    git("init", "-q", str(work))
    (work / "noise").write_bytes(os.urandom(NOISE))
    git("add", "noise", cwd=work)
    heads[name] = commit(work, "small")
    full_name = parse_full_name(name)
    site.do(lambda core: core.repos.import_(full_name, str(work), private=True, allow_local=True))
    return name


def is_whole(answer: Answer) -> bool:
    """Whether it ends as git ends an answer, and no error stands in it."""
    said = list(packets(answer.body))
    return answer.body.endswith(b"0000") and not any(line[:1] == b"\x03" for line in said)


@pytest.mark.parametrize("version", [0, 2])
def test_a_growing_pack_is_chunked_and_a_finished_one_sized(
    site: Site, name: str, heads: dict[str, str], version: int
) -> None:
    body = fetch_v2([heads[name]]) if version == 2 else fetch_v0([heads[name]])
    first, second, third = (
        post(site.daemon, site.alice, name, SERVICE, body, version=version) for _ in range(3)
    )
    assert first.headers.get("transfer-encoding") == "chunked"
    assert "content-length" not in first.headers
    for answer in (second, third):
        assert "transfer-encoding" not in answer.headers
        assert int(answer.headers["content-length"]) == len(answer.body) > NOISE
        assert answer.body == first.body
    assert is_whole(first)


def test_the_connection_goes_on_behind_a_sized_answer(
    site: Site, name: str, heads: dict[str, str]
) -> None:
    body = fetch_v2([heads[name]])
    ask = request("POST", f"/{name}/{SERVICE}", service_headers(site.alice, SERVICE), body)
    with Http(site.daemon.http_port) as http:
        forms = [http.send(ask).answer() for _ in range(3)]
    assert ["content-length" in answer.headers for answer in forms] == [False, True, True]
    assert len({answer.body for answer in forms}) == 1


def test_real_clones_take_both_forms(
    site: Site, name: str, heads: dict[str, str], tmp_path: Path
) -> None:
    door = Door(site, "http", 2, site.alice)
    hits = site.daemon.metric("wit_pack_cache_hits_total")
    for number in range(3):
        clone = tmp_path / f"clone{number}"
        done = door.git("clone", "-q", door.url(name), str(clone))
        assert "error" not in done.stderr
        assert git("rev-parse", "HEAD", cwd=clone).stdout.strip() == heads[name]
        assert (clone / "noise").stat().st_size == NOISE
        git("fsck", "--strict", cwd=clone)
    assert site.daemon.metric("wit_pack_cache_hits_total") >= hits + 2


def test_what_is_no_clone_is_chunked(site: Site, name: str, heads: dict[str, str]) -> None:
    """A fetch with haves is made for one client, and nobody knows its size before."""
    body = fetch_v2([heads[name]], f"have {heads[name]}")
    answer = post(site.daemon, site.alice, name, SERVICE, body)
    assert answer.headers.get("transfer-encoding") == "chunked" and is_whole(answer)


@pytest.mark.parametrize("left", [0, NOISE // 2])
def test_a_cut_shows(
    site: Site, name: str, heads: dict[str, str], tmp_path: Path, left: int
) -> None:
    """The cached file loses its end under our hands: fewer bytes than announced, or an error, but
    never an answer that looks whole. The next client gets a new file."""
    body = fetch_v2([heads[name]])
    whole = post(site.daemon, site.alice, name, SERVICE, body)
    ask = request("POST", f"/{name}/{SERVICE}", service_headers(site.alice, SERVICE), body)

    def cut() -> None:
        """The pack that was made last."""
        packs = (site.daemon.data_dir / "cache" / "packs").glob("*/*")
        newest = max(packs, key=lambda path: path.stat().st_mtime_ns)
        assert newest.stat().st_size > NOISE
        os.truncate(newest, left)

    cut()
    with Http(site.daemon.http_port) as http:
        status, headers = http.send(ask).head()
        if left:
            assert (status, headers["content-length"]) == (200, str(len(whole.body)))
            assert len(http.remainder()) == left
        else:
            assert status == 503 and b"again" in http.take(int(headers["content-length"]))
    again = post(site.daemon, site.alice, name, SERVICE, body)
    assert again.headers.get("transfer-encoding") == "chunked" and is_whole(again)
    door = Door(site, "http", 2, site.alice)
    door.git("clone", "-q", door.url(name), str(tmp_path / "before"))
    cut()
    done = door.git("clone", "-q", door.url(name), str(tmp_path / "cut"), check=False)
    assert done.returncode != 0 and not (tmp_path / "cut").exists()
    door.git("clone", "-q", door.url(name), str(tmp_path / "after"))
