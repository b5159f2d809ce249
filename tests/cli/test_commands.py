"""Each command against a database of each engine, through the very function that runs it."""

from __future__ import annotations

import io
import json
import re
import subprocess
from pathlib import Path

import pytest

from wit.backup import rows
from wit.cli.grammar import make_parser
from wit.cli.main import handler
from wit.cli.session import Session, execute
from wit.config import Config, Database
from wit.config_sources import read

SSH_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO0ZP5Rs3k8y0YHgtxUYdWYVTUNMNnPUjE2E6sKZ3b7d a@b"
PASSWORD = "correct horse battery"


class Wit:
    """``wit(arguments...)`` in this process; keeps what it said."""

    def __init__(self, run, runtime, folder: Path, url: str = "") -> None:
        self.run, self.runtime, self.folder, self.url = run, runtime, folder, url

    def __call__(self, *words: object, stdin: str = "", status: int = 0) -> str:
        arguments = make_parser("0").parse_args(["--data-dir", str(self.folder), *map(str, words)])
        flags = {"database": self.url} if self.url else {}
        loaded = read(self.folder, flags, {}, write_default=arguments.writes)
        out, err = io.StringIO(), io.StringIO()
        session = Session(loaded, self.runtime, io.StringIO(stdin), out, err)
        got = self.run(execute(session, handler(arguments), arguments))
        self.err = err.getvalue()
        assert "Traceback" not in self.err
        assert got == status, f"{words}: {got}\n{out.getvalue()}{self.err}"
        return out.getvalue()

    def json(self, *words: object):
        return json.loads(self(*words, "--json"))


@pytest.fixture
def wit(run, runtime, tmp_path, database_url) -> Wit:
    return Wit(run, runtime, tmp_path / "data", database_url)


@pytest.fixture
def site(wit) -> Wit:
    """With alice (the superadmin), bob, and alice/tools."""
    arguments = ("--password-stdin", "--admin")
    wit("user", "create", "alice", "--email", "a@example.org", *arguments, stdin=PASSWORD + "\n")
    wit("user", "create", "bob", "--email", "b@example.org")
    wit("repo", "create", "alice/tools", "--private")
    return wit


def test_invitations_and_lost_devices(site):
    link = site("user", "invite", "carol@example.org", "--by", "alice").strip()
    assert re.fullmatch(r"http://localhost:3000/register\?invitation=[A-Za-z0-9]{40}", link)
    site("user", "invite", "b@example.org", "--by", "alice", status=1)
    assert "taken" in site.err
    site("user", "invite", "carol@example.org", "--by", "nobody", status=1)
    site("user", "two-factor-off", "bob")
    assert "password alone" in site.err


def test_users(site):
    assert [(u["username"], u["role"]) for u in site.json("user", "list")] == [
        ("alice", "superadmin"), ("bob", "user"),
    ]  # fmt: skip
    assert "ALICE" not in site("user", "list")
    site("user", "create", "Alice", "--email", "c@example.org", status=1)
    assert "taken" in site.err
    site("user", "create", "a/b", "--email", "c@example.org", status=1)
    site("user", "suspend", "bob", "--reason", "spam")
    assert site.json("user", "list")[1]["suspended"] is True
    site("user", "resume", "bob")
    site("user", "role", "alice", "admin", status=1)
    assert "last superadmin" in site.err
    site("user", "suspend", "alice", status=1)
    assert "last superadmin" in site.err
    site("user", "role", "bob", "superadmin")
    assert site.json("user", "list")[1]["role"] == "superadmin"
    site("user", "role", "alice", "admin")
    site("user", "role", "bob", "user", status=1)
    site("user", "role", "alice", "superadmin")
    site("user", "create", "cyd", "--email", "c@example.org", "--admin")
    assert site.json("user", "list")[2]["role"] == "admin"
    site("user", "delete", "cyd", "--yes")
    site("user", "passwd", "bob", "--password-stdin", stdin="another good one\n")
    site("user", "passwd", "bob", "--password-stdin", stdin="", status=1)
    assert "standard input" in site.err
    site("user", "delete", "bob", status=1)
    assert "--yes" in site.err
    site("user", "delete", "bob", "--yes")
    assert len(site.json("user", "list")) == 1
    site("user", "suspend", "nobody", status=1)
    assert site.err == "wit: there is no user 'nobody'\n"


