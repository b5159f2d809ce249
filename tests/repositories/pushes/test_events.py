"""What a push with the real git leaves in the journal, on both databases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.git.pushing import commit, git, ok, work_tree
from tests.repositories.pushes.world import ADA, NAME, PushWorld
from wit.config import Config
from wit.db.port import Database
from wit.runtime import Runtime


def test_a_push_becomes_events(world: PushWorld, work: Path) -> None:
    first = ok("rev-parse", "HEAD", cwd=work)
    ok("push", "-o", "ci.skip", world.address, "main", "main:refs/tags/v1", cwd=work)
    world.idle()
    (payload,) = world.pushed()
    (push,) = world.pushes
    assert payload == {
        "repoId": world.row["id"],
        "repoFullName": "ada/r",
        "pushId": push.id,
        "updates": [
            {"ref": "refs/heads/main", "before": None, "after": first},
            {"ref": "refs/tags/v1", "before": None, "after": first},
        ],
        "pushOptions": ["ci.skip"],
    }
    assert world.intents() == 0
    assert world.run(world.reload())["pushed_at"] is not None
    (entry,) = world.run(world.journal.list())
    assert entry.actor_id == ADA.user_id and entry.repo_id == world.row["id"]
    about = {"repoId": world.row["id"], "repoFullName": "ada/r"}
    assert world.expanded() == [
        ("branch.created", {**about, "ref": "refs/heads/main", "name": "main", "sha": first}),
        (
            "repo.pushed",
            {
                **about,
                "ref": "refs/heads/main",
                "beforeSha": None,
                "afterSha": first,
                "commits": [{"sha": first, "message": "one", "author": "Test"}],
            },
        ),
        ("tag.created", {**about, "ref": "refs/tags/v1", "name": "v1", "sha": first}),
    ]


def test_commits_of_a_push_newest_last(world: PushWorld, work: Path) -> None:
    ok("push", world.address, "main", cwd=work)
    tips = [commit(work, f"number {n}\n\nwith a body") for n in range(25)]
    ok("push", world.address, "main", "main:side", cwd=work)
    ok("push", world.address, ":side", cwd=work)
    world.idle()
    made = world.expanded()
    (pushed,) = [p for kind, p in made if kind == "repo.pushed" and p["beforeSha"] is not None]
    assert [c["sha"] for c in pushed["commits"]] == tips[-20:]
    assert pushed["commits"][-1]["message"] == "number 24\n\nwith a body"
    (side,) = [p for kind, p in made if kind == "repo.pushed" and p["ref"] == "refs/heads/side"]
    assert side["commits"] == [], "nothing that the default branch has not"
    assert [p["sha"] for kind, p in made if kind == "branch.deleted"] == [tips[-1]]


def test_sha256(tmp_path: Path, database: Database, runtime: Runtime, run: Any) -> None:
    world = PushWorld(Config(tmp_path / "data"), runtime, database, run)
    run(world.start())
    world.bare(NAME, "sha256")
    run(world.add_repository("sha256"))
    work = work_tree(tmp_path / "work256", "sha256")
    ok("push", world.address, "main", cwd=work)
    run(world.protect("main"))
    first = ok("rev-parse", "HEAD", cwd=work)
    second = commit(work, "two")
    ok("push", world.address, "main", "main:side", cwd=work)
    assert git("push", "-f", world.address, f"{first}:refs/heads/main", cwd=work).code != 0
    ok("push", world.address, ":side", cwd=work)
    world.idle()
    updates = [u for payload in world.pushed() for u in payload["updates"]]
    assert [(u["ref"], u["before"], u["after"]) for u in updates] == [
        ("refs/heads/main", None, first),
        ("refs/heads/main", first, second),
        ("refs/heads/side", None, second),
        ("refs/heads/side", second, None),
    ]
    run(world.stop())
