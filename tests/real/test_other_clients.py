"""Other people's clients, unmodified: dulwich, libgit2, isomorphic-git, asyncssh, paramiko."""

from __future__ import annotations

import asyncio
import io
import json
import subprocess
from pathlib import Path
from typing import Any, cast

import asyncssh
import paramiko
import pygit2
import pytest
from dulwich import porcelain
from dulwich.client import HttpGitClient, SSHGitClient
from dulwich.repo import Repo as DulwichRepo

from tests.support.daemon import commit, git
from tests.support.site import Door, Person, Site, refs
from tests.support.wire import packets

NODE = Path(__file__).parent / "node"


@pytest.fixture
def pushed(site: Site, repo: str, work: Path) -> str:
    """``work``'s refs are on the server."""
    git("push", "-q", "--mirror", Door(site, "http", 2, site.alice).url(repo), cwd=work)
    return repo


@pytest.fixture
def known_hosts(site: Site) -> None:
    """OpenSSH's file of host keys, for clients that insist on it."""
    found = subprocess.run(
        ["ssh-keyscan", "-p", str(site.daemon.ssh_port), "127.0.0.1"],
        capture_output=True,
        text=True,
    )
    folder = Path.home() / ".ssh"
    folder.mkdir(mode=0o700, exist_ok=True)
    with (folder / "known_hosts").open("a") as file:
        file.write(found.stdout)


def sound(site: Site, name: str) -> None:
    git("-C", str(site.disk(name)), "fsck", "--strict")


# dulwich


def dulwich_client(site: Site, kind: str, person: Person) -> Any:
    """Of either kind; what dulwich calls a ref or an id is bytes to us."""
    if kind == "http":
        return HttpGitClient(site.daemon.url(), username=person.name, password=person.token)
    command = " ".join(
        ["ssh", "-F", "none", "-o", "StrictHostKeyChecking=no", "-o", "LogLevel=ERROR",
         "-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"]
    )  # fmt: skip
    return SSHGitClient(
        "127.0.0.1", port=site.daemon.ssh_port, username="git", key_filename=str(person.key),
        ssh_command=command,
    )  # fmt: skip


def test_dulwich_clones_and_fetches(
    site: Site, kind: str, pushed: str, work: Path, tmp_path: Path
) -> None:
    client = dulwich_client(site, kind, site.alice)
    path = f"/{pushed}"
    target: Any
    with DulwichRepo.init_bare(str(tmp_path / "clone"), mkdir=True) as target:
        found = client.fetch(path, target)
        for name, oid in refs(work).items():
            assert found.refs[name.encode()] == oid.encode()
            assert oid.encode() in target.object_store
        assert found.symrefs[b"HEAD"] == b"refs/heads/main"
        new = commit(work, "four")
        git("push", "-q", Door(site, "http", 2, site.alice).url(pushed), "main", cwd=work)
        target.refs[b"refs/heads/main"] = found.refs[b"refs/heads/main"]
        assert client.fetch(path, target).refs[b"refs/heads/main"] == new.encode()
        assert new.encode() in target.object_store


def test_dulwich_clones_shallow(
    site: Site, kind: str, pushed: str, work: Path, tmp_path: Path
) -> None:
    client = dulwich_client(site, kind, site.alice)
    target: Any
    with DulwichRepo.init_bare(str(tmp_path / "clone"), mkdir=True) as target:
        wanted = refs(work)["refs/heads/main"].encode()
        client.fetch(f"/{pushed}", target, determine_wants=lambda *_, **__: [wanted], depth=1)
        assert target.get_shallow() == {wanted}
        assert target[wanted].parents[0] not in target.object_store


def test_dulwich_pushes_and_deletes(site: Site, kind: str, repo: str, work: Path) -> None:
    client = dulwich_client(site, kind, site.alice)
    head = refs(work)["refs/heads/main"].encode()
    with DulwichRepo(str(work)) as source:
        ref = b"refs/heads/main"
        side = b"refs/heads/side"

        def send(update: dict[bytes, bytes]) -> None:
            result = client.send_pack(f"/{repo}", lambda old: {**update}, source.generate_pack_data)
            assert not any((result.ref_status or {}).values()), result.ref_status

        send({ref: head, side: head})
        assert refs(site.disk(repo)) == {
            "refs/heads/main": head.decode(),
            "refs/heads/side": head.decode(),
        }
        send({side: b"0" * 40})
        assert set(refs(site.disk(repo))) == {"refs/heads/main"}
    sound(site, repo)


def test_dulwich_is_told_why_a_push_is_refused(
    site: Site, kind: str, pushed: str, work: Path
) -> None:
    client = dulwich_client(site, kind, site.alice)
    head = refs(work)["refs/heads/main"].encode()
    with DulwichRepo(str(work)) as source:
        result = client.send_pack(
            f"/{pushed}", lambda old: {b"refs/heads/MAIN": head}, source.generate_pack_data
        )
    assert result.ref_status and result.ref_status[b"refs/heads/MAIN"]
    assert set(refs(site.disk(pushed))) == set(refs(work))


