"""What a client asks to be executed: a service of git and one path, or nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest

from tests.support.quarry import Quarry
from tests.support.site import Site
from tests.support.wire import push_history

pytestmark = pytest.mark.attack(2)


def test_nothing_but_a_service_and_a_path_is_executed(
    site: Site, new_name: str, tmp_path: Path
) -> None:
    push_history(site.daemon, site.alice, new_name)
    marker = tmp_path / "pwned"
    repo = new_name
    attacks = [
        f"git-upload-pack '--exec=touch {marker}' '{repo}'",
        f"git-upload-pack '--exec=touch {marker}'",
        f"git-upload-pack --upload-pack='touch {marker}' {repo}",
        "git-upload-pack --help",
        "git-upload-pack -- " + repo,
        "git-upload-pack --strict " + repo,
        f"git-receive-pack '--receive-pack=touch {marker}' {repo}",
        f"git-upload-archive '--exec=touch {marker}' {repo}",
        f"git-upload-archive {repo}",
        f"git-upload-pack {repo}; touch {marker}",
        f"git-upload-pack '{repo}'\ntouch {marker}",
        f"git-upload-pack '{repo}' && touch {marker}",
        f"git-upload-pack $(touch {marker})",
        f"git-upload-pack `touch {marker}`",
        f"git-upload-pack {repo} | tee {marker}",
        f"git-upload-pack {repo} > {marker}",
        f"git -c core.hooksPath=/tmp upload-pack {repo}",
        f"git --exec-path=/tmp upload-pack {repo}",
        f"/usr/bin/git-upload-pack {repo}",
        f"../git-upload-pack {repo}",
        f"GIT-UPLOAD-PACK {repo}",
        f"git-upload-pack\0 {repo}",
        f"git-upload-pack '{repo}\0'",
        f"git-shell -c 'git-upload-pack {repo}'",
        f"sh -c 'touch {marker}'",
        f"touch {marker}",
        "scp -t /tmp",
        "rsync --server . /tmp",
        "cvs server",
        "git-upload-pack",
        "git-upload-pack ''",
        "git-upload-pack '" + "a" * 5000 + "'",
        "git-upload-pack 'unbalanced",
        "",
        " ",
    ]

    async def attack() -> list[tuple[str, int | None, str]]:
        results = []
        async with asyncssh.connect(
            "127.0.0.1", site.daemon.ssh_port, username="git", known_hosts=None,
            client_keys=[str(site.alice.key)], config=None, encoding=None,
        ) as connection:  # fmt: skip
            for line in attacks:
                done = await connection.run(line, input=b"", encoding=None, timeout=20)
                texts = [text for text in (done.stdout, done.stderr) if isinstance(text, bytes)]
                out = b"".join(texts).decode("utf-8", "replace")
                results.append((line, done.exit_status, out))
        return results

    for line, status, out in asyncio.run(attack()):
        if not line:
            continue  # asyncssh takes an empty command for a shell: test_11 has that
        assert status == 128, (line, status, out)
        assert "refs/heads" not in out and "Traceback" not in out, (line, out)
    assert not marker.exists()
    assert not Quarry(site.daemon).gits("--help")


def test_options_never_stand_on_gits_command_line(site: Site, new_name: str) -> None:
    """Where the path goes to git, it is the folder of a registered repository."""
    push_history(site.daemon, site.alice, new_name)
    for path in (
        f"-{new_name}",
        f"--exec=x/{new_name}",
        "-/-",
        "--/x",
        "alice/-x",
        "alice/--exec=x",
    ):
        status, _, _ = site.daemon.get(
            f"{path}/info/refs?service=git-upload-pack",
            {"Authorization": f"Bearer {site.alice.token}"},
        )
        assert status == 404, path
