import gzip
import json
import zlib

import brotli
import pytest
from twisted.internet.defer import CancelledError, Deferred

from wit.access.actor import ANONYMOUS, Actor, Origin
from wit.config import Uplink
from wit.errors import NotFound, Unavailable
from wit.packages.names import parse_name
from wit.packages.upstream.packuments import FAILURES

LEFT = parse_name("left")
SCOPED = parse_name("@s/n")


def read(house, upstream, name=LEFT, *, abbreviated=True, encoding=None):
    found = house.run(upstream.packument(name, abbreviated=abbreviated, encoding=encoding))
    decode = {"br": brotli.decompress, "gzip": gzip.decompress, None: bytes}[encoding]
    return json.loads(decode(found.body))


def fails(code):
    def answer(request):
        request.setResponseCode(code)
        return b"no"

    return answer


def test_fetched_once_and_then_served_from_here(house, registry):
    registry.publish("left", {"1.0.0": b"one"})
    upstream = house.open()
    documents = [read(house, upstream, encoding=encoding) for encoding in ("br", "gzip", None)]
    assert documents[0] == documents[1] == documents[2]
    dist = documents[0]["versions"]["1.0.0"]["dist"]
    assert dist["tarball"] == "https://wit.example/api/packages/left/-/left-1.0.0.tgz"
    assert registry.asked == ["GET /left"]
    again = house.open()
    assert read(house, again) == documents[0], "another daemon on the same folder"
    assert registry.asked == ["GET /left"]


def test_each_form_and_encoding_has_its_own_validator(house, registry, run):
    registry.publish("left", {"1.0.0": b"one"})
    upstream = house.open()
    found = [
        run(upstream.packument(LEFT, abbreviated=short, encoding=encoding)).etag
        for short in (True, False)
        for encoding in ("br", "gzip", None)
    ]
    assert len(set(found)) == len(found)
    assert [header["accept"].split(";")[0] for header in registry.headers] == [
        "application/vnd.npm.install-v1+json", "application/json",
    ]  # fmt: skip


def test_a_scope_is_asked_for_as_npm_does(house, registry):
    registry.publish("@s/n", {"1.0.0": b"one"})
    assert read(house, house.open(), SCOPED)["name"] == "@s/n"
    assert registry.asked == ["GET /@s%2Fn"]


def test_an_old_packument_is_asked_for_with_its_etag(house, registry):
    registry.publish("left", {"1.0.0": b"one"})
    upstream = house.open(max_age_seconds=0.0)
    first = read(house, upstream)
    assert read(house, upstream) == first
    assert registry.headers[1]["if-none-match"]
    assert house.counted("packument", "unchanged") == 1
    registry.publish("left", {"1.0.0": b"one", "2.0.0": b"two"})
    assert set(read(house, upstream)["versions"]) == {"1.0.0", "2.0.0"}


def test_a_gzipped_answer_is_unpacked_and_a_bomb_is_not(house, registry):
    document = registry.publish("left", {"1.0.0": b"one"})

    def zipped(data):
        def answer(request):
            request.setHeader("Content-Encoding", "gzip")
            return gzip.compress(data)

        return answer

    registry.pages["/left"] = zipped(json.dumps(document).encode())
    upstream = house.open(max_packument_bytes=10_000)
    assert read(house, upstream)["name"] == "left"
    registry.pages["/bomb"] = zipped(b'{"name":"bomb","versions":{}}' + b" " * 100_000)
    with pytest.raises(Unavailable):
        read(house, upstream, parse_name("bomb"))
    registry.pages["/large"] = b'{"name":"large","versions":{}}' + b" " * 100_000
    with pytest.raises(Unavailable):
        read(house, upstream, parse_name("large"))


