"""The npm registry: packages, their versions and tags, and who looks after them."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
)

from wit.db.tables.base import created, metadata, repo, updated, user
from wit.db.types import Id, Timestamp

packages = Table(
    "packages",
    metadata,
    Column("id", Id, primary_key=True),
    Column("name", String(214), nullable=False),
    Column("scope", String(214)),
    Column("full_name", String(214), nullable=False, unique=True),
    repo(),
    Column("description", Text),
    Column("visibility", String(8), nullable=False, server_default="public"),
    Column("keywords", Text),
    Column("license", Text),
    Column("homepage", Text),
    Column("readme", Text),
    Column("readme_filename", String(255)),
    Column("download_count", Integer, nullable=False, server_default="0"),
    Column("deprecated", Text),
    Column("publish_on_release", Boolean, nullable=False, server_default=false()),
    Column("revision", Integer, nullable=False, server_default="0"),
    created(),
    updated(),
    CheckConstraint("visibility in ('public', 'private')", name="visibility"),
    Index(None, "scope"),
    Index(None, "updated_at"),
)
"""``keywords`` is the text of a JSON array. wit's own: ``readme_filename``, ``full_name``
(``name`` or ``@scope/name``) and ``revision``, which every change of what clients see raises by
one; a repository may have several packages."""

package_versions = Table(
    "package_versions",
    metadata,
    Column("id", Id, primary_key=True),
    Column("package_id", Id, ForeignKey("packages.id", ondelete="CASCADE"), nullable=False),
    Column("version", String(256), nullable=False),
    Column("tag_name", String(100)),
    Column("tarball_url", Text, nullable=False),
    Column("tarball_sha512", String(128), nullable=False, index=True),
    Column("tarball_sha1", String(40), nullable=False),
    Column("tarball_size", BigInteger, nullable=False),
    Column("manifest", Text, nullable=False),
    Column("dependencies", Text),
    Column("dev_dependencies", Text),
    Column("peer_dependencies", Text),
    Column("optional_dependencies", Text),
    Column("engines", Text),
    Column("bin", Text),
    Column("attestations_sha512", String(128), index=True),
    Column("published_by", Id, ForeignKey("user.id", ondelete="SET NULL"), index=True),
    Column("deprecated", Text),
    Column("download_count", Integer, nullable=False, server_default="0"),
    Column("published_at", Timestamp, nullable=False),
    UniqueConstraint("package_id", "version"),
)
"""Maps and ``manifest`` are JSON text; the manifest has all of ``dist`` but the tarball's address.
wit's own: ``tarball_sha1`` and ``attestations_sha512``, the blob with the provenance that came
along; digests are hexadecimal."""

package_dist_tags = Table(
    "package_dist_tags",
    metadata,
    Column("id", Id, primary_key=True),
    Column("package_id", Id, ForeignKey("packages.id", ondelete="CASCADE"), nullable=False),
    Column("tag", String(100), nullable=False),
    Column(
        "version_id",
        Id,
        ForeignKey("package_versions.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("updated_at", Timestamp, nullable=False),
    UniqueConstraint("package_id", "tag"),
)

package_maintainers = Table(
    "package_maintainers",
    metadata,
    Column("package_id", Id, ForeignKey("packages.id", ondelete="CASCADE"), nullable=False),
    user(),
    Column("added_at", Timestamp, nullable=False),
    Column("added_by", Id, ForeignKey("user.id", ondelete="SET NULL"), index=True),
    PrimaryKeyConstraint("package_id", "user_id"),
)

package_stars = Table(
    "package_stars",
    metadata,
    Column("package_id", Id, ForeignKey("packages.id", ondelete="CASCADE"), nullable=False),
    user(),
    created(),
    PrimaryKeyConstraint("package_id", "user_id"),
)
"""wit's own: ``npm star``."""

package_dependencies = Table(
    "package_dependencies",
    metadata,
    Column("version_id", Id, ForeignKey("package_versions.id", ondelete="CASCADE"), nullable=False),
    Column("depends_on", String(214), nullable=False, index=True),
    Column(
        "package_id",
        Id,
        ForeignKey("packages.id", ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    Column("range", Text, nullable=False),
    PrimaryKeyConstraint("version_id", "depends_on"),
)
"""wit's own: what versions need to be installed; asked before something is unpublished."""

package_numbers = Table(
    "package_numbers",
    metadata,
    Column("full_name", String(214), nullable=False),
    Column("version", String(256), nullable=False),
    Column("published_at", Timestamp, nullable=False),
    PrimaryKeyConstraint("full_name", "version"),
)
"""wit's own: every number that was ever published. It outlives version, package and repository, so
that a number never stands for other bytes."""
