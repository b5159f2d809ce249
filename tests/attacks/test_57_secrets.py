"""Canaries: secrets that are used on every way in, and then looked for everywhere."""

from __future__ import annotations

import base64
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from tests.support.daemon import BIN, Daemon, git, wait_until
from tests.support.quarry import Quarry
from tests.support.site import Person, Site
from tests.support.wire import (
    ZERO,
    Http,
    ask,
    basic,
    commands,
    fetch_v2,
    history,
    post,
    push_history,
    request,
    service_headers,
    ssh,
)

pytestmark = pytest.mark.attack(57)

PASSWORD = "canary-pAssw0rd-Xy7q"
WRONG = "canary-wr0ng-Zt3k"
IN_URL = "canary-ur1-Lm5n"
QUERY = "canary-qu3ry-Vb8p"


class Watch:
    """Looks at the command lines and environments of a process and its children, all the time."""

    def __init__(self, pid: int, *, itself: bool = True) -> None:
        self._process = psutil.Process(pid)
        self._itself = itself
        self._over = Event()
        self._thread = Thread(target=self._look)
        self.lines = ""
        self.environments = ""

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.is_set():
            with suppress(psutil.Error):
                for process in self._process.children(recursive=True):
                    self._note(process)
                if self._itself:
                    self._note(self._process)
            time.sleep(0.002)

    def _note(self, process: psutil.Process) -> None:
        with suppress(psutil.Error):
            line = process.cmdline()
            if not self._itself and line == self._process.cmdline():
                return  # between fork and exec a child still is what its parent was called with
            self.lines += f"{line}\n"
            self.environments += f"{process.environ()}\n"


