"""A client's environment: only GIT_PROTOCOL is taken, and only if it looks like one."""

from __future__ import annotations

import psutil
import pytest
from twisted.conch.ssh.common import NS

from tests.ssh.raw_client import signed_in
from tests.support.daemon import wait_until
from tests.support.quarry import Quarry
from tests.support.site import Site
from tests.support.wire import FLUSH, push_history, ssh

pytestmark = pytest.mark.attack(1)

SUCCESS, FAILURE = 99, 100


def test_no_variable_of_the_client_reaches_git(site: Site, new_name: str) -> None:
    push_history(site.daemon, site.alice, new_name)
    variables = [
        "GIT_PROTOCOL=--split-string=touch /tmp/pwned", "LD_PRELOAD=/tmp/evil.so",
        "GIT_DIR=/etc", "GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=core.hooksPath",
        "GIT_CONFIG_VALUE_0=/tmp", "GIT_EXEC_PATH=/tmp", "BASH_ENV=/tmp/evil", "ATTACK=1",
    ]  # fmt: skip
    sent = " ".join(f'"{variable}"' for variable in variables)
    client = ssh(site.daemon, site.alice, f"git-upload-pack '{new_name}'", "-o", f"SetEnv={sent}")
    try:
        quarry = Quarry(site.daemon)
        git: psutil.Process = wait_until(lambda: quarry.gits("upload-pack"), what="git")[0]
        environment = git.environ()
        assert not set(environment) & {"LD_PRELOAD", "GIT_DIR", "BASH_ENV", "ATTACK"}
        assert environment.get("GIT_PROTOCOL", "version=0") == "version=0"
        assert "split-string" not in str(environment) and "evil" not in str(environment)
        out, _ = client.communicate(FLUSH, timeout=20)
        assert b"refs/heads/main" in out  # version 0: the value was not taken
        assert client.returncode == 0
    finally:
        client.kill()


@pytest.mark.parametrize(
    ("name", "value", "answer"),
    [
        ("GIT_PROTOCOL", "version=2", SUCCESS),
        ("GIT_PROTOCOL", "version=1:x=y", SUCCESS),
        ("GIT_PROTOCOL", "--split-string=x", FAILURE),
        ("GIT_PROTOCOL", "version=2;touch x", FAILURE),
        ("GIT_PROTOCOL", "version=2\n", FAILURE),
        ("GIT_PROTOCOL", "version=2:", FAILURE),
        ("GIT_PROTOCOL", "", FAILURE),
        ("GIT_PROTOCOL", "a=b:" * 5000 + "a=b", FAILURE),
        ("git_protocol", "version=2", FAILURE),
        ("GIT_PROTOCOL\0", "version=2", FAILURE),
        ("LD_PRELOAD", "x", FAILURE),
        ("LANG", "C", FAILURE),
        ("--split-string", "x", FAILURE),
        ("", "", FAILURE),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_accepted(site: Site, name: str, value: str, answer: int) -> None:
    async def attack() -> None:
        client = await signed_in(site.daemon.ssh_port, site.alice.key)
        await client.open()
        client.request(b"env", NS(name.encode()) + NS(value.encode()))
        assert (await client.until(SUCCESS, FAILURE))[0] == answer
        client.close()

    site.run(attack())
