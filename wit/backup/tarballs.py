"""What was published to the registry: its files, saved with their digests and put back by them.

Only the local store is saved; what is in S3 is kept safe there. Everything here blocks.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from wit.backup.archive import Member, Writer
from wit.config import Config
from wit.db.tables import package_versions
from wit.errors import Invalid
from wit.packages.local_blobs import blob_path

MAX_PROBLEMS = 20
"""Missing tarballs that are named."""

_BLOCK = 1024 * 1024


def named_by_rows(connection: Connection) -> list[str]:
    """The digests of all files that versions have."""
    tarball, proof = package_versions.c.tarball_sha512, package_versions.c.attestations_sha512
    proofs = sa.select(proof).where(proof.is_not(None))
    return sorted(connection.execute(sa.select(tarball).union(proofs)).scalars())


def copy(
    config: Config, wanted: Iterable[str], writer: Writer, progress: Callable[[str], object]
) -> list[str]:
    """Save the files; sentences about those that are not there."""
    if config.packages.storage != "local":
        return []
    progress("saving packages")
    lost = []
    for sha512 in wanted:
        try:
            writer.add_file(f"packages/{sha512}", blob_path(config.packages_dir, sha512))
        except FileNotFoundError:
            lost.append(sha512)
    return _sentences(lost, config)


def put_back(staging: Path, sha512: str, member: Member) -> None:
    """Raises Invalid if the member is not what its name says."""
    target = blob_path(staging, sha512)
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest = hashlib.sha512()
    with open(target, "xb") as file:
        while data := member.file.read(_BLOCK):
            digest.update(data)
            file.write(data)
    target.chmod(0o600)
    if digest.hexdigest() != sha512:
        raise Invalid(f"{member.name} in the backup is damaged")


def install(staging: Path, folder: Path, undo: ExitStack) -> None:
    """Move what was put back into the store in ``folder``."""
    for path in staging.glob("blobs/*/*/*"):
        target = blob_path(folder, path.name)
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not target.exists():
            undo.callback(target.unlink)
        os.replace(path, target)


def missing(config: Config, connection: Connection) -> list[str]:
    """Sentences about versions whose files are not in the local store."""
    if config.packages.storage != "local":
        return []
    folder = config.packages_dir
    wanted = named_by_rows(connection)
    return _sentences(
        [sha512 for sha512 in wanted if not blob_path(folder, sha512).exists()], config
    )


def _sentences(lost: list[str], config: Config) -> list[str]:
    shown = [
        f"a published tarball is missing: {blob_path(config.packages_dir, sha512)}"
        for sha512 in lost[:MAX_PROBLEMS]
    ]
    if len(lost) > MAX_PROBLEMS:
        shown.append(f"… and {len(lost) - MAX_PROBLEMS} more published tarballs are missing")
    return shown