def import_(daemon: Daemon, name: str, url: str) -> tuple[str, str]:
    """What ``wit repo import`` says, and the command lines of the processes that it starts.

    Their environment holds the credential: nobody but the owner can read that (proc(5)), and git
    runs no hook there.
    """
    process = subprocess.Popen(
        [str(BIN / "wit"), "--data-dir", str(daemon.data_dir), "repo", "import", name, url,
         "--private"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=daemon.environment, text=True,
    )  # fmt: skip
    with Watch(process.pid, itself=False) as watch:
        said, _ = process.communicate(timeout=60)
    return said, watch.lines


@pytest.fixture(scope="module")
def place(sites: object, tmp_path_factory: pytest.TempPathFactory, run: object) -> Iterator[Site]:
    """A daemon of its own with the loudest log, because everything that it writes is read."""
    folder = tmp_path_factory.mktemp("secrets")
    environment = {"WIT_LOG_LEVEL": "debug", "WIT_LOG_FORMAT": "json"}
    daemon = Daemon(folder / "data", environment=environment).start()
    shared: Site = sites("sqlite")  # type: ignore[operator]
    try:
        daemon.wit(
            "user", "create", "alice", "--email", "a@example.org", "--password-stdin",
            stdin=PASSWORD + "\n",
        )  # fmt: skip
        alice = Person("alice", daemon.token("alice"), daemon.key("alice", folder), PASSWORD)
        site = Site(daemon, alice, shared.bob, run)  # type: ignore[arg-type]
        yield site
        site.close()
    finally:
        daemon.kill()


def test_no_secret_is_written_down_or_handed_on(place: Site, tmp_path: Path) -> None:
    daemon, alice, name = place.daemon, place.alice, "alice/canary"
    answers: list[str] = []
    private_key = "".join(alice.key.read_text().splitlines()[1:-1])
    assert daemon.process is not None
    with Watch(daemon.process.pid) as watch:
        push_history(daemon, alice, name)
        attempts = {
            "right": [f"Bearer {alice.token}", basic("alice", alice.token), basic("alice", PASSWORD),
                      basic(alice.token, ""), basic(alice.token, "x-oauth-basic")],
            "wrong": [basic("alice", WRONG), basic(WRONG, WRONG), f"Bearer {WRONG}", f"Basic {WRONG}",
                      f"Bearer {alice.token}x", f"Digest {WRONG}", f"{WRONG}", basic("alice", alice.token[:-1]),
                      f"Bearer {alice.token} {alice.token}", basic("bob", alice.token)],
        }  # fmt: skip
        for header in attempts["right"] + attempts["wrong"]:
            for target in (f"/{name}/info/refs?service=git-upload-pack", "/repos", "/nowhere"):
                answers.append(str(ask(daemon, "GET", target, {"Authorization": header})))
        for query in (f"token={alice.token}", f"access_token={QUERY}", f"password={QUERY}"):
            for target in (f"/{name}/info/refs?service=git-upload-pack&{query}", f"/x?{query}"):
                answers.append(str(ask(daemon, "GET", target)))
        answers.append(
            str(ask(daemon, "GET", f"/{alice.token}/x/info/refs?service=git-upload-pack"))
        )
        for body in (fetch_v2(["1" * 40]), b"zzzz"):
            answers.append(str(post(daemon, alice, name, "git-upload-pack", body)))
        # A push that is cut off, one that is refused, one with options, and real clients:
        made = history(b"secret\n")
        with Http(daemon.http_port) as http:
            headers = service_headers(alice, "git-receive-pack", 0) | {"Content-Length": "99999"}
            http.send(request("POST", f"/{name}/git-receive-pack", headers))
            http.send(commands([(ZERO, made.commit, "refs/heads/x")]) + made.pack[:30])
            wait_until(lambda: "receive-pack" in watch.lines, what="git")
            http.reset()
        for url in (daemon.url(name, "alice", alice.token), daemon.url(name, "alice", PASSWORD),
                    daemon.url(name, "alice", WRONG), daemon.url(name, alice.token, "x-oauth-basic")):  # fmt: skip
            answers.append(str(git("ls-remote", url, check=False).stderr).replace(url, ""))
        client = ssh(daemon, alice, f"git-upload-pack '{name}'")
        wait_until(lambda: "upload-pack" in watch.lines, what="git")
        answers.append(str(client.communicate(b"0000", timeout=20)))
        # Imports from addresses with a password in them, of which one fails:
        source = daemon.url(name, "alice", alice.token)
        broken = f"http://alice:{IN_URL}@127.0.0.1:{daemon.http_port}/alice/nothing"
        imports = [
            import_(daemon, target, url)
            for target, url in (("alice/copy", source), ("alice/broken", broken))
        ]
        for again in range(5):  # git may be too quick to be seen
            if any("fetch" in seen or "clone" in seen for _, seen in imports):
                break
            imports.append(import_(daemon, f"alice/copy-{again}", source))
        answers += [said for said, _ in imports]
        daemon.wit("doctor", check=False)
        answers.append(daemon.wit("config", "print").stdout)
        time.sleep(0.05)
    assert place.disk("alice/copy").exists(), answers[-3:]
    wait_until(lambda: not Quarry(daemon).children(), what="the end of git")
    daemon.stop()

    importing = "".join(seen for _, seen in imports)
    assert "fetch" in importing or "clone" in importing
    secrets = {
        "token": alice.token, "password": PASSWORD, "wrong": WRONG, "url": IN_URL, "query": QUERY,
        "private key": private_key[60:160],
    }  # fmt: skip
    secrets |= {
        f"{key}, encoded": base64.b64encode(f"alice:{value}".encode()).decode()
        for key, value in secrets.items()
    }
    places = {"log": daemon.log(), "answers": "\n".join(answers)}
    places |= {"processes": watch.lines + watch.environments, "processes of an import": importing}
    for file in daemon.data_dir.rglob("*"):
        if file.is_file():
            places[f"file {file.relative_to(daemon.data_dir)}"] = file.read_bytes().decode(
                "latin-1"
            )
    found = [
        f"{key} in {where}"
        for key, value in secrets.items()
        for where, text in places.items()
        if value in text
    ]
    assert not found, found
    assert len(places["log"]) > 5000


def test_files_with_secrets_are_for_the_owner_alone(place: Site) -> None:
    """Host keys and the database, and the folder around everything."""
    data = place.daemon.data_dir
    for pattern in ("ssh/*_key", "wit.db*", "backups/*"):
        for file in data.glob(pattern):
            assert not file.stat().st_mode & 0o077, (file, oct(file.stat().st_mode))
    assert not data.stat().st_mode & 0o007