def audit(site) -> list[tuple[str, str]]:
    async def read() -> list[tuple[str, str]]:
        from wit.accounts.audit import AuditFilter
        from wit.core import Core

        core = Core(Config(site.folder, database=Database(url=site.url)), site.runtime)
        await core.open()
        try:
            rows, _ = await core.audit.list(AuditFilter(), 100, 0)
            assert all(row["admin_id"] is None for row in rows)
            assert {row["metadata"]["actor"] for row in rows} == {"operator"}
            return [(row["action"], row["description"]) for row in reversed(rows)]
        finally:
            await core.close()

    return site.run(read())


@pytest.mark.attack(52)
def test_the_audit_log_knows_the_command_line(site):
    site("user", "role", "bob", "admin")
    site("user", "suspend", "bob", "--reason", "spam")
    site("user", "resume", "bob")
    site("user", "passwd", "bob", "--password-stdin", stdin="another good one\n")
    site("user", "two-factor-off", "bob")
    site("user", "role", "alice", "user", status=1)
    site("user", "delete", "bob", "--yes")
    log = audit(site)
    assert log == [
        ("user.role_changed", "Changed the role of alice from user to superadmin"),
        ("user.role_changed", "Changed the role of bob from user to admin"),
        ("user.suspended", "Suspended bob"),
        ("user.unsuspended", "Ended the suspension of bob"),
        ("user.password_reset", "Set another password"),
        ("user.two_factor_reset", "Took two-factor sign-in away"),
        ("user.deleted", "Removed bob"),
    ]


@pytest.mark.attack(52)
def test_the_last_superadmin_stays(site):
    site("repo", "delete", "alice/tools", "--yes")
    site("user", "delete", "alice", "--yes", status=1)
    assert "last superadmin" in site.err and "wit user role NAME superadmin" in site.err
    site("user", "role", "bob", "superadmin")
    site("user", "delete", "alice", "--yes")
    site("user", "delete", "bob", "--yes", status=1)
    assert [user["username"] for user in site.json("user", "list")] == ["bob"]


def test_passwords_are_the_whole_line_and_never_shown(site, run, runtime):
    site("user", "create", "eve", "--email", "e@example.org", "--password-stdin",
         stdin=" pass:word with ü \nsecond line")  # fmt: skip
    assert "pass:word" not in site.err

    async def verify() -> str:
        from wit.core import Core

        core = Core(Config(site.folder, database=Database(url=site.url)), runtime)
        await core.open()
        try:
            actor = await core.credentials.basic("eve", " pass:word with ü ", "127.0.0.1")
            return actor.username
        finally:
            await core.close()

    assert run(verify()) == "eve"


def test_tokens(site):
    out = site("token", "create", "alice", "--name", "laptop", "--scopes", "repo:read, repo:write")
    assert re.fullmatch(r"wit_[0-9a-f]{40}\n", out)
    assert out.strip() not in site.err
    (token,) = site.json("token", "list", "alice")
    assert token["scopes"] == ["repo:read", "repo:write"]
    assert "token_hash" not in token
    site("token", "create", "alice", "--name", "x", "--scopes", "repo:root", status=1)
    site("token", "create", "alice", "--name", "x", "--scopes", "repo:read", "--days", "7")
    site("token", "revoke", "alice", token["id"])
    site("token", "revoke", "bob", token["id"], status=1)
    assert [t["name"] for t in site.json("token", "list", "alice")] == ["x"]


