"""Malformed pkt-lines on every way in: an error or the right answer, and never a crash."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.site import Site, new_name, refs
from tests.support.wire import (
    DELIM,
    FLUSH,
    ZERO,
    Http,
    commands,
    fetch_v0,
    fetch_v2,
    history,
    ls_refs,
    pkt,
    post,
    push_history,
    request,
    service_headers,
    shared_repository,
    ssh,
)

pytestmark = pytest.mark.attack(14)

SHORT = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MALFORMED = [
    b"0001", b"0002", b"0003", b"0003x", b"fff5" + b"x" * 65521, b"ffff" + b"x" * 65531,
    b"fff1" + b"x" * 65517, b"zzzz", b"00g4", b"-001", b"-004", b"+004", b" 004", b"0x04",
    b"0x14want",
    b"00_4", b"\0\0\0\0", b"\xff\xff\xff\xff", b"0", b"000", b"0004", b"0005", b"0032want ",
    "０００４".encode(), b"0000" * 1000, b"0004" * 1000, b"",
]  # fmt: skip


def sane(status: int, body: bytes) -> bool:
    """A refusal, an ERR packet, or nothing but flushes; in no case our mistake."""
    text = body.decode("utf-8", "replace")
    assert "Traceback" not in text and "internal error" not in text, text
    return status in (200, 400, 413) and b"PACK" not in body


@pytest.mark.parametrize("service", ["git-upload-pack", "git-receive-pack"])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_lengths_over_http(site: Site, service: str, version: int) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    beginnings = [b""]
    if service == "git-upload-pack":
        beginnings += [pkt(f"want {made.commit}\n"), pkt("command=fetch") + DELIM]
        beginnings += [pkt("command=ls-refs"), pkt(f"want {made.commit}\n") + FLUSH]
    else:
        beginnings += [pkt(f"{ZERO} {made.commit} refs/heads/new")]
    for beginning in beginnings:
        for bad in MALFORMED:
            answer = post(site.daemon, site.alice, name, service, beginning + bad, version=version)
            assert sane(answer.status, answer.body), (beginning, bad[:40], answer)
    assert refs(site.disk(name)) == {"refs/heads/main": made.commit}


@pytest.mark.parametrize("version", [0, 2])
def test_lengths_over_ssh(site: Site, version: int) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    for service in ("git-upload-pack", "git-receive-pack"):
        for bad in (b"0003", b"fff5" + b"x" * 65521, b"-004", b"zzzz", b"0032want"):
            client = ssh(
                site.daemon, site.alice, f"{service} '{name}'",
                "-o", f"SetEnv=GIT_PROTOCOL=version={version}",
            )  # fmt: skip
            out, err = client.communicate(bad, timeout=20)
            assert b"PACK" not in out and b"internal error" not in out + err, (bad[:10], out, err)
            assert b"ERR " in out or client.returncode != 0, (bad[:10], out, err)
    assert refs(site.disk(name)) == {"refs/heads/main": made.commit}


def test_split_at_every_byte(site: Site) -> None:
    """The same answers, however the request is cut into chunks."""
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    for version, body in (
        (2, ls_refs("peel", "symrefs")),
        (2, fetch_v2([made.commit])),
        (0, fetch_v0([made.commit])),
    ):
        whole = post(site.daemon, site.alice, name, "git-upload-pack", body, version=version)
        assert whole.status == 200
        assert made.commit.encode() in whole.body or b"PACK" in whole.body
        headers = service_headers(site.alice, "git-upload-pack", version)
        headers["Transfer-Encoding"] = "chunked"
        start = request("POST", f"/{name}/git-upload-pack", headers)
        single = [body[position : position + 1] for position in range(len(body))]
        for parts in (*((body[:cut], body[cut:]) for cut in range(1, len(body), 3)), single):
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
            with Http(site.daemon.http_port) as http:
                for end in range(0, len(chunks), len(chunks) // 3):
                    http.send((b"" if end else start) + chunks[end : end + len(chunks) // 3])
                answer = http.send(b"0\r\n\r\n").answer()
            assert (answer.status, answer.body) == (200, whole.body), parts


pieces = st.one_of(
    st.sampled_from([FLUSH, DELIM, b"0002", b"0004", b"fff0", b"-001"]),
    st.sampled_from(
        ["command=fetch", "command=ls-refs", "done\n", "peel\n", "want " + "1" * 40, "have x",
         "deepen 1", "filter blob:none", "symrefs", "ref-prefix refs/", "object-format=sha256"]
    ).map(lambda line: pkt(line)),
    st.binary(max_size=40).map(lambda data: pkt(data)),
    st.binary(max_size=40),
)  # fmt: skip


@SHORT
@given(body=st.lists(pieces, max_size=12).map(b"".join), version=st.integers(0, 2))
def test_any_request_to_upload_pack(site: Site, body: bytes, version: int) -> None:
    name, _ = shared_repository(site)
    answer = post(site.daemon, site.alice, name, "git-upload-pack", body, version=version)
    assert sane(answer.status, answer.body), answer


@SHORT
@given(data=st.binary(max_size=200), cut=st.integers(0, 200))
def test_any_push(site: Site, data: bytes, cut: int) -> None:
    name, _ = shared_repository(site)
    made = history(b"other\n")
    body = commands([(ZERO, made.commit, "refs/heads/other")]) + made.pack
    for attack in (data, body[:cut] + data, body[: len(body) - 1 - cut] + data):
        if attack.startswith(body):
            continue  # the cut-off byte came back by chance: a good push
        answer = post(site.daemon, site.alice, name, "git-receive-pack", attack, version=0)
        assert sane(answer.status, answer.body), answer
    assert set(refs(site.disk(name))) == {"refs/heads/main"}
