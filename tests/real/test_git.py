"""git itself over {HTTP, SSH} × {v0, v1, v2}: everything that the README promises."""

from __future__ import annotations

from pathlib import Path

import pytest
from dulwich.repo import Repo as DulwichRepo

from tests.support.daemon import commit, git, wait_until
from tests.support.site import Door, Site, refs


def check_both_sides(site: Site, name: str, work: Path) -> None:
    """After a push: the server's repository is sound, has the client's refs, and a second reader
    (dulwich) sees the same."""
    served = site.disk(name)
    git("-C", str(served), "fsck", "--strict")
    assert refs(served) == refs_to_push(work)
    with DulwichRepo(str(served)) as second:
        seen = {
            ref.decode(): oid.decode() for ref, oid in second.get_refs().items() if ref != b"HEAD"
        }
        assert seen == refs(served)
        for oid in seen.values():
            assert second[oid.encode()].id.decode() == oid


def refs_to_push(work: Path) -> dict[str, str]:
    return {name: oid for name, oid in refs(work).items() if not name.startswith("refs/remotes/")}


@pytest.fixture
def pushed(site: Site, repo: str, work: Path) -> str:
    """``work``'s refs are on the server."""
    git("push", "-q", "--mirror", Door(site, "http", 2, site.alice).url(repo), cwd=work)
    return repo


def test_push_clone_fetch_delete(
    door: Door, site: Site, repo: str, work: Path, tmp_path: Path
) -> None:
    url = door.url(repo)
    done = door.git("push", "--progress", url, "main", "side", "--tags", cwd=work)
    assert "remote:" in done.stderr or "Writing objects" in done.stderr
    check_both_sides(site, repo, work)

    clone = tmp_path / "clone"
    door.git("clone", "-q", url, str(clone))
    assert refs(clone)["refs/remotes/origin/main"] == refs(work)["refs/heads/main"]
    assert refs(clone)["refs/tags/v1.0"] == refs(work)["refs/tags/v1.0"]
    git("fsck", cwd=clone)

    new = commit(work, "four")
    door.git("push", "-q", url, "main", cwd=work)
    door.git("fetch", "-q", "origin", cwd=clone)
    assert refs(clone)["refs/remotes/origin/main"] == new

    door.git("push", "-q", url, "--delete", "side", cwd=work)
    git("branch", "-q", "-D", "side", cwd=work)
    check_both_sides(site, repo, work)


def test_an_empty_repository_can_be_cloned(door: Door, repo: str, tmp_path: Path) -> None:
    done = door.git("clone", door.url(repo), str(tmp_path / "empty"))
    assert "empty repository" in done.stderr
    assert git("symbolic-ref", "HEAD", cwd=tmp_path / "empty").stdout.strip() == "refs/heads/main"