def test_keys(site, tmp_path):
    (tmp_path / "id.pub").write_text(SSH_KEY + "\n")
    site("key", "add", "alice", tmp_path / "id.pub")
    (key,) = site.json("key", "list", "alice")
    assert key["fingerprint"].startswith("SHA256:")
    site("key", "add", "bob", "-", stdin=SSH_KEY, status=1)
    site("key", "remove", "alice", "SHA256:other", status=1)
    site("key", "remove", "alice", key["fingerprint"])
    site("key", "add", "bob", "-", "--title", "desk", stdin=SSH_KEY)
    assert site.json("key", "list", "bob")[0]["title"] == "desk"
    site("key", "add", "bob", tmp_path / "none.pub", status=1)
    assert "none.pub: No such file" in site.err
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    site("key", "add", "bob", tmp_path / "binary", status=1)


def test_organizations(site):
    site("org", "create", "acme", "--owner", "alice", "--display-name", "ACME Inc.")
    site("org", "member", "acme", "bob")
    site("org", "member", "acme", "bob", "admin")
    assert {m["username"]: m["role"] for m in site.json("org", "members", "acme")} == {
        "alice": "owner", "bob": "admin",
    }  # fmt: skip
    site("org", "member", "acme", "bob", "--remove")
    site("org", "member", "acme", "alice", "--remove", status=1)
    assert "last owner" in site.err
    site("repo", "create", "acme/site")


