import hashlib
import os

import pytest
from twisted.internet.defer import Deferred

from wit.errors import Invalid, NotFound, Unavailable
from wit.packages.local_blobs import BLOCK
from wit.packages.names import parse_name
from wit.packages.upstream import tarballs
from wit.streams import StreamClosed

LEFT = parse_name("left")
SMALL = b"a small tarball"
LARGE = os.urandom(3 * BLOCK)
FILE = "left-1.0.0.tgz"
PATH = "/left/-/left-1.0.0.tgz"


async def drain(blob):
    parts = []
    while data := await blob.read():
        parts.append(data)
    return b"".join(parts)


async def fetch(upstream, start=0, stop=None):
    tarball = await upstream.tarball(LEFT, FILE)
    return await drain(await tarball.open(start, stop))


@pytest.mark.parametrize("content", [SMALL, LARGE, b"x" * BLOCK], ids=["small", "large", "block"])
def test_fetched_once_for_everybody_and_kept(house, registry, run, content):
    registry.publish("left", {"1.0.0": content})
    upstream = house.open()

    async def several():
        waiting = [Deferred.fromCoroutine(fetch(upstream)) for _ in range(3)]
        return [await waiter for waiter in waiting]

    async def kept():
        while upstream._tarballs._arriving:  # the last byte may be out before it is
            await house.runtime.sleep(0.01)

    assert run(several()) == [content] * 3
    assert registry.asked.count(f"GET {PATH}") == 1
    run(kept())
    assert run(fetch(house.open())) == content, "another daemon on the same folder"
    assert registry.asked.count(f"GET {PATH}") == 1
    tarball = run(upstream.tarball(LEFT, FILE))
    assert (tarball.size, tarball.sha512) == (len(content), hashlib.sha512(content).hexdigest())
    assert run(fetch(upstream, 3, 9)) == content[3:9]


def test_a_large_one_goes_out_while_it_comes_but_not_its_end(house, registry, run):
    registry.publish("left", {"1.0.0": LARGE})
    registry.pages[PATH] = slowly = Slowly(registry, LARGE)
    upstream = house.open()

    async def follow():
        tarball = await upstream.tarball(LEFT, FILE)
        blob = await tarball.open(0, None)
        first = await blob.read()
        slowly.send(len(LARGE) - 10)
        some = first
        while len(some) < 2 * BLOCK:
            some += await blob.read()
        late = await (await upstream.tarball(LEFT, FILE)).open(0, None)
        slowly.finish()
        return some + await drain(blob), await drain(late)

    assert run(follow()) == (LARGE, LARGE)


def test_wrong_bytes_break_off_and_are_not_kept(house, registry, run):
    registry.publish("left", {"1.0.0": LARGE})
    wrong = LARGE[:-1] + bytes([LARGE[-1] ^ 1])
    registry.pages[PATH] = slowly = Slowly(registry, wrong)
    upstream = house.open()

    async def follow():
        tarball = await upstream.tarball(LEFT, FILE)
        blob = await tarball.open(0, None)
        got = await blob.read()
        slowly.finish()
        try:
            while data := await blob.read():
                got += data
        except StreamClosed:
            return got
        raise AssertionError("it came to an end")

    assert len(run(follow())) < len(LARGE)
    assert not list((house.folder / "cache/npm/blobs").glob("*/*/*"))
    assert not list((house.folder / "cache/npm/uploads").glob("*"))
    registry.pages[PATH] = LARGE
    assert run(fetch(upstream)) == LARGE


def truncated(request):
    request.setHeader("Content-Length", str(len(SMALL) + 1))
    request.write(SMALL)
    request.loseConnection()
    return 1  # NOT_DONE_YET


def unavailable(request):
    request.setResponseCode(500)
    return b""


@pytest.mark.parametrize("fault", [b"another tarball", truncated, unavailable, b"x" * 10**6])
def test_a_small_one_that_is_wrong_is_an_error_from_the_start(house, registry, run, fault):
    registry.publish("left", {"1.0.0": SMALL})
    registry.pages[PATH] = fault
    upstream = house.open(max_tarball_bytes=10**5)
    with pytest.raises(Unavailable):
        run(fetch(upstream))
    assert house.counted("tarball", "failed") == 1
    registry.pages[PATH] = SMALL
    assert run(fetch(upstream)) == SMALL


def test_an_old_package_has_only_a_sha1(house, registry, run):
    document = registry.publish("left", {"1.0.0": LARGE})
    del document["versions"]["1.0.0"]["dist"]["integrity"]
    registry.pages["/left"] = registry.packument(document)
    upstream = house.open()
    assert run(fetch(upstream)) == LARGE
    assert run(upstream.tarball(LEFT, FILE)).sha512 == hashlib.sha512(LARGE).hexdigest()
    assert run(fetch(house.open())) == LARGE
    assert registry.asked.count(f"GET {PATH}") == 1


def test_of_an_unknown_length(house, registry, run):
    registry.publish("left", {"1.0.0": LARGE})

    def chunked(request):
        request.write(LARGE)
        request.finish()
        return 1  # NOT_DONE_YET

    registry.pages[PATH] = chunked
    assert run(fetch(house.open())) == LARGE


def test_without_readers_it_is_given_up(house, registry, run, monkeypatch):
    monkeypatch.setattr(tarballs, "GRACE_SECONDS", 0.05)
    registry.publish("left", {"1.0.0": LARGE})
    registry.pages[PATH] = slowly = Slowly(registry, LARGE)
    upstream = house.open()

    async def leave():
        tarball = await upstream.tarball(LEFT, FILE)
        blob = await tarball.open(0, None)
        await blob.read()
        await blob.close()
        ended = slowly.request.notifyFinish()
        ended.addErrback(lambda _: "the connection was closed")
        return await ended

    assert run(leave()) == "the connection was closed"
    registry.pages[PATH] = LARGE
    assert run(fetch(upstream)) == LARGE


def test_names_of_files(house, registry, run):
    registry.publish("left", {"1.0.0": SMALL})
    upstream = house.open()
    for file, error in (("right-1.0.0.tgz", Invalid), ("left-1.0.tgz", Invalid), ("left-9.0.0.tgz", NotFound)):  # fmt: skip
        with pytest.raises(error):
            run(upstream.tarball(LEFT, file))
    with pytest.raises(NotFound):
        run(house.open(names=("right",)).tarball(LEFT, FILE))


def test_stopping_ends_what_is_coming(house, registry, run):
    registry.publish("left", {"1.0.0": LARGE})
    registry.pages[PATH] = Slowly(registry, LARGE)
    upstream = house.open()

    async def stop():
        blob = await (await upstream.tarball(LEFT, FILE)).open(0, None)
        await blob.read()
        await upstream.stop()
        with pytest.raises(StreamClosed):
            await drain(blob)

    run(stop())
    assert not list((house.folder / "cache/npm/uploads").glob("*"))


class Slowly:
    """A behaviour: half of the content at once, and the rest when the test says so."""

    def __init__(self, registry, content):
        self._registry = registry
        self._content = content
        self._sent = 0

    def __call__(self, request):
        self.request = request
        request.setHeader("Content-Length", str(len(self._content)))
        self.send(len(self._content) // 2)
        return self._registry.hold(request)

    def send(self, stop):
        self.request.write(self._content[self._sent : stop])
        self._sent = stop

    def finish(self):
        self.send(len(self._content))
        self.request.finish()
