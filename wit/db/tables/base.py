"""What all tables share: the metadata with its naming convention, and columns that recur."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ForeignKey, MetaData

from wit.db.types import Id, Timestamp

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def created() -> Column[Any]:
    return Column("created_at", Timestamp, nullable=False)


def updated() -> Column[Any]:
    return Column("updated_at", Timestamp, nullable=False)


def user(nullable: bool = False) -> Column[Any]:
    return Column(
        "user_id", Id, ForeignKey("user.id", ondelete="CASCADE"), nullable=nullable, index=True
    )


def repo() -> Column[Any]:
    return Column(
        "repo_id", Id, ForeignKey("repositories.id", ondelete="CASCADE"), nullable=False, index=True
    )
