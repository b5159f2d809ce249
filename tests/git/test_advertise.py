"""Our advertisements against those of C git, byte for byte but for the agent."""

from __future__ import annotations

import itertools
import re
import subprocess
import threading
from typing import Any

import attrs
import pytest

from wit.git import advertise
from wit.git.advertise import (
    AGENT,
    LsRefsRequest,
    encoded,
    ls_refs,
    parse_command,
    parse_ls_refs,
    receive_pack_v0,
    service_header,
    v2_capabilities,
)
from wit.git.pktline import DELIM, FLUSH, Marker, Parser, ProtocolError, encode
from wit.git.refs import RefReader, RefSnapshot
from wit.git.repository import BareRepository

STATES = ["empty", "full", "detached", "unborn"]
HIDING = ["-c", "transfer.hideRefs=refs/wit"]


def run_git(*words: str, stdin: bytes = b"", protocol: int = 0) -> bytes:
    return subprocess.run(
        ["git", *words],
        input=stdin,
        check=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "GIT_PROTOCOL": f"version={protocol}", **IDENTITY},
    ).stdout


IDENTITY = {
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    **{f"GIT_{who}_NAME": "T" for who in ("AUTHOR", "COMMITTER")},
    **{f"GIT_{who}_EMAIL": "t@example.org" for who in ("AUTHOR", "COMMITTER")},
}


def make_repo(path: str, object_format: str, state: str) -> BareRepository:
    run_git("init", "-q", "--bare", "-b", "main", f"--object-format={object_format}", path)

    def git(*words: str) -> str:
        return run_git("--git-dir", path, *words).decode().strip()

    if state != "empty":
        one = git("commit-tree", "-m", "one", git("mktree"))
        for name in ("heads/main", "heads/a/b", "heads/main2", "wit/secret", "pull/1/head"):
            git("update-ref", f"refs/{name}", one)
        git("tag", "-a", "-m", "annotated", "v1", one)
        git("tag", "-a", "-m", "nested", "v2", git("rev-parse", "v1"))
        git("tag", "light", one)
        git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
        git("pack-refs", "--all")
        git("tag", "-a", "-m", "loose", "v3", one)
        if state == "detached":
            git("update-ref", "--no-deref", "HEAD", one)
        elif state == "unborn":
            git("symbolic-ref", "HEAD", "refs/heads/unborn")
    return BareRepository("k", path, object_format)


@pytest.fixture(scope="module")
def repos(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], BareRepository]:
    folder = tmp_path_factory.mktemp("repos")
    return {
        (state, object_format): make_repo(f"{folder}/{state}-{object_format}", object_format, state)
        for state in STATES
        for object_format in ("sha1", "sha256")
    }


@pytest.fixture(
    params=itertools.product(STATES, ["sha1", "sha256"]), ids=lambda pair: "-".join(pair)
)
def repo(request: pytest.FixtureRequest, repos: Any) -> BareRepository:
    found: BareRepository = repos[request.param]
    return found


@pytest.fixture
def snapshot(repo: BareRepository, run: Any, runtime: Any) -> Any:
    return run(RefReader(runtime, ("refs/wit",)).snapshot(repo))


ARGUMENTS = [
    [],
    [b"peel", b"symrefs"],
    [b"peel", b"symrefs", b"unborn", b"ref-prefix HEAD"],
    [b"symrefs", b"ref-prefix refs/heads/", b"ref-prefix refs/tags/", b"ref-prefix HEAD", b"peel"],
    [b"unborn"],
    [b"unborn", b"symrefs"],
    [b"peel", b"ref-prefix refs/tags/v", b"ref-prefix refs/tags/v1", b"ref-prefix refs/tags/v"],
    [b"ref-prefix refs/heads/main", b"ref-prefix refs/heads/m"],
    [b"ref-prefix main", b"ref-prefix refs/main", b"ref-prefix refs/tags/main"],
    [b"ref-prefix refs/wit/"],
    [b"ref-prefix H", b"symrefs"],
    [b"ref-prefix "],
    [b"ref-prefix nowhere"],
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=lambda words: b",".join(words).decode())
def test_ls_refs_is_what_git_answers(
    repo: BareRepository, snapshot: Any, arguments: list[bytes]
) -> None:
    request = (
        encode(b"command=ls-refs\n")
        + encode(b"agent=git/2.39.5")
        + encode(b"object-format=" + repo.object_format.encode())
        + DELIM
        + b"".join(encode(argument + b"\n") for argument in arguments)
        + FLUSH
    )
    theirs = run_git(
        *HIDING, "upload-pack", "--stateless-rpc", repo.path, stdin=request, protocol=2
    )
    packets = Parser(v2=True).feed(request)
    for asked in (packets, [a + b"\n" for a in arguments], arguments):
        assert ls_refs(snapshot, parse_ls_refs(asked)) == theirs
    assert parse_command(packets, repo.object_format).arguments == tuple(arguments)


