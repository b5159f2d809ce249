"""A repository that is large enough to fill every buffer."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.daemon import commit, git
from tests.support.site import Site
from wit.git.names import parse_full_name

MIB = 1024 * 1024
SIZE = 24 * MIB


def import_heavy(site: Site, name: str, folder: Path) -> str:
    """Make ``name`` with one commit of SIZE random bytes; the commit's id."""
    work = folder / "heavy"
    git("init", "-q", str(work))
    (work / "noise").write_bytes(os.urandom(SIZE))
    head = commit(work, "small")
    git("add", "noise", cwd=work)
    git("commit", "-q", "--amend", "-m", "heavy", cwd=work)
    head = git("rev-parse", "HEAD", cwd=work).stdout.strip()
    full_name = parse_full_name(name)
    site.do(lambda core: core.repos.import_(full_name, str(work), private=True, allow_local=True))
    return head
