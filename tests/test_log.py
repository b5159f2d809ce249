"""Log lines: their form, their level, and what must never be in them (attack 57)."""

from __future__ import annotations

import io
import json

import pytest
from twisted.internet import reactor
from twisted.internet.protocol import Factory
from twisted.logger import ILogObserver, Logger, globalLogPublisher
from twisted.python import log
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from wit import config
from wit.log import LineObserver, observer, open_stream
from wit.redaction import redact

TOKEN = "wit_" + "0123456789abcdef" * 2 + "01234567"


def logged(emit, level="debug", as_json=False):
    stream = io.StringIO()

    def record(event):
        event["log_time"] = 1795363200.25
        line(event)

    line = LineObserver(stream, level, as_json=as_json)
    emit(Logger(namespace="wit.web.site", observer=record))
    return stream.getvalue()


def test_text_line():
    text = logged(
        lambda log: log.info("clone of {repo}", repo="alice/a", request_id="7f", note="a b", n=3)
    )
    assert text == (
        '2026-11-22T16:00:00Z info  [web] clone of alice/a request_id=7f note="a b" n=3\n'
    )


def test_json_line():
    entry = json.loads(
        logged(lambda log: log.warn("x {repo}", repo="a/b", n=3, b=b"\xff"), as_json=True)
    )
    assert entry == {
        "time": "2026-11-22T16:00:00.250Z", "level": "warn", "system": "web",
        "message": "x a/b", "repo": "a/b", "n": 3, "b": "\\xff",
    }  # fmt: skip


def test_level_filter_and_change():
    stream = io.StringIO()
    line = observer(config.Log(level="warn"), stream)
    verifyObject(ILogObserver, line)
    log = Logger(namespace="wit.x", observer=line)
    log.info("no")
    log.error("yes")
    line.set_level("debug")
    log.debug("also")
    assert [row.split("] ")[1] for row in stream.getvalue().splitlines()] == ["yes", "also"]


def test_what_twisted_says_of_each_port_and_connection_is_debug(run):
    async def open_and_close():
        await reactor.listenTCP(0, Factory(), interface="127.0.0.1").stopListening()

    def said(level):
        stream = io.StringIO()
        observe = LineObserver(stream, level)
        globalLogPublisher.addObserver(observe)
        try:
            run(open_and_close())
            log.msg("something else")
        finally:
            globalLogPublisher.removeObserver(observe)
        return stream.getvalue().splitlines()

    assert [line.split("] ")[1] for line in said("info")] == ["something else"]
    words = [line for line in said("debug") if "something else" not in line]
    assert len(words) == 4
    assert all(" debug [" in line for line in words)


def test_user_text_forges_no_line_and_drives_no_terminal():
    text = logged(
        lambda log: log.info("branch {ref}", ref="a\n2026 info [x] b\x1b[2J\u202e", x="\r")
    )
    assert text.count("\n") == 1
    assert "a\\n2026 info [x] b\\x1b[2J\\u202e" in text
    assert 'x="\\\\r"' in text or "x=\\r" in text


def test_failures_show_their_traceback_indented():
    def emit(log):
        try:
            raise ValueError("bad\x1b[2J " + TOKEN)
        except ValueError:
            log.failure("it broke", failure=Failure())

    text = logged(emit)
    assert text.startswith("2026-11-22T16:00:00Z critical [web] it broke\n  Traceback")
    assert "ValueError: bad\\x1b[2J" in text
    assert all(line.startswith("  ") for line in text.splitlines()[1:])
    entry = json.loads(logged(emit, as_json=True))
    assert "ValueError" in entry["traceback"]
    assert TOKEN not in text + json.dumps(entry)


def test_a_value_that_cannot_be_shown_does_not_stop_the_log():
    class Broken:
        def __str__(self):
            raise RuntimeError

    assert "value=<Broken>" in logged(lambda log: log.info("x", value=Broken()))


def test_huge_values_are_cut():
    assert len(logged(lambda log: log.info("x", value="y" * 10**6))) < 20_000


SECRET_TEXTS = [
    f"token {TOKEN} refused",
    f"https://alice:{TOKEN}@example.org/x",
    "clone https://alice:canary-pw@example.org/r.git failed",
    "https://canarytoken@github.com/a/b",
    "postgresql://wit:canary@pw@db/wit",
    "Authorization: Basic Y2FuYXJ5OmNhbmFyeQ==",
    "{b'authorization': b'Bearer canary'}",
    "[(b'Authorization', b'Basic Y2FuYXJ5')]",
    "sent Bearer canary_12345678 to it",
    "Cookie: session=canary; other=canary",
    "GET /x?access_token=canary&y=1",
    "-----BEGIN OPENSSH PRIVATE KEY-----\ncanary\n-----END OPENSSH PRIVATE KEY-----",
]


@pytest.mark.attack(57)
@pytest.mark.parametrize("text", SECRET_TEXTS)
@pytest.mark.parametrize("as_json", [False, True])
def test_secrets_are_taken_out_wherever_they_stand(text, as_json):
    def emit(log):
        log.info("{text}", text=text)
        log.info("in a field", field=text, raw=text.encode())
        log.error(text.replace("{", "{{").replace("}", "}}"))

    out = logged(emit, as_json=as_json)
    for secret in ("canary", "Y2FuYXJ5", TOKEN[4:]):
        assert secret not in out
    assert "***" in out


def test_fields_named_like_secrets_are_masked():
    out = logged(lambda log: log.info("x", password="hunter2", Token="abc"))
    assert "password=*** Token=***" in out


@pytest.mark.parametrize(
    "text",
    [
        "basic authentication failed",
        "https://example.org:8080/@scope/name",
        "git@example.org:alice/a.git and ssh://git@example.org/a",
        "http://localhost:3000/health",
    ],
)
def test_harmless_text_stays(text):
    assert redact(text) == text


@pytest.mark.parametrize(
    "path",
    [
        "/api/auth/reset-password/",
        "/invitations/",
        "/login/npm/",
        "/api/packages/-/v1/login/done/",
        "/api/packages/-/user/token/",
    ],
)
def test_secrets_in_paths_are_masked(path):
    assert redact(f"GET {path}{'aB3' * 8} 200") == f"GET {path}*** 200"


def test_redaction_keeps_names():
    assert redact("postgresql://wit:s3@db:5432/wit") == "postgresql://wit:***@db:5432/wit"


def test_the_log_file_is_appended_to(tmp_path):
    path = tmp_path / "wit.log"
    for _ in range(2):
        with open_stream(str(path)) as stream:
            Logger(namespace="wit.x", observer=observer(config.Log(), stream)).info("line")
    assert len(path.read_text().splitlines()) == 2
    assert open_stream("-").fileno() == open_stream(None).fileno()
