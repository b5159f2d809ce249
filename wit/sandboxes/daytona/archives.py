"""Checking a tar archive before it is unpacked inside a sandbox."""

from __future__ import annotations

import posixpath
import tarfile
from typing import IO

from wit.errors import Invalid

MAX_MEMBERS = 1_000_000


def check(file: IO[bytes]) -> None:
    """Read an archive from its beginning (blocking); raises Invalid for what is none, breaks off,
    or would put anything outside the folder that it is unpacked in."""
    file.seek(0)
    links: set[str] = set()
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for number, member in enumerate(archive):
                if number >= MAX_MEMBERS:
                    raise Invalid(f"the archive has more than {MAX_MEMBERS} members")
                _check_member(member, links)
            size = file.seek(0, 2)
            if archive.offset > size:
                raise Invalid("the archive breaks off before its end")
    except tarfile.TarError:
        raise Invalid("this is no tar archive, or it breaks off before its end") from None


def _check_member(member: tarfile.TarInfo, links: set[str]) -> None:
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise Invalid(f"the archive holds {member.name!r}, which is neither file, folder nor link")
    name = _inside(member.name)
    parents = name.split("/")
    for depth in range(1, len(parents)):
        if "/".join(parents[:depth]) in links:
            raise Invalid(f"the archive puts {member.name!r} below a symbolic link of its own")
    if member.issym():
        links.add(name)
    elif member.islnk():
        _inside(member.linkname)


def _inside(name: str) -> str:
    path = posixpath.normpath(name)
    if name.startswith("/") or path == ".." or path.startswith("../") or "\0" in name:
        raise Invalid(f"the archive would put {name!r} outside its folder")
    return path
