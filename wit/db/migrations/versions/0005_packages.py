"""The npm registry: packages, versions, tags, and who looks after them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.String(36)
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "packages",
        sa.Column("id", ID, nullable=False),
        sa.Column("name", sa.String(214), nullable=False),
        sa.Column("scope", sa.String(214), nullable=True),
        sa.Column("full_name", sa.String(214), nullable=False),
        sa.Column("repo_id", ID, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("visibility", sa.String(8), server_default="public", nullable=False),
        sa.Column("keywords", sa.Text(), nullable=True),
        sa.Column("license", sa.Text(), nullable=True),
        sa.Column("homepage", sa.Text(), nullable=True),
        sa.Column("readme", sa.Text(), nullable=True),
        sa.Column("readme_filename", sa.String(255), nullable=True),
        sa.Column("download_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("deprecated", sa.Text(), nullable=True),
        sa.Column("publish_on_release", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("revision", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.CheckConstraint(
            "visibility in ('public', 'private')", name=op.f("ck_packages_visibility")
        ),
        sa.ForeignKeyConstraint(
            ["repo_id"], ["repositories.id"], name=op.f("fk_packages_repo_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_packages")),
        sa.UniqueConstraint("full_name", name=op.f("uq_packages_full_name")),
    )
    op.create_index(op.f("ix_packages_repo_id"), "packages", ["repo_id"], unique=False)
    op.create_index(op.f("ix_packages_scope"), "packages", ["scope"], unique=False)
    op.create_index(op.f("ix_packages_updated_at"), "packages", ["updated_at"], unique=False)
    op.create_table(
        "package_versions",
        sa.Column("id", ID, nullable=False),
        sa.Column("package_id", ID, nullable=False),
        sa.Column("version", sa.String(256), nullable=False),
        sa.Column("tag_name", sa.String(100), nullable=True),
        sa.Column("tarball_url", sa.Text(), nullable=False),
        sa.Column("tarball_sha512", sa.String(128), nullable=False),
        sa.Column("tarball_sha1", sa.String(40), nullable=False),
        sa.Column("tarball_size", sa.BigInteger(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("dependencies", sa.Text(), nullable=True),
        sa.Column("dev_dependencies", sa.Text(), nullable=True),
        sa.Column("peer_dependencies", sa.Text(), nullable=True),
        sa.Column("optional_dependencies", sa.Text(), nullable=True),
        sa.Column("engines", sa.Text(), nullable=True),
        sa.Column("bin", sa.Text(), nullable=True),
        sa.Column("attestations_sha512", sa.String(128), nullable=True),
        sa.Column("published_by", ID, nullable=True),
        sa.Column("deprecated", sa.Text(), nullable=True),
        sa.Column("download_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("published_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["packages.id"],
            name=op.f("fk_package_versions_package_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["published_by"],
            ["user.id"],
            name=op.f("fk_package_versions_published_by"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_versions")),
        sa.UniqueConstraint(
            "package_id", "version", name=op.f("uq_package_versions_package_id_version")
        ),
    )
    op.create_index(
        op.f("ix_package_versions_attestations_sha512"),
        "package_versions",
        ["attestations_sha512"],
        unique=False,
    )
    op.create_index(
        op.f("ix_package_versions_published_by"), "package_versions", ["published_by"], unique=False
    )
    op.create_index(
        op.f("ix_package_versions_tarball_sha512"),
        "package_versions",
        ["tarball_sha512"],
        unique=False,
    )
    op.create_table(
        "package_dist_tags",
        sa.Column("id", ID, nullable=False),
        sa.Column("package_id", ID, nullable=False),
        sa.Column("tag", sa.String(100), nullable=False),
        sa.Column("version_id", ID, nullable=False),
        sa.Column("updated_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["packages.id"],
            name=op.f("fk_package_dist_tags_package_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["package_versions.id"],
            name=op.f("fk_package_dist_tags_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_package_dist_tags")),
        sa.UniqueConstraint("package_id", "tag", name=op.f("uq_package_dist_tags_package_id_tag")),
    )
    op.create_index(
        op.f("ix_package_dist_tags_version_id"), "package_dist_tags", ["version_id"], unique=False
    )
    op.create_table(
        "package_maintainers",
        sa.Column("package_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.Column("added_by", ID, nullable=True),
        sa.ForeignKeyConstraint(
            ["added_by"],
            ["user.id"],
            name=op.f("fk_package_maintainers_added_by"),
            ondelete="SET NULL",
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["packages.id"],
            name=op.f("fk_package_maintainers_package_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"],
            ["user.id"],
            name=op.f("fk_package_maintainers_user_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("package_id", "user_id", name=op.f("pk_package_maintainers")),
    )
    op.create_index(
        op.f("ix_package_maintainers_added_by"), "package_maintainers", ["added_by"], unique=False
    )
    op.create_index(
        op.f("ix_package_maintainers_user_id"), "package_maintainers", ["user_id"], unique=False
    )
    op.create_table(
        "package_stars",
        sa.Column("package_id", ID, nullable=False),
        sa.Column("user_id", ID, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["packages.id"],
            name=op.f("fk_package_stars_package_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["user.id"], name=op.f("fk_package_stars_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("package_id", "user_id", name=op.f("pk_package_stars")),
    )
    op.create_index(op.f("ix_package_stars_user_id"), "package_stars", ["user_id"], unique=False)
    op.create_table(
        "package_dependencies",
        sa.Column("version_id", ID, nullable=False),
        sa.Column("depends_on", sa.String(214), nullable=False),
        sa.Column("package_id", ID, nullable=False),
        sa.Column("range", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["packages.id"],
            name=op.f("fk_package_dependencies_package_id"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["version_id"],
            ["package_versions.id"],
            name=op.f("fk_package_dependencies_version_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("version_id", "depends_on", name=op.f("pk_package_dependencies")),
    )
    op.create_index(
        op.f("ix_package_dependencies_depends_on"),
        "package_dependencies",
        ["depends_on"],
        unique=False,
    )
    op.create_index(
        op.f("ix_package_dependencies_package_id"),
        "package_dependencies",
        ["package_id"],
        unique=False,
    )
    op.create_table(
        "package_numbers",
        sa.Column("full_name", sa.String(214), nullable=False),
        sa.Column("version", sa.String(256), nullable=False),
        sa.Column("published_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("full_name", "version", name=op.f("pk_package_numbers")),
    )
