"""A repository that is broken on disk is found out by those who use it, and takes no pushes until an
administrator says so. What clients do wrong marks nothing."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.attacks.test_25_full_disks import no_room_beyond
from tests.attacks.test_27_damaged_repositories import (
    _cut_pack,
    _cut_packed_refs,
    _empty_objects,
    _garble_config,
    _garble_packed_refs,
    _loose_ref_garbage,
    _remove_head,
    _remove_packs,
)
from tests.support.daemon import commit, git, wait_until
from tests.support.quarry import Quarry
from tests.support.site import Door, Site, new_name
from tests.support.wire import (
    BLOB,
    OFS_DELTA,
    REF_DELTA,
    ZERO,
    Answer,
    Http,
    commands,
    entry,
    fetch_v2,
    history,
    pack,
    post,
    push_history,
    read_report,
    request,
    service_headers,
)
from wit.core import Core
from wit.git.names import parse_full_name
from wit.repositories.damage import KIND

pytestmark = pytest.mark.attack(27)

MARK = "is damaged and takes no pushes until it is unlocked"


def reason(site: Site, name: str) -> str:
    full_name = parse_full_name(name)
    row = site.do(lambda core: core.repos.get(full_name))
    return row["read_only_reason"] or ""


def examined(site: Site, name: str) -> None:
    """Wait until every suspicion so far of this repository was looked into."""
    full_name = parse_full_name(name)

    async def under_way(core: Core) -> list[Any]:
        key = (await core.repos.get(full_name))["id"]
        jobs = await core.jobs.list("queued") + await core.jobs.list("running")
        return [job for job in jobs if job["kind"] == KIND and job["key"] == key]

    wait_until(lambda: not site.do(under_way), 40, "the end of all examinations")


def push_new(site: Site, name: str, content: bytes = b"new\n", branch: str = "new") -> Answer:
    made = history(content)
    body = commands([(ZERO, made.commit, f"refs/heads/{branch}")]) + made.pack
    return post(site.daemon, site.alice, name, "git-receive-pack", body, version=0)


def use(site: Site, name: str, tip: str, folder: Path) -> None:
    """What people do: clone, fetch, push."""
    door = Door(site, "http", 2, site.alice)
    door.git("clone", "-q", door.url(name), str(folder / "clone"), check=False)
    post(site.daemon, site.alice, name, "git-upload-pack", fetch_v2([tip]))
    push_new(site, name)


@pytest.mark.parametrize(
    "damage",
    [
        _garble_packed_refs, _cut_packed_refs, _remove_packs, _cut_pack, _empty_objects,
        _remove_head, _garble_config, _loose_ref_garbage,
    ],
    ids=lambda damage: damage.__name__,
)  # fmt: skip
def test_it_is_marked_when_it_is_used(
    site: Site, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    name, sound = new_name(), new_name()
    made = push_history(site.daemon, site.alice, name)
    push_history(site.daemon, site.alice, sound)
    shutil.copytree(site.disk(name), tmp_path / "good")
    damage(site.disk(name))
    use(site, name, made.commit, tmp_path)

    found = wait_until(lambda: reason(site, name), 30, "the mark")
    assert found.startswith("damaged: ")
    assert str(site.daemon.data_dir) not in found
    assert MARK in site.daemon.log()
    answer = push_new(site, name)
    assert answer.status == 403 and found in answer.text
    assert reason(site, sound) == ""
    assert b"unpack ok" in push_new(site, sound).body

    shutil.rmtree(site.disk(name))
    shutil.copytree(tmp_path / "good", site.disk(name))
    assert push_new(site, name).status == 403, "only an administrator knows that it is repaired"
    site.daemon.wit("repo", "unlock", name)
    answer = push_new(site, name)
    assert read_report(answer.body).refs == {"refs/heads/new": "ok"}
    examined(site, name)
    assert reason(site, name) == ""


def test_an_administrator_sees_it(site: Site, tmp_path: Path) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    _remove_packs(site.disk(name))
    use(site, name, made.commit, tmp_path)
    found = wait_until(lambda: reason(site, name), 30, "the mark")
    listed = json.loads(site.daemon.wit("repo", "list", "--json").stdout)
    assert [row["read_only_reason"] for row in listed if row["full_name"] == name] == [found]
    told = site.daemon.wit("doctor", check=False).stdout
    assert f"{name}: it takes no pushes: {found}" in told
    shutil.rmtree(site.disk(name))


def test_a_fetch_over_ssh_is_enough(site: Site, tmp_path: Path) -> None:
    name = new_name()
    push_history(site.daemon, site.alice, name)
    _empty_objects(site.disk(name))
    door = Door(site, "ssh", 2, site.alice)
    assert door.git("clone", door.url(name), str(tmp_path / "c"), check=False).returncode != 0
    assert wait_until(lambda: reason(site, name), 30, "the mark").startswith("damaged: ")
    shutil.rmtree(site.disk(name))


BASE = entry(BLOB, b"base" * 10)
BROKEN_PACKS = [
    b"",
    pack([BASE])[:-1] + b"x",
    pack([BASE, entry(OFS_DELTA, b"xxxx", prefix=b"\x00")]),
    pack([entry(REF_DELTA, b"\x04\x04\x90\x04", prefix=b"\x22" * 20)]),
    pack([b"\x3a" + b"plain text"]),
    history(b"cut\n").pack[:40],
]


def test_a_clients_mistakes_mark_nothing(site: Site, tmp_path: Path) -> None:
    """Broken packs, packs without what they need, wants that nobody has, and leaving early."""
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    other = history(b"other\n", "3" * 40)
    for packed in [*BROKEN_PACKS, other.pack]:
        body = commands([(ZERO, other.commit, "refs/heads/x")]) + packed
        answer = post(site.daemon, site.alice, name, "git-receive-pack", body, version=0)
        assert b"unpack ok" not in answer.body or b"ng refs/heads/x" in answer.body
    for want in ("1" * 40, other.commit):
        post(site.daemon, site.alice, name, "git-upload-pack", fetch_v2([want]))
    for service, body in (
        ("git-receive-pack", commands([(ZERO, other.commit, "refs/heads/x")]) + other.pack[:30]),
        ("git-upload-pack", fetch_v2([made.commit])),
    ):
        http = Http(site.daemon.http_port)
        headers = service_headers(site.alice, service, 0) | {"Content-Length": "100000"}
        http.send(request("POST", f"/{name}/{service}", headers) + body)
        http.reset()
    Quarry(site.daemon).check()
    examined(site, name)
    assert reason(site, name) == ""
    assert b"unpack ok" in push_new(site, name).body


def test_a_full_disk_and_a_killed_git_mark_nothing(site: Site, tmp_path: Path) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    packed = pack([entry(BLOB, os.urandom(3_000_000)) for _ in range(4)])
    body = commands([(ZERO, made.commit, "refs/heads/big")]) + packed
    quarry = Quarry(site.daemon)
    with no_room_beyond(quarry.process, 5_000_000):
        post(site.daemon, site.alice, name, "git-receive-pack", body, version=0)
    for signal in ("kill", "terminate"):
        http = Http(site.daemon.http_port)
        headers = service_headers(site.alice, "git-receive-pack", 0)
        headers["Content-Length"] = str(len(body))
        http.send(request("POST", f"/{name}/git-receive-pack", headers) + body[:5_000_000])
        for process in wait_until(lambda: quarry.gits("receive-pack"), what="git"):
            getattr(process, signal)()
        http.reset()
    quarry.check()
    examined(site, name)
    assert reason(site, name) == ""


def test_an_examination_that_is_killed_is_tried_again(site: Site, tmp_path: Path) -> None:
    """It tells nothing."""
    name = new_name()
    work = tmp_path / "work"
    git("init", "-q", str(work))
    (work / "noise").write_bytes(os.urandom(30_000_000))
    git("add", "noise", cwd=work)
    commit(work)
    full_name = parse_full_name(name)
    site.do(lambda core: core.repos.import_(full_name, str(work), private=True, allow_local=True))
    row = site.do(lambda core: core.repos.get(full_name))

    async def examine(core: Any) -> None:
        await core.jobs.enqueue(KIND, {"repo_id": row["id"], "why": "a test"}, key=row["id"])

    site.do(examine)
    quarry = Quarry(site.daemon)
    deadline = time.monotonic() + 20
    killed = 0
    while not killed and time.monotonic() < deadline:
        for process in quarry.gits("fsck"):
            try:
                process.kill()
                killed += 1
            except psutil.NoSuchProcess:
                continue
    assert killed
    examined(site, name)
    assert reason(site, name) == ""
