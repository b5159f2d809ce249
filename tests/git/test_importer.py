"""Importing from paths and from real servers, good ones and bad ones."""

from __future__ import annotations

import base64
import http.server
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import CancelledError, Deferred

from tests.support.chains import Chain, chain_of_deltas
from tests.support.wire import FLUSH, pkt
from wit.errors import Conflict, Invalid, TooLarge
from wit.git import importer
from wit.git.command import Git
from wit.git.importer import import_mirror
from wit.git.process import spawn

USER = "Basic " + base64.b64encode(b"me:s3cret:x").decode()


def git(path: Path | str, *words: str, stdin: bytes = b"") -> str:
    return (
        subprocess.run(
            ["git", "--git-dir", str(path), *words], input=stdin, check=True, capture_output=True
        )
        .stdout.decode()
        .strip()
    )


def make_source(path: Path, object_format: str = "sha1") -> Path:
    words = ["git", "init", "-q", "--bare", f"--object-format={object_format}", str(path)]
    subprocess.run(words, check=True)
    blob = git(path, "hash-object", "-w", "--stdin", stdin=os.urandom(300_000))
    tree = git(path, "mktree", stdin=f"100644 blob {blob}\tfile\n".encode())
    one = git(path, "commit-tree", "-m", "one", tree)
    two = git(path, "commit-tree", "-m", "two", "-p", one, tree)
    git(path, "update-ref", "refs/heads/trunk", two)
    git(path, "update-ref", "refs/heads/feature/x", one)
    git(path, "tag", "-a", "-m", "t", "v1", one)
    git(path, "notes", "add", "-m", "a note", one)
    for hidden in ("refs/pull/1/head", "refs/wit/secret", "refs/remotes/origin/main"):
        git(path, "update-ref", hidden, git(path, "commit-tree", "-m", hidden, tree))
    git(path, "symbolic-ref", "HEAD", "refs/heads/trunk")
    return path


def refs(path: Path | str, *prefixes: str) -> str:
    return git(path, "for-each-ref", "--format=%(objectname) %(refname)", *prefixes)


WANTED = ("refs/heads", "refs/tags", "refs/notes")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_source(tmp_path_factory.mktemp("source") / "s.git")


@pytest.fixture(scope="module")
def program() -> Git:
    return Git.find()


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "repos").mkdir()
    return tmp_path / "repos" / "t.git"


@pytest.fixture
def bring(run: Any, runtime: Any, program: Git, target: Path) -> Any:
    def bring(source: Any, *, allow_local: bool = True, **options: Any) -> str:
        return run(  # type: ignore[no-any-return]
            import_mirror(
                program, runtime, str(source), str(target), allow_local=allow_local, **options
            )
        )

    return bring