@pytest.mark.parametrize(
    ("arguments", "commits"),
    [
        (["--depth=1"], 1),
        (["--depth=2", "--no-single-branch"], 3),
        (["--shallow-since=2001-01-01"], 3),
        (["--shallow-exclude=light"], 1),
        (["--single-branch", "--branch=side"], 2),
        (["--branch=v1.0", "--depth=1"], 1),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_shallow_and_single_branch_clones(
    door: Door, pushed: str, tmp_path: Path, arguments: list[str], commits: int
) -> None:
    clone = tmp_path / "clone"
    door.git("clone", "-q", *arguments, door.url(pushed), str(clone))
    listed = git("rev-list", "--all", cwd=clone).stdout.split()
    assert len(listed) == commits


def test_a_shallow_clone_is_deepened(door: Door, pushed: str, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    door.git("clone", "-q", "--depth=1", door.url(pushed), str(clone))
    door.git("fetch", "-q", "--deepen=1", cwd=clone)
    assert len(git("rev-list", "HEAD", cwd=clone).stdout.split()) == 2
    door.git("fetch", "-q", "--unshallow", cwd=clone)
    assert len(git("rev-list", "HEAD", cwd=clone).stdout.split()) == 3
    git("fsck", cwd=clone)


@pytest.mark.parametrize("filter_", ["blob:none", "tree:0", "blob:limit=10"])
def test_partial_clones_fetch_the_rest_when_it_is_needed(
    door_v2: Door, pushed: str, work: Path, tmp_path: Path, filter_: str
) -> None:
    clone = tmp_path / "clone"
    door_v2.git(
        "clone", "-q", "--no-checkout", f"--filter={filter_}", door_v2.url(pushed), str(clone)
    )
    missing = git("rev-list", "--objects", "--all", "--missing=print", cwd=clone).stdout
    assert "\n?" in missing
    door_v2.git("checkout", "-q", "main", cwd=clone)
    assert (clone / "dir/two").read_text() == (work / "dir/two").read_text()
    door_v2.git("log", "-p", "--all", cwd=clone)


def test_ls_remote_with_patterns(door: Door, pushed: str, work: Path) -> None:
    known = refs(work)
    listed = door.git("ls-remote", door.url(pushed), "refs/tags/*").stdout
    assert f"{known['refs/tags/v1.0']}\trefs/tags/v1.0\n" in listed
    assert f"{known['refs/heads/main']}\trefs/tags/v1.0^{{}}\n" in listed
    assert "refs/heads" not in listed
    symref = door.git("ls-remote", "--symref", door.url(pushed), "HEAD").stdout
    assert "ref: refs/heads/main\tHEAD" in symref


def test_atomic_pushes_go_in_whole_or_not_at_all(
    door_v2: Door, site: Site, pushed: str, work: Path
) -> None:
    before = refs(site.disk(pushed))
    commit(work, "more")
    git("branch", "other", cwd=work)
    git("checkout", "-q", "side", cwd=work)
    git("commit", "-q", "--amend", "-m", "rewritten", cwd=work)
    refused = door_v2.git(
        "push", "--atomic", door_v2.url(pushed), "main", "other", "side", cwd=work, check=False
    )
    assert refused.returncode != 0
    assert refs(site.disk(pushed)) == before
    door_v2.git("push", "-q", "--atomic", door_v2.url(pushed), "main", "other", "+side", cwd=work)
    check_both_sides(site, pushed, work)


def test_force_with_lease_protects_what_somebody_else_pushed(
    door_v2: Door, site: Site, pushed: str, work: Path
) -> None:
    url = door_v2.url(pushed)
    stale = refs(work)["refs/heads/side"]
    current = commit(work, "theirs")
    door_v2.git("push", "-q", url, "main", cwd=work)
    git("reset", "-q", "--hard", "HEAD~2", cwd=work)
    ours = commit(work, "ours")
    refused = door_v2.git(
        "push", f"--force-with-lease=main:{stale}", url, "main", cwd=work, check=False
    )
    assert refused.returncode != 0 and "stale info" in refused.stderr
    door_v2.git("push", "-q", f"--force-with-lease=main:{current}", url, "main", cwd=work)
    assert refs(site.disk(pushed))["refs/heads/main"] == ours


def test_push_options_are_accepted_and_recorded(
    door_v2: Door, site: Site, pushed: str, work: Path
) -> None:
    commit(work, "with-options")
    door_v2.git(
        "push", "-q", "-o", "ci.skip", "-o", "note=a b", door_v2.url(pushed), "main", cwd=work
    )

    def recorded() -> object:
        """Of the newest push; it is journaled a moment after git has its answer."""
        events = [event for event in site.daemon.events(pushed) if event["type"] == "push"]
        return events and events[-1]["payload"]["pushOptions"]

    wait_until(lambda: recorded() == ["ci.skip", "note=a b"], what="the entry of the push")


def test_sha256_repositories(door: Door, site: Site, new_name: str, tmp_path: Path) -> None:
    site.create(new_name, object_format="sha256")
    work = tmp_path / "sha256"
    git("init", "-q", "--object-format=sha256", str(work))
    head = commit(work)
    assert len(head) == 64
    door.git("push", "-q", door.url(new_name), "main", cwd=work)
    door.git("clone", "-q", door.url(new_name), str(tmp_path / "clone"))
    assert git("rev-parse", "HEAD", cwd=tmp_path / "clone").stdout.strip() == head
    git("-C", str(site.disk(new_name)), "fsck", "--strict")


def test_git_archive_over_ssh_is_refused_with_a_reason(site: Site, pushed: str) -> None:
    door = Door(site, "ssh", 2, site.alice)
    refused = door.git("archive", f"--remote={door.url(pushed)}", "HEAD", check=False)
    assert refused.returncode != 0
    assert "clone the repository" in refused.stderr


def test_git_archive_over_http_is_refused_with_a_reason(site: Site, pushed: str) -> None:
    """git of today asks for it over HTTP only from version 2.44 on; so we ask ourselves."""
    status, headers, body = site.daemon.get(
        f"{pushed}.git/git-upload-archive",
        {"Content-Type": "application/x-git-upload-archive-request"},
        method="POST",
        body=b"0000",
    )
    assert status == 403
    assert headers["Content-Type"].startswith("text/plain")
    assert b"git archive is not served" in body


def test_pushing_to_a_missing_repository_of_ones_own_creates_it(
    door_v2: Door, site: Site, new_name: str, work: Path
) -> None:
    done = door_v2.git("push", door_v2.url(new_name), "main", cwd=work)
    assert "created" in done.stderr and new_name in done.stderr
    assert refs(site.disk(new_name)) == {"refs/heads/main": refs(work)["refs/heads/main"]}
    # it is private
    assert (
        door_v2.as_(site.bob)
        .git("ls-remote", door_v2.as_(site.bob).url(new_name), check=False)
        .returncode
    )


def test_nobody_creates_repositories_for_others_by_pushing(
    door_v2: Door, site: Site, new_name: str, work: Path
) -> None:
    bob = door_v2.as_(site.bob)
    refused = bob.git("push", bob.url(new_name), "main", cwd=work, check=False)
    assert refused.returncode != 0 and "not found" in refused.stderr
    assert not site.disk(new_name).exists()


def test_a_protected_branch_takes_no_force_and_no_deletion(
    door_v2: Door, site: Site, pushed: str, work: Path
) -> None:
    site.wit("protect", pushed, "**", "--no-force-push", "--no-delete")
    url = door_v2.url(pushed)
    commit(work, "allowed")
    door_v2.git("push", "-q", url, "main", cwd=work)
    before = refs(site.disk(pushed))
    git("commit", "-q", "--amend", "-m", "rewritten", cwd=work)
    forced = door_v2.git("push", "-f", url, "main", cwd=work, check=False)
    assert forced.returncode != 0 and "protected" in forced.stderr
    for name, reason in (("side", "protected"), ("main", "default branch")):
        deleted = door_v2.git("push", url, f":{name}", cwd=work, check=False)
        assert deleted.returncode != 0 and reason in deleted.stderr
    assert refs(site.disk(pushed)) == before


def test_one_refused_ref_does_not_hold_up_the_others(
    door_v2: Door, site: Site, pushed: str, work: Path
) -> None:
    site.wit("protect", pushed, "side", "--require-pr")
    git("checkout", "-q", "side", cwd=work)
    commit(work, "on-side")
    git("checkout", "-q", "main", cwd=work)
    new = commit(work, "on-main")
    done = door_v2.git("push", door_v2.url(pushed), "main", "side", cwd=work, check=False)
    assert done.returncode != 0
    assert "main -> main" in done.stderr and "[remote rejected] side -> side" in done.stderr
    assert "pull request" in done.stderr
    assert refs(site.disk(pushed))["refs/heads/main"] == new


@pytest.mark.parametrize("suffix", ["", ".git", ".wit"])
def test_each_ending_names_the_same_repository(door_v2: Door, pushed: str, suffix: str) -> None:
    assert "refs/heads/main" in door_v2.git("ls-remote", door_v2.url(pushed + suffix)).stdout


def test_private_means_invisible_and_public_means_readable(
    door_v2: Door, site: Site, new_name: str, work: Path
) -> None:
    bob = door_v2.as_(site.bob)
    site.create(new_name, private=False)
    door_v2.git("push", "-q", door_v2.url(new_name), "main", cwd=work)
    assert "refs/heads/main" in bob.git("ls-remote", bob.url(new_name)).stdout
    refused = bob.git("push", bob.url(new_name), "main:theirs", cwd=work, check=False)
    assert refused.returncode != 0
    site.wit("collaborator", "add", new_name, "bob", "write")
    bob.git("push", "-q", bob.url(new_name), "main:theirs", cwd=work)