def test_dulwichs_porcelain_clones(site: Site, pushed: str, work: Path, tmp_path: Path) -> None:
    with porcelain.clone(
        site.daemon.url(pushed, "alice", site.alice.token), str(tmp_path / "clone"),
        errstream=io.BytesIO(),
    ) as cloned:  # fmt: skip
        assert cloned.head().decode() == refs(work)["refs/heads/main"]
    assert (tmp_path / "clone" / "three").read_text() == (work / "three").read_text()


# libgit2


class Callbacks(pygit2.RemoteCallbacks):
    """Signs in as a person, trusts this server, and remembers what was refused."""

    def __init__(self, person: Person) -> None:
        super().__init__()
        self._person = person
        self._asked = 0
        self.refused: dict[str, str | None] = {}

    def credentials(self, url, username_from_url, allowed_types):  # type: ignore[no-untyped-def]
        self._asked += 1
        assert self._asked < 5, "libgit2 is asked for credentials again and again"
        if allowed_types & pygit2.enums.CredentialType.USERPASS_PLAINTEXT:
            return pygit2.UserPass(self._person.name, self._person.token)
        key = str(self._person.key)
        return pygit2.Keypair(username_from_url or "git", f"{key}.pub", key, "")

    def certificate_check(self, certificate, valid, host):  # type: ignore[no-untyped-def]
        return True

    def push_update_reference(self, refname, message):  # type: ignore[no-untyped-def]
        self.refused[refname] = message


def libgit2_url(site: Site, kind: str, name: str) -> str:
    assert pygit2.features & pygit2.enums.Feature.SSH
    return site.daemon.ssh_url(name) if kind == "ssh" else site.daemon.url(name)


def test_libgit2_clones_fetches_and_pushes(
    site: Site, kind: str, pushed: str, work: Path, tmp_path: Path, known_hosts: None
) -> None:
    url = libgit2_url(site, kind, pushed)
    cloned = pygit2.clone_repository(url, str(tmp_path / "clone"), callbacks=Callbacks(site.alice))
    assert str(cloned.head.target) == refs(work)["refs/heads/main"]
    assert set(cloned.branches.remote) >= {"origin/main", "origin/side"}

    new = commit(work, "four")
    git("push", "-q", Door(site, "http", 2, site.alice).url(pushed), "main", cwd=work)
    cloned.remotes["origin"].fetch(callbacks=Callbacks(site.alice))
    assert str(cloned.branches.remote["origin/main"].target) == new

    author = pygit2.Signature("A", "a@example.org")
    tree = cloned.index.write_tree()
    made = cloned.create_commit(
        "refs/heads/theirs", author, author, "libgit2", tree, [cloned.head.target]
    )
    callbacks = Callbacks(site.alice)
    cloned.remotes["origin"].push(["refs/heads/theirs"], callbacks=callbacks)
    assert not any(callbacks.refused.values())
    assert refs(site.disk(pushed))["refs/heads/theirs"] == str(made)
    cloned.remotes["origin"].push([":refs/heads/theirs"], callbacks=Callbacks(site.alice))
    assert "refs/heads/theirs" not in refs(site.disk(pushed))
    sound(site, pushed)


def test_libgit2_is_told_why_a_push_is_refused(
    site: Site, kind: str, pushed: str, tmp_path: Path, known_hosts: None
) -> None:
    url = libgit2_url(site, kind, pushed)
    cloned = pygit2.clone_repository(url, str(tmp_path / "clone"), callbacks=Callbacks(site.alice))
    callbacks = Callbacks(site.alice)
    refspec = "refs/heads/main:refs/heads/MAIN"
    cloned.remotes["origin"].push([refspec], callbacks=callbacks)
    assert callbacks.refused["refs/heads/MAIN"]
    with pytest.raises((pygit2.GitError, KeyError)):
        pygit2.clone_repository(url, str(tmp_path / "bob"), callbacks=Callbacks(site.bob))


# isomorphic-git


