"""Files that restoring refuses, and that it leaves nothing then."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from tests.backup.support import fill, make_repository, silent
from wit.backup import rows
from wit.backup.create import backup
from wit.backup.restore import restore
from wit.config import Config
from wit.errors import ConfigError, Invalid


def rewritten(source: Path, target: Path, change) -> Path:
    """A copy of a backup; ``change(name, data)`` gives (TarInfo, data), or None to leave out."""
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for info in old:
            content = old.extractfile(info)
            assert content is not None
            changed = change(info, content.read())
            if changed is not None:
                info, data = changed
                info.size = len(data)
                new.addfile(info, io.BytesIO(data))
    return target


@pytest.fixture
def small(run, sqlite_site, tmp_path) -> Path:
    make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fill(sqlite_site.config.database_url, "alice/tools")
    run(backup(sqlite_site, tmp_path / "small.tar", silent))
    return tmp_path / "small.tar"


def refused(run, runtime, tmp_path, file, error=Invalid) -> str:
    target = Config(tmp_path / "refused")
    with pytest.raises(error) as caught:
        run(restore(runtime, file, target, silent))
    left = [path for path in target.data_dir.rglob("*") if path.is_file()]
    assert {path.name.split("-")[0] for path in left} <= {"wit.db"}
    if (target.data_dir / "wit.db").exists():
        with rows.reading(target.database_url) as connection:
            assert rows.is_empty(connection)
    assert not list(target.repos_dir.glob("*/*"))[1:]
    return caught.value.message


@pytest.mark.parametrize(
    "name",
    ["../evil", "/etc/evil", "repos/alice/../../evil.git/HEAD", "repos/alice/x.git/hooks/update",
     "repos/alice/x.git/refs/../../../evil", "repos/.wit/x.git/HEAD", "ssh/../../evil",
     "repos/alice/x.git/objects/info/alternates", "db/alembic_version.jsonl", "db/nosuch.jsonl"],
)  # fmt: skip
def test_strange_members_are_refused(run, runtime, tmp_path, small, name):
    def change(info, data):
        if info.name == "end.json":
            info.name = name
        return info, data

    message = refused(run, runtime, tmp_path, rewritten(small, tmp_path / "bad.tar", change))
    assert name in message
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(run, runtime, tmp_path, small, kind):
    def change(info, data):
        if info.name.endswith("/HEAD"):
            info.type, info.linkname, data = kind, "/etc/passwd", b""
        return info, data

    message = refused(run, runtime, tmp_path, rewritten(small, tmp_path / "bad.tar", change))
    assert "not a plain file" in message


def test_a_cut_off_file_is_refused(run, runtime, tmp_path, small):
    data = small.read_bytes()
    cut = tmp_path / "cut.tar"
    for length in (0, 300, len(data) // 2, len(data) - 10240 - 512):
        cut.write_bytes(data[:length])
        refused(run, runtime, tmp_path, cut)
    without_end = rewritten(
        small, tmp_path / "x.tar", lambda i, d: None if i.name == "end.json" else (i, d)
    )
    assert "cut off" in refused(run, runtime, tmp_path, without_end)


def test_other_files_are_refused(run, runtime, tmp_path):
    (tmp_path / "x.tar").write_text("hello" * 1000)
    assert "not a backup of wit" in refused(run, runtime, tmp_path, tmp_path / "x.tar")
    assert "No such file" in refused(run, runtime, tmp_path, tmp_path / "none.tar")


def changed_manifest(small: Path, target: Path, **values: object) -> Path:
    def change(info, data):
        if info.name == "manifest.json":
            data = json.dumps(json.loads(data) | values).encode()
        return info, data

    return rewritten(small, target, change)


@pytest.mark.attack(71)
def test_a_newer_schema_or_format_is_refused_with_an_instruction(run, runtime, tmp_path, small):
    bad = changed_manifest(small, tmp_path / "s.tar", schema="9999")
    message = refused(run, runtime, tmp_path, bad, ConfigError)
    assert "9999" in message
    assert "install that version" in message
    bad = changed_manifest(small, tmp_path / "f.tar", format=99, wit="7.0")
    assert "restore it with wit 7.0" in refused(run, runtime, tmp_path, bad)