def test_repositories(site, tmp_path):
    source = tmp_path / "source"
    subprocess.run(["git", "init", "-q", source], check=True)
    subprocess.run(["git", "-C", source, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    site("repo", "import", "bob/copy", source)
    assert "importing bob/copy" in site.err
    head = subprocess.run(
        ["git", "-C", site.folder / "repos/bob/copy.git", "rev-parse", "main"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert len(head.stdout) == 41
    site("repo", "import", "bob/none", tmp_path / "nowhere", status=1)
    site("repo", "fork", "bob/copy", "alice/copy")
    site("repo", "rename", "alice/copy", "fork")
    site("repo", "transfer", "alice/fork", "bob")
    names = [(r["full_name"], r["is_private"]) for r in site.json("repo", "list")]
    assert names == [("alice/tools", True), ("bob/copy", False), ("bob/fork", False)]
    assert len(site.json("repo", "list", "--owner", "bob")) == 2
    site("repo", "delete", "bob/fork", status=1)
    site("repo", "delete", "bob/fork", "--yes")
    assert not (site.folder / "repos/bob/fork.git").exists()
    site("repo", "create", "alice/Tools", status=1)
    site("repo", "create", "alice/../x", status=1)
    site("repo", "create", "nobody/x", status=1)
    site("repo", "create", "alice/new", "--object-format", "sha256", "--default-branch", "trunk")
    head = (site.folder / "repos/alice/new.git/HEAD").read_text()
    assert head == "ref: refs/heads/trunk\n"


def test_rights(site):
    site("collaborator", "add", "alice/tools", "bob", "write")
    site("collaborator", "add", "alice/tools", "bob", "read")
    (row,) = site.json("collaborator", "list", "alice/tools")
    assert (row["username"], row["permission"]) == ("bob", "read")
    site("collaborator", "remove", "alice/tools", "bob")
    site("collaborator", "remove", "alice/tools", "bob", status=1)
    site("collaborator", "add", "alice/none", "bob", "read", status=1)


def test_protection(site):
    site("protect", "alice/tools", "main")
    site("protect", "alice/tools", "a*", "--no-force-push")
    site("protect", "alice/tools", "b*", "--no-delete")
    site("protect", "alice/tools", "c*", "--require-pr")
    site("protect", "alice/tools", "d*", "--pusher", "bob", "--pusher", "alice")
    rules = {
        r.pop("pattern"): tuple(r.values()) for r in site.json("protect", "alice/tools", "--list")
    }
    assert rules == {  # force push, deletion, pull request, pushers
        "main": (False, False, False, []),
        "a*": (False, True, False, []),
        "b*": (True, False, False, []),
        "c*": (False, False, True, []),
        "d*": (True, True, False, ["bob", "alice"]),
    }
    site("protect", "alice/tools", "main", "--remove")
    site("protect", "alice/tools", "main", "--remove", status=1)
    site("protect", "alice/tools", status=1)
    assert "PATTERN" in site.err


def test_sync_registers_what_is_on_disk(site):
    folder = site.folder / "repos" / "bob" / "dropped.git"
    subprocess.run(["git", "init", "-q", "--bare", folder], check=True)
    results = site.json("sync", "--private")
    assert {r["name"]: r["action"] for r in results} == {"tools": "skipped", "dropped": "created"}
    found = {row["full_name"]: row["is_private"] for row in site.json("repo", "list")}
    assert found["bob/dropped"] is True
    (site.folder / "repos" / "bob" / "broken.git").mkdir()
    assert "this is not a bare repository" in site("sync", status=1)


def test_maintenance_and_jobs(site):
    site("maintenance", "run", "alice/tools")
    site("maintenance", "run", "alice/none", status=1)
    assert site.json("jobs", "list") == []
    site("jobs", "cancel", "nothing", status=1)


def test_migrate(site):
    assert site("migrate", "--check").startswith("current: ")
    assert site("migrate") == ""


def test_migrate_of_a_fresh_folder(run, runtime, tmp_path):
    wit = Wit(run, runtime, tmp_path / "fresh")
    assert "empty: the database has schema none" in wit("migrate", "--check", status=1)
    assert not (tmp_path / "fresh").exists()
    assert "applied 0001" in wit("migrate")
    wit("migrate", "--check")


def test_a_newer_schema_is_refused(site):
    with rows.writing(site.url) as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for words in (("user", "list"), ("migrate", "--check"), ("migrate",), ("backup", "x.tar")):
        site(*words, status=1)
        assert "install the newer wit" in site.err
    assert "schema 9999 is newer" in site("doctor", status=1)


def test_backup_and_restore(site, tmp_path, run, runtime):
    file = tmp_path / "site.tar.gz"
    site("backup", file)
    assert "saved 1 repositories" in site.err
    other = Wit(run, runtime, tmp_path / "other")
    other("restore", file)
    assert other.json("repo", "list")[0]["full_name"] == "alice/tools"
    other("restore", file, status=1)
    assert "--force" in other.err
    other("restore", file, "--force", status=1)
    assert "before-restore" in other.err
    Wit(run, runtime, tmp_path / "nothing")("backup", file, status=1)
    assert not (tmp_path / "nothing").exists()


def test_config_print(site):
    text = site("config", "print")
    assert f"# data folder: {site.folder}" in text
    assert "[repositories]" in text
    assert "flag --database" in text


def test_a_terminal_is_safe_from_what_users_typed():
    out = io.StringIO()
    session = Session(None, None, io.StringIO(), out, io.StringIO())
    session.table([{"name": "C\u202eevil\x1b[2J\n"}], ("name",), as_json=False)
    assert out.getvalue() == "NAME\nC\\u202eevil\\x1b[2J\\n\n"


def test_internal_errors_are_one_sentence(run, runtime, tmp_path):
    async def broken(session, arguments) -> None:
        raise KeyError("secret https://u:canary@h/")

    loaded = read(tmp_path, {}, {}, write_default=False)
    err = io.StringIO()
    session = Session(loaded, runtime, io.StringIO(), io.StringIO(), err)
    arguments = make_parser("0").parse_args(["config", "print"])
    assert run(execute(session, broken, arguments)) == 1
    assert err.getvalue().startswith("wit: internal error: KeyError")
    assert err.getvalue().count("\n") == 1
    assert "canary" not in err.getvalue()
