"""What does not fit together is told."""

from __future__ import annotations

from tests.backup.support import fill, make_repository, silent
from wit.backup.create import backup
from wit.backup.restore import restore
from wit.backup.verify import misfits
from wit.config import Config
from wit.repositories.folders import Folders


def test_what_does_not_fit_is_told(run, sqlite_site, tmp_path, runtime):
    make_repository(sqlite_site.config.repos_dir, "alice/stray", tmp_path)
    fill(sqlite_site.config.database_url, "alice/gone")
    summary = run(backup(sqlite_site, tmp_path / "b.tar", silent))
    assert "alice/gone" in summary.problems[0]
    assert summary.repositories == 1
    target = Config(tmp_path / "restored")
    problems = "\n".join(run(restore(runtime, tmp_path / "b.tar", target, silent)).problems)
    assert "alice/gone is registered, but" in problems
    assert "alice/stray.git is not registered: run 'wit sync'" in problems


def test_a_damaged_repository_is_told(run, sqlite_site, tmp_path, runtime):
    bare = make_repository(sqlite_site.config.repos_dir, "alice/tools", tmp_path)
    fill(sqlite_site.config.database_url, "alice/tools")
    for pack in (bare / "objects" / "pack").iterdir():
        pack.unlink()
    run(backup(sqlite_site, tmp_path / "b.tar", silent))
    restored = run(restore(runtime, tmp_path / "b.tar", Config(tmp_path / "restored"), silent))
    assert any(problem.startswith("alice/tools: ") for problem in restored.problems)


def test_misfits_of_strange_rows(tmp_path):
    problems = misfits(Folders(tmp_path), {"/etc/passwd", "/repos/a/../x.git"})
    assert len(problems) == 2