@pytest.mark.parametrize("fault", [fails(500), fails(403), b"<html>", b'{"name":"right"}'])
def test_the_old_one_is_served_when_the_uplink_is_broken(house, registry, fault):
    registry.publish("left", {"1.0.0": b"one"})
    upstream = house.open(max_age_seconds=0.0)
    first = read(house, upstream)
    registry.pages["/left"] = fault
    assert read(house, upstream) == first
    assert house.counted("packument", "stale") == 1
    registry.pages["/right"] = fails(500)
    with pytest.raises(Unavailable):
        read(house, upstream, parse_name("right"))


def test_an_uplink_that_is_down_is_left_alone_after_some_tries(house, registry, run):
    registry.publish("left", {"1.0.0": b"one"})
    first = read(house, house.open())
    run(registry.stop())
    upstream = house.open(max_age_seconds=0.0)
    for _ in range(FAILURES + 2):
        assert read(house, upstream) == first, "what a daemon before had fetched"
    with pytest.raises(Unavailable):
        read(house, upstream, parse_name("other"))
    run(registry.start())


def test_an_uplink_that_says_nothing_is_not_waited_for(house, registry):
    registry.pages["/left"] = registry.hold
    with pytest.raises(Unavailable):
        read(house, house.open(timeout_seconds=0.2))

    def begins(request):
        request.write(b'{"name":')
        return registry.hold(request)

    registry.pages["/left"] = begins
    with pytest.raises(Unavailable):
        read(house, house.open(timeout_seconds=0.2))


def test_what_is_missing_is_remembered_until_somebody_publishes(house, registry, run):
    upstream = house.open()
    for _ in range(3):
        with pytest.raises(NotFound):
            read(house, upstream)
    assert registry.asked == ["GET /left"]
    assert run(upstream.exists(LEFT)) is False
    registry.publish("left", {"1.0.0": b"one"})
    assert run(upstream.exists(LEFT)) is True
    assert read(house, upstream)["name"] == "left"


def test_whether_a_name_exists_is_asked_at_this_moment(house, registry, run):
    registry.publish("left", {"1.0.0": b"one"})
    upstream = house.open()
    read(house, upstream)
    del registry.pages["/left"]
    assert run(upstream.exists(LEFT)) is False
    registry.pages["/left"] = fails(500)
    with pytest.raises(Unavailable):
        run(upstream.exists(LEFT))


def test_many_waiters_are_one_request_which_the_last_one_ends(house, registry, run):
    registry.pages["/left"] = registry.hold
    document = registry.publish("right", {"1.0.0": b"one"}) | {"name": "left"}
    upstream = house.open()

    async def wait():
        registry.pages["/left"] = registry.hold
        arrived = registry.arrived
        waiting = [
            Deferred.fromCoroutine(upstream.packument(LEFT, abbreviated=True, encoding=None))
            for _ in range(3)
        ]
        await arrived
        waiting[0].addErrback(lambda failure: failure.trap(CancelledError))
        waiting[0].cancel()
        document["versions"] = {}
        registry.waiting[0].write(json.dumps(document).encode())
        registry.waiting[0].finish()
        return [await waiter for waiter in waiting[1:]]

    first, second = run(wait())
    assert first.body == second.body
    assert registry.asked == ["GET /left"]

    async def leave():
        registry.pages["/gone"] = registry.hold
        arrived = registry.arrived
        waiting = Deferred.fromCoroutine(
            upstream.packument(parse_name("gone"), abbreviated=True, encoding=None)
        )
        await arrived
        ended = registry.waiting[1].notifyFinish()
        waiting.addErrback(lambda failure: failure.trap(CancelledError))
        waiting.cancel()
        ended.addErrback(lambda _: "the connection was closed")
        return await ended

    assert run(leave()) == "the connection was closed"


