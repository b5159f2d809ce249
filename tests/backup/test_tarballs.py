"""Published packages are saved and come back: rows and files."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.backup.support import NOW, Site, content, fill, make_repository, silent
from wit.backup import rows, tarballs
from wit.backup.create import backup
from wit.backup.restore import restore
from wit.config import Config, Database
from wit.db import tables
from wit.errors import Invalid
from wit.packages.local_blobs import blob_path
from wit.runtime import Runtime

CONTENTS = {"1.0.0": b"first" * 1000, "1.1.0": b"second"}
PROOF = b'{"attestations": []}'


def digest(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest()


def publish(site: Site) -> None:
    for data in (*CONTENTS.values(), PROOF):
        path = blob_path(site.config.packages_dir, digest(data))
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    with rows.writing(site.config.database_url) as connection:
        repo = connection.execute(sa.select(tables.repositories.c.id)).scalar()
        connection.execute(sa.insert(tables.packages), {
            "id": "p1", "name": "tool", "full_name": "tool", "repo_id": repo,
            "keywords": '["ü"]', "created_at": NOW, "updated_at": NOW,
        })  # fmt: skip
        for version, data in CONTENTS.items():
            connection.execute(sa.insert(tables.package_versions), {
                "id": version, "package_id": "p1", "version": version, "tarball_url": "/x",
                "tarball_sha512": digest(data), "tarball_sha1": "0" * 40,
                "tarball_size": len(data), "manifest": '{"a": "\\u0000"}', "published_at": NOW,
                "attestations_sha512": digest(PROOF),
            })  # fmt: skip


@pytest.fixture
def filled(site: Site, tmp_path: Path) -> Site:
    make_repository(site.config.repos_dir, "alice/tools", tmp_path)
    fill(site.config.database_url, "alice/tools")
    publish(site)
    return site


def test_they_come_back_in_the_other_engine(
    run: Any, filled: Site, other_url: str, tmp_path: Path, runtime: Runtime
) -> None:
    file = tmp_path / "site.tar"
    assert run(backup(filled, file, silent)).problems == ()
    target = Config(tmp_path / "restored", database=Database(url=other_url))
    assert run(restore(runtime, file, target, silent)).problems == ()
    assert content(other_url) == content(filled.config.database_url)
    for data in (*CONTENTS.values(), PROOF):
        assert blob_path(target.packages_dir, digest(data)).read_bytes() == data
    assert not list(target.packages_dir.glob("restore-*"))


def test_one_that_is_lost_is_told(run: Any, filled: Site, tmp_path: Path) -> None:
    lost = digest(CONTENTS["1.0.0"])
    blob_path(filled.config.packages_dir, lost).unlink()
    (problem,) = run(backup(filled, tmp_path / "site.tar", silent)).problems
    assert lost in problem
    with rows.reading(filled.config.database_url) as connection:
        assert tarballs.missing(filled.config, connection) == [problem]


def test_one_that_is_damaged_is_not_taken(
    run: Any, filled: Site, other_url: str, tmp_path: Path, runtime: Runtime
) -> None:
    damaged = digest(CONTENTS["1.0.0"])
    blob_path(filled.config.packages_dir, damaged).write_bytes(b"other")
    file = tmp_path / "site.tar"
    run(backup(filled, file, silent))
    with tarfile.open(file) as archive:
        assert f"packages/{damaged}" in archive.getnames()
    target = Config(tmp_path / "restored", database=Database(url=other_url))
    with pytest.raises(Invalid, match="damaged"):
        run(restore(runtime, file, target, silent))
    assert not [path for path in target.packages_dir.rglob("*") if path.is_file()]
