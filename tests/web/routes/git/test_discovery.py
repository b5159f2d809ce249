"""Finding a repository: paths, protocol versions, credentials; and that git itself can."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest

from tests.web.harness import Online
from tests.web.routes.git.support import BASIC, body_of, get, git, request, status
from tests.web.routes.standin import PASSWORD, Traffic
from wit.errors import Invalid
from wit.repositories.traffic import Service
from wit.web.routes.git import ONLY_SMART, decode_segment, protocol_version, requested_service


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_git_clones_and_pushes(site: Online, protocol: str, tmp_path: Path) -> None:
    config = ("-c", f"protocol.version={protocol}")
    url = f"{site.url}/public/tools.git"
    git(*config, "clone", "--quiet", url, str(tmp_path / "clone"))
    assert (tmp_path / "clone" / "file").read_text() == "content\n" * 1000
    clone = ("-C", str(tmp_path / "clone"), *config)
    git(*clone, "commit", "--quiet", "--allow-empty", "-m", "second")
    refused = git(*clone, "push", "--quiet", url, "main", check=False)
    assert refused.returncode != 0
    assert "could not read Username" in refused.stderr
    password = PASSWORD.replace(" ", "%20").replace("ü", "%C3%BC").replace(":", "%3A")
    signed_in = url.replace("http://", f"http://alice:{password}@")
    git(*clone, "push", "--quiet", signed_in, "main")
    head = git(*clone, "rev-parse", "HEAD").stdout.split()[0]
    assert head in git(*config, "ls-remote", url, "refs/heads/main").stdout


def test_the_advertisement(site: Online, traffic: Traffic) -> None:
    answer = site.exchange(get(b"/public/tools/info/refs?service=git-upload-pack"))
    assert status(answer) == 200
    assert b"Content-Type: application/x-git-upload-pack-advertisement\r\n" in answer
    assert b"Cache-Control: no-cache, max-age=0, must-revalidate\r\n" in answer
    assert body_of(answer).startswith(b"001e# service=git-upload-pack\n0000")
    name, path, service, info = traffic.opened[-1]
    assert (name, path, service) == ("anonymous", "public/tools", Service.UPLOAD_PACK)
    assert info.address == "127.0.0.1"
    assert info.door == "http"
    assert f"X-Request-Id: {info.request_id}".encode() in answer

    v2 = site.exchange(
        get(b"/public/tools/info/refs?service=git-upload-pack", b"Git-Protocol: version=2")
    )
    assert body_of(v2).startswith(b"000eversion 2\n")


def test_pushing_has_no_version_2(site: Online) -> None:
    answer = site.exchange(
        get(
            b"/public/tools/info/refs?service=git-receive-pack",
            b"Git-Protocol: version=2",
            BASIC,
        )
    )
    assert body_of(answer).startswith(b"001f# service=git-receive-pack\n0000")


@pytest.mark.parametrize(
    ("header", "version"),
    [
        (None, 0),
        ("", 0),
        ("version=1", 1),
        ("version=2", 2),
        ("a=b:version=2:version=1", 2),
        ("version=3", 0),
        ("version=22", 0),
        (" version=2", 0),
        ("version=2,version=1", 0),
        ("VERSION=2", 0),
        ("version=\u0662", 0),
    ],
)
def test_protocol_versions(header: str | None, version: int) -> None:
    assert protocol_version(header, Service.UPLOAD_PACK) == version
    assert protocol_version(header, Service.RECEIVE_PACK) == (0 if version == 2 else version)


def test_services() -> None:
    assert requested_service(b"service=git-upload-pack") == "git-upload-pack"
    assert requested_service(b"a=b&service=git%2dreceive-pack") == "git-receive-pack"
    for query in (
        b"",
        b"service=",
        b"service=git-upload-archive",
        b"service=git-upload-pack&service=git-receive-pack",
    ):
        with pytest.raises(Invalid):
            requested_service(query)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"/public/tools/info/refs", 400),
        (b"/public/tools/info/refs?service=git-upload-archive", 400),
        (b"/public/tools/HEAD", 403),
        (b"/public/tools/objects/info/packs", 403),
        (b"/public/tools/git-upload-pack", 405),
        (b"/api/tools/info/refs?service=git-upload-pack", 404),
        (b"/public/tools", 404),
        (b"/a/public/tools/info/refs", 404),
    ],
)
def test_other_paths(site: Online, path: bytes, expected: int) -> None:
    answer = site.exchange(get(path))
    assert status(answer) == expected
    if expected in (400, 403, 405):
        assert b"Content-Type: text/plain; charset=utf-8\r\n" in answer
    if expected != 404 and path.endswith((b"info/refs", b"HEAD", b"packs")):
        assert body_of(answer) == ONLY_SMART.encode() + b"\n"


def test_archives_are_refused_clearly(site: Online) -> None:
    answer = site.exchange(request(b"POST", b"/public/tools/git-upload-archive", body=b"0000"))
    assert status(answer) == 403
    assert b"git archive is not served" in answer


@pytest.mark.attack(28, 31)
@pytest.mark.parametrize(
    "path",
    [
        b"/public/missing",
        b"/nobody/tools",
        b"/public/..%2ftools",
        b"/public/%2e%2e",
        b"/public/..",
        b"/./tools",
        b"/public/tools%00",
        b"/public/tools%2f",
        b"/public/tools%5c..",
        b"/public/..\\tools",
        b"/public/%ff%fe",
        b"/public/%zz",
        b"/public/tools%252e",
        b"/public%2ftools/x",
        b"/public/" + b"x" * 5000,
    ],
)
def test_missing_and_malformed_look_the_same(site: Online, path: bytes) -> None:
    suffix = b"/info/refs?service=git-upload-pack"
    missing = site.exchange(get(b"/public/absent" + suffix))
    assert status(missing) == 401
    assert b'WWW-Authenticate: Basic realm="wit", charset="UTF-8"\r\n' in missing
    assert without_identifiers(site.exchange(get(path + suffix))) == without_identifiers(missing)
    missing = site.exchange(get(b"/public/absent" + suffix, BASIC))
    assert status(missing) == 404
    answer = site.exchange(get(path + suffix, BASIC))
    assert without_identifiers(answer) == without_identifiers(missing)


def without_identifiers(answer: bytes) -> list[bytes]:
    return [
        line
        for line in answer.split(b"\r\n")
        if not line.startswith((b"X-Request-Id", b"X-Trace-Id", b"Date"))
    ]


@pytest.mark.parametrize(
    ("raw", "decoded"),
    [
        (b"tools", "tools"),
        (b"%74ools", "tools"),
        (b"t%C3%BCr", "tür"),
        (b"%2574ools", "%74ools"),
        (b"a%2Fb", "a%2Fb"),
        (b"a%00", "a%00"),
        (b"%ff", "%ff"),
        (b"%7", "%7"),
        (b"%5c", "\\"),
    ],
)
def test_segments_are_decoded_once(raw: bytes, decoded: str) -> None:
    assert decode_segment(raw) == decoded


@pytest.mark.attack(29)
def test_wrong_credentials(site: Online) -> None:
    path = b"/public/tools/info/refs?service=git-upload-pack"
    for header, expected in (
        (b"Authorization: Basic " + b64encode(b"alice:wrong"), 401),
        (b"Authorization: Basic " + b64encode(PASSWORD.encode()), 401),
        (b"Authorization: Basic !!!", 401),
        (b"Authorization: Negotiate YII=", 401),
        (b"Authorization: Bearer wit_nobody", 401),
        (b"Authorization: Bearer wit_mallory", 403),
        (b"Authorization: Bearer wit_alice", 200),
        (BASIC, 200),
    ):
        answer = site.exchange(get(path, header))
        assert status(answer) == expected, header
        assert (b"WWW-Authenticate: Basic" in answer) == (expected == 401)
    assert status(site.exchange(get(path, BASIC, BASIC))) == 401
    by_query = b"/public/tools/info/refs?service=git-receive-pack&access_token=wit_alice"
    assert status(site.exchange(get(by_query))) == 401