def test_redirects_lead_to_hosts_of_the_settings_only(house, registry):
    document = json.dumps(registry.publish("left", {"1.0.0": b"one"})).encode()

    def to(where):
        def answer(request):
            request.redirect(where.encode())
            return b""

        return answer

    registry.pages["/moved"] = document
    registry.pages["/left"] = to("/moved")
    upstream = house.open()
    assert read(house, upstream)["name"] == "left"
    other = registry.url.replace("127.0.0.1", "localhost")
    for where in (f"{other}/moved", "http://169.254.169.254/", "file:///etc/passwd", "//evil/x"):
        registry.pages["/right"] = to(where)
        with pytest.raises(Unavailable):
            read(house, upstream, parse_name("right"))
    registry.pages["/left"] = to("/left")
    with pytest.raises(Unavailable):
        read(house, house.open(max_age_seconds=0.0, name="another", url=registry.url + "/"), parse_name("right"))  # fmt: skip


def test_the_token_goes_to_the_uplink_and_to_no_other_host(house, registry):
    document = json.dumps(registry.publish("left", {"1.0.0": b"one"})).encode()
    other = registry.url.replace("127.0.0.1", "localhost")

    def answer(request):
        request.redirect(f"{other}/moved".encode())
        return b""

    registry.pages |= {"/left": answer, "/moved": document}
    upstream = house.open(
        hosts=(other.removeprefix("http://"),), token_variable="T", environ={"T": "secret"}
    )
    read(house, upstream)
    assert registry.asked == ["GET /left", "GET /moved"]
    assert [header.get("authorization") for header in registry.headers] == ["Bearer secret", None]


def test_the_first_uplink_whose_names_match_is_the_only_one(house, registry):
    nowhere = Uplink("ours", "http://127.0.0.1:9", names=("@s/*", "left-*"))
    everything = Uplink("up", registry.url)
    upstream = house.open(uplinks=(nowhere, everything))
    registry.publish("@s/n", {"1.0.0": b"evil"})
    registry.publish("left", {"1.0.0": b"one"})
    with pytest.raises(Unavailable):
        read(house, upstream, SCOPED)
    assert read(house, upstream)["name"] == "left"
    only = house.open(uplinks=(nowhere,))
    assert [only.serves(parse_name(n)) for n in ("@s/n", "left-pad", "left", "@t/left-a")] == [
        True, True, False, False,
    ]  # fmt: skip
    with pytest.raises(NotFound):
        read(house, only)


def test_one_version(house, registry, run):
    registry.publish("left", {"1.0.0": b"one", "2.0.0": b"two"})
    upstream = house.open()
    for asked, version in (("latest", "2.0.0"), ("1.0.0", "1.0.0")):
        assert run(upstream.manifest(LEFT, asked))["version"] == version
    with pytest.raises(NotFound):
        run(upstream.manifest(LEFT, "3.0.0"))


def test_a_file_that_was_damaged_is_fetched_again(house, registry):
    registry.publish("left", {"1.0.0": b"one"})
    first = read(house, house.open())
    (file,) = (house.folder / "cache/npm/packuments").glob("*/*")
    for damaged in (b"", file.read_bytes()[:-1], b"{}\n", zlib.compress(b"x")):
        file.write_bytes(damaged)
        assert read(house, house.open()) == first


def test_what_is_fetched_with_a_token_is_for_users(house, registry, run):
    registry.publish("left", {"1.0.0": b"one"})
    user = Actor("id", "alice", Origin.TOKEN)
    limited = Actor("id", "alice", Origin.TOKEN, scopes=frozenset())
    for options, public in (
        ({}, True),
        ({"token_variable": "T"}, False),
        ({"readers": "users"}, False),
        ({"token_variable": "T", "readers": "everybody"}, True),
    ):
        upstream = house.open(**options)
        admitted = [upstream.admits(who, LEFT) for who in (ANONYMOUS, limited, user)]
        assert admitted == [public, public, True]
        found = run(upstream.packument(LEFT, abbreviated=True, encoding=None))
        tarball = run(upstream.tarball(LEFT, "left-1.0.0.tgz"))
        assert (found.public, tarball.public) == (public, public)
    assert not house.open(names=("right",)).admits(user, LEFT)