class Server(http.server.ThreadingHTTPServer):
    """Serves one repository in one of several ways, and remembers what it was asked."""

    daemon_threads = True
    how = "smart"
    root = Path()
    seen: list[tuple[str, str | None]]
    sends: Chain
    """What it sends to everybody, if it is hostile."""


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server = self.server
        server.seen.append((self.path, self.headers["Authorization"]))
        if server.how == "redirect" and not self.path.startswith("/elsewhere"):
            self.send_response(302)
            self.send_header("Location", f"/elsewhere{self.path}")
            self.end_headers()
        elif server.how == "private" and self.headers["Authorization"] != USER:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
        elif server.how == "dumb":
            self.static()
        elif server.how == "hostile":
            self.deep(server.sends)
        else:
            self.smart()

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def static(self) -> None:
        file = self.server.root / self.path.partition("?")[0].lstrip("/")
        self.send_response(200 if file.is_file() else 404)
        self.end_headers()
        if file.is_file():
            self.wfile.write(file.read_bytes())

    def deep(self, chain: Chain) -> None:
        """Protocol v0, whatever was asked for."""
        self.send_response(200)
        kind = "result" if self.command == "POST" else "advertisement"
        self.send_header("Content-Type", f"application/x-git-upload-pack-{kind}")
        self.end_headers()
        if self.command == "POST":
            self.wfile.write(pkt("NAK\n") + chain.pack)
        else:
            head = f"{chain.commit} HEAD\0ofs-delta symref=HEAD:refs/heads/main\n"
            listed = pkt(head, f"{chain.commit} refs/heads/main\n")
            self.wfile.write(pkt("# service=git-upload-pack\n") + FLUSH + listed + FLUSH)

    def smart(self) -> None:
        path, _, query = self.path.removeprefix("/elsewhere").partition("?")
        done = subprocess.run(
            ["git", "http-backend"],
            input=self.rfile.read(int(self.headers["Content-Length"] or 0)),
            env={
                **os.environ,
                "GIT_PROJECT_ROOT": str(self.server.root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "PATH_INFO": path,
                "QUERY_STRING": query,
                "REQUEST_METHOD": self.command,
                "CONTENT_TYPE": self.headers["Content-Type"] or "",
                "HTTP_CONTENT_ENCODING": self.headers["Content-Encoding"] or "",
                "GIT_PROTOCOL": self.headers["Git-Protocol"] or "",
            },
            capture_output=True,
        )
        head, _, body = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200")[:3]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server(source: Path) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.root = source.parent
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def url(server: Server, user: str = "", name: str = "s.git") -> str:
    return f"http://{user}127.0.0.1:{server.server_port}/{name}"


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_a_path(tmp_path: Path, target: Path, bring: Any, object_format: str) -> None:
    source = make_source(tmp_path / "s.git", object_format)
    lines: list[str] = []
    assert bring(source, progress=lines.append) == object_format
    assert refs(target) == refs(source, *WANTED)
    assert git(target, "symbolic-ref", "HEAD") == "refs/heads/trunk"
    git(target, "fsck", "--full", "--strict")
    assert git(target, "config", "core.logAllRefUpdates") == "always"
    assert "remote" not in (target / "config").read_text()
    assert not (target / "FETCH_HEAD").exists()
    assert os.listdir(target.parent) == ["t.git"]
    assert lines and all(line.isprintable() for line in lines)


def test_an_empty_source(tmp_path: Path, target: Path, bring: Any) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "e.git"], check=True)
    assert bring(tmp_path / "e.git") == "sha1"
    assert refs(target) == "" and git(target, "symbolic-ref", "HEAD") == "refs/heads/main"


def test_head_of_a_detached_source(tmp_path: Path, target: Path, bring: Any) -> None:
    source = make_source(tmp_path / "s.git")
    git(source, "update-ref", "--no-deref", "HEAD", git(source, "rev-parse", "feature/x"))
    bring(source)
    assert git(target, "symbolic-ref", "HEAD") == "refs/heads/feature/x"


def test_refs_that_wit_does_not_take_are_left_out(tmp_path: Path, target: Path, bring: Any) -> None:
    source = make_source(tmp_path / "s.git")
    wanted = refs(source, *WANTED)
    for name in (b"-x", b"latin-\xe4"):
        words: list[Any] = [
            "git",
            "--git-dir",
            source,
            "update-ref",
            b"refs/heads/" + name,
            "trunk",
        ]
        subprocess.run(words, check=True)
    lines: list[str] = []
    bring(source, progress=lines.append)
    assert refs(target) == wanted
    assert len([line for line in lines if line.startswith("left out")]) == 2


@pytest.mark.parametrize("how", ["smart", "dumb"])
def test_a_url(server: Server, source: Path, target: Path, bring: Any, how: str) -> None:
    server.how = how
    git(source, "update-server-info")
    assert bring(url(server)) == "sha1"
    assert refs(target) == refs(source, *WANTED)
    git(target, "fsck", "--full")