def node(
    command: str, folder: Path, url: str, token: str, *more: str
) -> subprocess.CompletedProcess[str]:
    assert (NODE / "node_modules").exists(), "run `scripts/setup dev .venv`: it runs npm ci"
    return subprocess.run(
        ["node", str(NODE / "client.mjs"), command, str(folder), url, token, *more],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_isomorphic_git(site: Site, pushed: str, work: Path, tmp_path: Path) -> None:
    url, token = site.daemon.url(f"{pushed}.git"), site.alice.token
    listed = node("refs", tmp_path, url, token)
    assert listed.returncode == 0, listed.stderr
    found = {ref["ref"]: ref["oid"] for ref in json.loads(listed.stdout)}
    assert found["refs/heads/main"] == refs(work)["refs/heads/main"]

    clone = tmp_path / "clone"
    done = node("clone", clone, url, token, "main")
    assert done.returncode == 0, done.stderr
    assert (clone / "dir/two").read_text() == (work / "dir/two").read_text()
    git("fsck", cwd=clone)

    new = commit(work, "four")
    git("push", "-q", Door(site, "http", 2, site.alice).url(pushed), "main", cwd=work)
    done = node("fetch", clone, url, token, "main")
    assert done.returncode == 0, done.stderr
    assert refs(clone)["refs/remotes/origin/main"] == new

    git("checkout", "-q", "-b", "theirs", cwd=clone)
    made = commit(clone, "by-javascript")
    done = node("push", clone, url, token, "theirs")
    assert done.returncode == 0, done.stderr
    assert refs(site.disk(pushed))["refs/heads/theirs"] == made
    done = node("delete", clone, url, token, "theirs")
    assert done.returncode == 0, done.stderr
    assert "refs/heads/theirs" not in refs(site.disk(pushed))
    sound(site, pushed)


def test_isomorphic_git_shallow_and_refused(
    site: Site, pushed: str, work: Path, tmp_path: Path
) -> None:
    url = site.daemon.url(f"{pushed}.git")
    done = node("shallow", tmp_path / "clone", url, site.alice.token, "main")
    assert done.returncode == 0, done.stderr
    assert len(git("rev-list", "HEAD", cwd=tmp_path / "clone").stdout.split()) == 1
    wrong = node("clone", tmp_path / "wrong", url, "wit_" + "0" * 40, "main")
    assert (
        wrong.returncode == 1 and "401" in wrong.stderr + wrong.stdout
    ) or "Cancel" in wrong.stderr
    bob = node("clone", tmp_path / "bob", url, site.bob.token, "main")
    assert bob.returncode == 1 and "404" in bob.stderr


# SSH libraries


def advertised(data: bytes) -> dict[str, str]:
    """Refs of a version 0 advertisement: name to id."""
    lines = [packet.partition(b"\0")[0].decode().strip() for packet in packets(data)]
    return {name: oid for oid, _, name in (line.partition(" ") for line in lines)}


def test_asyncssh_reads_an_advertisement(site: Site, pushed: str, work: Path) -> None:
    async def ask() -> bytes:
        async with asyncssh.connect(
            "127.0.0.1", site.daemon.ssh_port, username="git", known_hosts=None, config=None,
            client_keys=[str(site.alice.key)],
        ) as connection:  # fmt: skip
            done = await connection.run(
                f"git-upload-pack '{pushed}'", input=b"0000", encoding=None, check=True
            )
            return cast(bytes, done.stdout)

    found = advertised(asyncio.run(ask()))
    assert {name: found[name] for name in refs(work)} == refs(work)


def test_asyncssh_greeting_and_keepalive(site: Site) -> None:
    async def ask() -> str:
        async with asyncssh.connect(
            "127.0.0.1", site.daemon.ssh_port, username="git", known_hosts=None, config=None,
            client_keys=[str(site.alice.key)], keepalive_interval=0.05,
        ) as connection:  # fmt: skip
            await asyncio.sleep(0.3)
            done = await connection.run(None, term_type="xterm", check=False)
            return str(done.stdout) + str(done.stderr)

    assert "alice" in asyncio.run(ask())


@pytest.mark.parametrize("kind_of_key", ["ed25519", "rsa", "ecdsa"])
def test_paramiko_reads_an_advertisement(
    site: Site, pushed: str, work: Path, tmp_path: Path, kind_of_key: str
) -> None:
    name = "alice"
    file = site.alice.key
    if kind_of_key != "ed25519":
        file = site.daemon.data_dir.parent / f"{name}_{kind_of_key}"
        if not file.exists():
            site.daemon.key(name, file.parent, kind_of_key)
    with paramiko.SSHClient() as client:
        client.set_missing_host_key_policy(paramiko.AutoAddPolicy())
        client.connect(
            "127.0.0.1", site.daemon.ssh_port, "git", key_filename=str(file), look_for_keys=False,
            allow_agent=False, timeout=20,
        )  # fmt: skip
        stdin, stdout, _ = client.exec_command(f"git-upload-pack '{pushed}'")
        stdin.write(b"0000")
        stdin.channel.shutdown_write()
        found = advertised(stdout.read())
        assert stdout.channel.recv_exit_status() == 0
    assert {name: found[name] for name in refs(work)} == refs(work)


# git-lfs


def test_git_lfs_is_told_that_there_is_none(site: Site, repo: str, work: Path) -> None:
    """A clear failure of the upload; the ordinary part of git is as before."""
    environment = {"GIT_LFS_SKIP_SMUDGE": "1"}
    git("lfs", "install", "--local", cwd=work, env=environment)
    git("lfs", "track", "*.bin", cwd=work, env=environment)
    git("add", ".gitattributes", cwd=work)
    commit(work, "large.bin", "pretend that this is large")
    url = Door(site, "http", 2, site.alice).url(repo)
    done = git("push", url, "main", cwd=work, env=environment, check=False)
    assert done.returncode != 0
    assert "404" in done.stderr or "not found" in done.stderr.lower(), done.stderr
    assert refs(site.disk(repo)) == {}
    git("push", "--no-verify", "-q", url, "main", cwd=work, env=environment)
    assert set(refs(site.disk(repo))) == {"refs/heads/main"}