def without_agent(data: bytes) -> bytes:
    return re.sub(rb"[0-9a-f]{4}([^\0\n]*\0[^\n]*)?agent=[\x21-\x7e]+", rb"LENG\1AGENT", data)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_receive_pack_is_advertised_as_git_does(
    repo: BareRepository, snapshot: Any, protocol: int
) -> None:
    theirs = run_git(
        *HIDING,
        "-c",
        "receive.advertisePushOptions=true",
        "receive-pack",
        "--http-backend-info-refs",
        repo.path,
        protocol=protocol,
    )
    ours = receive_pack_v0(snapshot, repo.object_format, protocol)
    assert without_agent(ours) == without_agent(theirs)
    assert AGENT in ours and b"refs/wit" not in ours
    assert Parser().feed(ours)[-1] is Marker.FLUSH


@pytest.mark.parametrize("object_format", ["sha1", "sha256"])
def test_v2_capabilities_are_all_known_to_git(repos: Any, object_format: str) -> None:
    theirs = run_git(
        "-c",
        "uploadpack.allowFilter=true",
        "upload-pack",
        "--http-backend-info-refs",
        repos["full", object_format].path,
        protocol=2,
    )
    ours = Parser().feed(v2_capabilities(object_format))
    known = Parser().feed(theirs)
    known[1] = AGENT + b"\n"
    assert ours == [packet for packet in known if packet != b"object-info\n"]


def test_the_service_header() -> None:
    assert service_header("git-upload-pack") == b"001e# service=git-upload-pack\n0000"
    assert service_header("git-receive-pack") == b"001f# service=git-receive-pack\n0000"
    with pytest.raises(ValueError):
        service_header("git-upload-archive")


def test_the_agent_is_one_printable_word() -> None:
    assert re.fullmatch(rb"agent=[\x21-\x7e]+", AGENT)


@pytest.mark.parametrize(
    "packets",
    [
        [b"ref-prefixx"],
        [b"symrefs peel"],
        [b""],
        [b"peel", Marker.RESPONSE_END],
        [b"command=ls-refs", Marker.DELIM, Marker.DELIM, Marker.FLUSH],
        [b"command=ls-refs", Marker.DELIM, b"peel", Marker.FLUSH, Marker.FLUSH],
    ],
)
def test_bad_arguments_are_refused(packets: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_ls_refs(packets)


@pytest.mark.parametrize(
    "packets",
    [
        [],
        [Marker.FLUSH],
        [b"command=fetch"],
        [b"agent=x", Marker.FLUSH],
        [b"command=fetch", b"command=fetch", Marker.FLUSH],
        [b"command=fetch", b"object-format=sha256", Marker.FLUSH],
        [b"command=fetch", Marker.DELIM, b"done", Marker.DELIM, Marker.FLUSH],
        [b"command=fetch", Marker.FLUSH, b"done", Marker.FLUSH],
    ],
)
def test_bad_requests_are_refused(packets: list[Any]) -> None:
    with pytest.raises(ProtocolError):
        parse_command(packets, "sha1")


def test_requests_are_taken_apart() -> None:
    packets = Parser(v2=True).feed(
        encode(b"command=fetch\n") + encode(b"agent=a b\n") + DELIM + encode(b"done\n") + FLUSH
    )
    command = parse_command(packets, "sha1")
    assert (command.name, command.capabilities) == ("fetch", (b"agent=a b",))
    assert command.arguments == (b"done",)
    assert parse_ls_refs([b"command=ls-refs\n", b"agent=x", Marker.FLUSH]) == LsRefsRequest()


def test_too_many_prefixes_are_taken_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(advertise, "MAX_PREFIXES", 3)
    lines = [b"ref-prefix a", b"ref-prefix b", b"ref-prefix a"]
    assert parse_ls_refs(lines).prefixes == (b"a", b"b")
    assert parse_ls_refs([*lines, b"ref-prefix c"]).prefixes == ()


def test_answers_are_remembered_by_content(repos: Any, run: Any, runtime: Any) -> None:
    snapshot = run(RefReader(runtime, ()).snapshot(repos["full", "sha1"]))

    def ask(snapshot: RefSnapshot, *prefixes: bytes) -> bytes:
        request = LsRefsRequest(prefixes=prefixes)
        answer: bytes = run(encoded(runtime, ls_refs, snapshot, request))
        return answer

    tags = ask(snapshot, b"refs/tags/")
    assert tags == ls_refs(snapshot, LsRefsRequest(prefixes=(b"refs/tags/",)))
    assert ask(snapshot, b"refs/tags/") is tags
    assert ask(snapshot, b"refs/heads/") != tags
    assert run(encoded(runtime, receive_pack_v0, snapshot, "sha1", 0)) != run(
        encoded(runtime, receive_pack_v0, snapshot, "sha1", 1)
    )
    assert ask(attrs.evolve(snapshot, refs=()), b"refs/tags/") is tags  # the version decides
    assert ask(attrs.evolve(snapshot, version="other", refs=()), b"refs/tags/") == FLUSH


def test_large_answers_are_made_in_a_thread(
    repos: Any, run: Any, runtime: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = run(RefReader(runtime, ()).snapshot(repos["full", "sha1"]))
    monkeypatch.setattr(advertise, "REFS_ON_REACTOR", 2)
    threads = []

    def build(snapshot: RefSnapshot) -> bytes:
        threads.append(threading.current_thread())
        return b"built"

    async def scenario() -> None:
        assert await encoded(runtime, build, snapshot) == b"built"
        assert await encoded(runtime, build, snapshot) == b"built"
        assert threads != [threading.current_thread()] and len(threads) == 1

    run(scenario())