@pytest.mark.attack(57)
def test_credentials_are_used_and_kept_nowhere(
    server: Server, source: Path, target: Path, bring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.how = "private"
    commands: list[tuple[str, ...]] = []

    def watch(runtime: Any, invocation: Any, **options: Any) -> Any:
        commands.append(invocation.argv)
        return spawn(runtime, invocation, **options)

    monkeypatch.setattr("wit.git.importer.spawn", watch)
    lines: list[str] = []
    assert bring(url(server, "me:s3cret%3Ax@"), progress=lines.append) == "sha1"
    assert refs(target) == refs(source, *WANTED)
    assert all(authorization == USER for _, authorization in server.seen)
    assert "s3cret" not in str(commands) and "s3cret" not in str(lines)
    for file in (path for path in target.rglob("*") if path.is_file()):
        assert b"s3cret" not in file.read_bytes()
        assert USER.encode() not in file.read_bytes()


def test_wrong_credentials(server: Server, target: Path, bring: Any) -> None:
    server.how = "private"
    with pytest.raises(Invalid, match="cannot be read") as caught:
        bring(url(server, "me:wr0ng@"))
    assert "wr0ng" not in caught.value.message
    assert os.listdir(target.parent) == []


@pytest.mark.attack(42, 43)
def test_redirects_are_not_followed(server: Server, bring: Any) -> None:
    server.how = "redirect"
    with pytest.raises(Invalid, match="cannot be read"):
        bring(url(server))
    assert not [path for path, _ in server.seen if path.startswith("/elsewhere")]


@pytest.mark.attack(42)
def test_git_connects_to_the_address_that_was_checked(
    server: Server, source: Path, target: Path, bring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    async def resolve(runtime: Any, host: str, port: int) -> list[str]:
        asked.append((host, port))
        return ["127.0.0.1"]

    monkeypatch.setattr(importer, "resolve_public", resolve)
    bring(f"http://git.example.invalid:{server.server_port}/s.git", allow_local=False)
    assert asked == [("git.example.invalid", server.server_port)]
    assert refs(target) == refs(source, *WANTED)


@pytest.mark.attack(41, 43)
@pytest.mark.parametrize(
    "source",
    [
        "/etc", "../x", "s.git", "file:///etc", "ext::sh -c id", "ssh://git@example.org/x",
        "git://example.org/x", "git@example.org:x", "http://127.0.0.1/x", "http://localhost/x",
        "http://localhost./x", "http://[::1]/x", "http://[::ffff:127.0.0.1]/x", "http://127.1/x",
        "http://0177.0.0.1/x", "http://169.254.169.254/latest", "http://2130706433/x",
        "http://[fe80::1%25eth0]/x", "http:///x", "http://-oProxyCommand=x/y", "ftp://example.org/x",
        "http://example.org:99999/x", "http://a b/x", "http://example.org/x y", "--upload-pack=id",
        "-x", "", "http://example.org/x\n", "https://example.org/x?token=1", "HTTP+X://a/b",
        "http://exämple.org/x", "http://1.1.1.1@127.0.0.1/x", "http://127.0.0.1\\@1.1.1.1/",
    ],
)  # fmt: skip
def test_what_users_may_not_name(bring: Any, target: Path, source: str) -> None:
    with pytest.raises(Invalid):
        bring(source, allow_local=False)
    assert os.listdir(target.parent) == []


@pytest.mark.attack(3, 43)
@pytest.mark.parametrize(
    "source",
    ["ext::sh -c id", "ssh://-oProxyCommand=id/x", "ssh://-oX@example.org/x", "-x", "git@h:x",
     "ssh://a:b@example.org/x", "ftp://example.org/x", "file:///etc", "/nonexistent/x", "/etc",
     "https://example.org/x#y", "/tmp/\n"],
)  # fmt: skip
def test_what_nobody_may_name(bring: Any, target: Path, source: str) -> None:
    with pytest.raises(Invalid):
        bring(source)
    assert os.listdir(target.parent) == []


def bad_source(path: Path) -> Path:
    """A repository whose tree has an entry named ``.git``: fsck rejects that."""
    subprocess.run(["git", "init", "-q", "--bare", path], check=True)
    blob = bytes.fromhex(git(path, "hash-object", "-w", "--stdin", stdin=b"x"))
    content = b"100644 .git\0" + blob
    tree = git(path, "hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=content)
    git(path, "update-ref", "refs/heads/main", git(path, "commit-tree", "-m", "x", tree))
    git(path, "update-server-info")
    return path


@pytest.mark.attack(18)
@pytest.mark.parametrize("how", ["path", "smart", "dumb"])
def test_bad_objects_are_refused(
    tmp_path: Path, target: Path, bring: Any, server: Server, how: str
) -> None:
    source = bad_source(tmp_path / "bad.git")
    server.root, server.how = tmp_path, how
    with pytest.raises(Invalid, match="hasDotgit"):
        bring(source if how == "path" else url(server, name="bad.git"))
    assert os.listdir(target.parent) == []


@pytest.mark.attack(17)
@pytest.mark.parametrize("how", ["hostile", "dumb"])
def test_deep_chains_of_deltas_are_refused(
    tmp_path: Path, target: Path, bring: Any, server: Server, how: str
) -> None:
    """By the dumb protocol, packs come as they are."""
    server.how, server.root, server.sends = how, tmp_path, chain_of_deltas(20_000)
    source = tmp_path / "deep.git"
    subprocess.run(["git", "init", "-q", "--bare", "-b", "main", source], check=True)
    git(source, "index-pack", "--stdin", stdin=server.sends.pack)
    git(source, "update-ref", "refs/heads/main", server.sends.commit)
    git(source, "update-server-info")
    with pytest.raises(Invalid, match="a chain of more than 4095 deltas"):
        bring(url(server, name="deep.git"))
    assert os.listdir(target.parent) == []
    assert bring(url(server, name="deep.git"), max_delta_depth=20_000) == "sha1"


def test_too_large(
    tmp_path: Path, target: Path, bring: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_source(tmp_path / "s.git")
    monkeypatch.setattr(importer, "PROGRESS_SECONDS", 0.0)
    with pytest.raises(TooLarge, match="larger than 10 bytes"):
        bring(source, max_bytes=10)
    assert os.listdir(target.parent) == []


def test_what_is_there_is_not_touched(source: Path, target: Path, bring: Any) -> None:
    target.mkdir()
    with pytest.raises(Conflict):
        bring(source)
    assert os.listdir(target.parent) == ["t.git"] and os.listdir(target) == []


@pytest.mark.attack(10)
def test_cancelling_leaves_nothing(tmp_path: Path, target: Path, run: Any, runtime: Any) -> None:
    script = tmp_path / "git"  # real, but for a fetch that never ends
    script.write_text(
        '#!/bin/sh\ncase "$*" in *" fetch "*) echo $$ > '
        f'{tmp_path}/pid; exec sleep 60;; esac\nexec {shutil.which("git")} "$@"\n'
    )
    script.chmod(0o755)
    source = make_source(tmp_path / "s.git")

    async def scenario() -> None:
        work = Deferred.fromCoroutine(
            import_mirror(
                Git(str(script), (2, 39)), runtime, str(source), str(target), allow_local=True
            )
        )
        ended: list[Any] = []
        work.addErrback(ended.append)
        while not (tmp_path / "pid").exists():
            await runtime.sleep(0.01)
        assert len(os.listdir(target.parent)) == 1
        work.cancel()
        while not ended:
            await runtime.sleep(0.01)
        assert ended[0].check(CancelledError)

    run(scenario())
    assert os.listdir(target.parent) == []
    assert not os.path.exists(f"/proc/{(tmp_path / 'pid').read_text().strip()}")
