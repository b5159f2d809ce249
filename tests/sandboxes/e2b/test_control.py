"""What the provider asks E2B's control plane, and what it does when that fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from twisted.internet import reactor, ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import blockingCallFromThread
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.sandboxes.e2b.conftest import Make, new_spec
from tests.sandboxes.e2b.fake import FakeE2B
from tests.sandboxes.e2b.records import OTHER_KEY, Fault
from tests.sandboxes.support import Box
from wit.errors import Invalid, PreconditionFailed, Unavailable
from wit.sandboxes.e2b import control
from wit.sandboxes.e2b.provider import E2bProvider
from wit.sandboxes.provider import (
    Found,
    NeedsKey,
    Network,
    State,
    TerminalSize,
)

SIZE = TerminalSize(80, 24)
_reactor: Any = reactor


def test_it_waits_as_long_as_it_is_told(fake: FakeE2B, e2b: E2bProvider, ref, slept, run) -> None:
    fake.faults.append(Fault(429, path=ref, times=2, headers={"Retry-After": "7"}))
    assert run(e2b.state(ref)) is State.RUNNING
    assert slept == [7, 7]


def test_it_backs_off(fake: FakeE2B, e2b: E2bProvider, ref, slept, run) -> None:
    fake.faults.append(Fault(503, path=ref, times=3))
    assert run(e2b.state(ref)) is State.RUNNING
    assert len(slept) == 3 and 0 < slept[0] < slept[1] < slept[2] < 1


def test_it_gives_up(fake: FakeE2B, e2b: E2bProvider, ref, slept, run) -> None:
    fake.records.clear()
    fake.faults.append(Fault(503, path=ref, times=4))
    with pytest.raises(Unavailable, match="said by a fault"):
        run(e2b.state(ref))
    assert len(fake.records) == control.TRIES == 4


def test_it_does_not_wait_for_an_hour(fake: FakeE2B, e2b: E2bProvider, ref, slept, run) -> None:
    fake.faults.append(Fault(429, path=ref, headers={"Retry-After": "3600"}))
    with pytest.raises(Unavailable, match="asked too often") as caught:
        run(e2b.state(ref))
    assert slept == [] and caught.value.retry_after == 3600


@pytest.mark.parametrize(
    "status,headers,tries",
    [
        (500, {}, 1),
        (503, {"Should-Retry": "false"}, 1),
        (500, {"Should-Retry": "true"}, 2),
        (400, {}, 1),
    ],
)
def test_what_is_tried_again(
    fake: FakeE2B, e2b: E2bProvider, ref: str, run, status: int, headers: dict[str, str], tries: int
) -> None:
    fake.records.clear()
    fake.faults.append(Fault(status, path=ref, headers=headers))
    try:
        run(e2b.state(ref))
    except (Unavailable, Invalid):
        assert tries == 1
    assert len(fake.records) == tries


def test_a_key_that_is_refused(make: Make, run) -> None:
    provider = make(api_key="e2b_" + "0" * 40)
    readiness = run(provider.probe())
    assert not readiness.ready and "API key" in readiness.reason
    with pytest.raises(PreconditionFailed):
        run(provider.create(new_spec()))


def test_no_key(make: Make, run) -> None:
    provider = make(api_key="")
    readiness = run(provider.probe())
    assert not readiness.ready and "E2B_API_KEY" in readiness.reason
    with pytest.raises(PreconditionFailed):
        run(provider.create(new_spec()))
    assert run(provider.sandboxes()) == []


def test_a_key_of_its_own(fake: FakeE2B, e2b: E2bProvider, make: Make, run) -> None:
    spec = new_spec(key=OTHER_KEY)
    assert OTHER_KEY not in repr(spec)
    ref = run(e2b.create(spec))
    assert fake.boxes[ref].key == OTHER_KEY and OTHER_KEY not in ref
    assert Found(spec.id, ref, State.RUNNING) in run(e2b.sandboxes())
    later = make()
    assert isinstance(later, NeedsKey)
    assert run(later.state(ref)) is State.GONE
    later.use_key(ref, OTHER_KEY)
    assert run(later.state(ref)) is State.RUNNING
    assert Found(spec.id, ref, State.RUNNING) in run(later.sandboxes())
    assert run(Box(later, ref, "").sh("echo here")) == "here\n"
    run(later.destroy(ref))


def test_a_refused_key_of_one_sandbox_hides_no_other(e2b: E2bProvider, ref: str, run) -> None:
    e2b.use_key("igone", "e2b_" + "1" * 40)
    assert ref in [found.ref for found in run(e2b.sandboxes())]


def test_all_pages_are_read(fake: FakeE2B, e2b: E2bProvider, run) -> None:
    refs = [run(e2b.create(new_spec())) for _ in range(3)]
    fake.page = 2
    try:
        found = run(e2b.sandboxes())
    finally:
        fake.page = 100
    assert set(refs) <= {one.ref for one in found}
    for ref in refs:
        run(e2b.destroy(ref))


def test_sandboxes_of_others_are_not_ours(fake: FakeE2B, e2b: E2bProvider, own_ref, run) -> None:
    fake.boxes[own_ref].request["metadata"]["wit_instance"] = "another"
    assert own_ref not in [one.ref for one in run(e2b.sandboxes())]


def test_what_creation_asks_for(fake: FakeE2B, e2b: E2bProvider, run) -> None:
    fake.records.clear()
    spec = new_spec(image="large", network=Network.FULL, seconds=77, env={"A": "b"})
    ref = run(e2b.create(spec))
    record = fake.records[0]
    assert record.json == {
        "templateID": "large",
        "timeout": 77,
        "autoPause": True,
        "metadata": {
            "wit_instance": "wit under & test",
            "wit_sandbox": spec.id,
            "wit_seconds": "77",
        },
        "envVars": {"A": "b"},
        "allow_internet_access": True,
    }
    run(e2b.extend(ref, 500))
    assert fake.records[-1].json == {"timeout": 500}
    run(e2b.destroy(ref))


@pytest.mark.parametrize(
    "allow,asked",
    [
        ("", {"allow_internet_access": False}),
        (
            "pypi.org,*.debian.org",
            {
                "allow_internet_access": True,
                "network": {"allowOut": ["pypi.org", "*.debian.org"], "denyOut": ["0.0.0.0/0"]},
            },
        ),
    ],
)
def test_a_restricted_network(fake: FakeE2B, make: Make, run, allow: str, asked: dict) -> None:
    provider = make(allow=allow)
    fake.records.clear()
    run(provider.destroy(run(provider.create(new_spec(network=Network.RESTRICTED)))))
    sent = fake.records[0].json
    assert {
        name: sent[name] for name in ("allow_internet_access", "network") if name in sent
    } == asked


def test_what_creation_refuses(e2b: E2bProvider, run) -> None:
    for spec in (
        new_spec(image="no-such-template"),
        new_spec(seconds=999_999),
    ):
        with pytest.raises(Invalid):
            run(e2b.create(spec))


def test_a_creation_that_is_tried_again_makes_one(fake: FakeE2B, e2b: E2bProvider, run) -> None:
    before = set(fake.boxes)
    fake.faults.append(Fault(503, path="/v2/sandboxes", after=True))
    ref = run(e2b.create(new_spec()))
    assert set(fake.boxes) - before == {ref}
    run(e2b.destroy(ref))


def test_a_creation_without_an_answer_leaves_nothing(fake: FakeE2B, e2b: E2bProvider, run) -> None:
    before = set(fake.boxes)
    fake.faults.append(Fault(0, path="/v2/sandboxes", after=True, cut=True))
    with pytest.raises(Unavailable):
        run(e2b.create(new_spec()))
    assert set(fake.boxes) == before


def test_a_sandbox_that_cannot_be_prepared_is_removed(fake: FakeE2B, e2b, run) -> None:
    before = set(fake.boxes)
    fake.faults.append(Fault(500, path="MakeDir"))
    with pytest.raises(Unavailable):
        run(e2b.create(new_spec()))
    assert set(fake.boxes) == before


def test_a_creation_that_is_cancelled_leaves_nothing(fake: FakeE2B, e2b, run) -> None:
    before = set(fake.boxes)
    fake.faults.append(Fault(0, path="/v2/sandboxes", after=True, hang=True))

    async def give_up() -> None:
        spec = new_spec()
        creating = Deferred.fromCoroutine(e2b.create(spec))
        while not [box for box in fake.boxes.values() if _id(box) == spec.id]:
            await Deferred.fromCoroutine(_moment())
        creating.cancel()
        with pytest.raises(CancelledError):
            await creating

    run(give_up())
    assert set(fake.boxes) == before


def _id(box) -> str:
    wit_id: str = box.request["metadata"].get("wit_sandbox", "")
    return wit_id


async def _moment() -> None:
    done: Deferred[None] = Deferred()
    _reactor.callLater(0.01, done.callback, None)
    await done


def test_no_answer_at_all(fake: FakeE2B, e2b: E2bProvider, ref: str, run, monkeypatch) -> None:
    monkeypatch.setattr(control, "ALL_SECONDS", 0.2)
    fake.faults.append(Fault(0, path=ref, hang=True))
    with pytest.raises(Unavailable, match="did not answer"):
        run(e2b.state(ref))


def test_a_server_that_is_not_there(make: Make, slept: list[float], run) -> None:
    provider = make(api_url="http://127.0.0.1:1")
    readiness = run(provider.probe())
    assert not readiness.ready and "cannot be reached" in readiness.reason
    with pytest.raises(Unavailable):
        run(provider.state("i0"))
    assert len(slept) == 3, "what was surely not sent is tried again"


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b'"x"', b"[" * 100_000, b"x" * (control.MAX_ANSWER + 1)]
)
def test_answers_that_make_no_sense(fake: FakeE2B, e2b, ref: str, run, body: bytes) -> None:
    fake.faults.append(Fault(200, path=ref, body=body))
    with pytest.raises(Unavailable):
        run(e2b.state(ref))


@pytest.mark.parametrize(
    "made",
    [
        b'{"sandboxID": "../../admin"}',
        b'{"sandboxID": "x", "domain": "evil.org/?"}',
        b'{"sandboxID": 5}',
        b"{}",
    ],
)
def test_names_that_could_lead_elsewhere(fake: FakeE2B, e2b, run, made: bytes) -> None:
    fake.faults.append(Fault(201, path="/v2/sandboxes", body=made))
    with pytest.raises(Unavailable, match="expected"):
        run(e2b.create(new_spec()))


def test_a_ref_that_could_lead_elsewhere(e2b: E2bProvider, run) -> None:
    with pytest.raises(Unavailable):
        run(e2b.destroy("../teams"))


@contextmanager
def self_signed() -> Iterator[int]:
    """An HTTPS server whose certificate nobody has vouched for; its port."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    options = ssl.PrivateCertificate.loadPEM(text).options()
    port = blockingCallFromThread(
        _reactor, _reactor.listenSSL, 0, Site(Resource()), options, interface="127.0.0.1"
    )
    try:
        yield port.getHost().port
    finally:
        blockingCallFromThread(_reactor, port.stopListening)


def test_a_certificate_that_nobody_vouched_for(make: Make, run) -> None:
    with self_signed() as port:
        provider = make(api_url=f"https://localhost:{port}")
        readiness = run(provider.probe())
    assert not readiness.ready and "failed" in readiness.reason


def test_where_sandboxes_are_reached(make: Make) -> None:
    plain = make(sandbox_url="")
    made = {"sandboxID": "i1", "envdAccessToken": "secret"}
    access = plain._access(made)
    assert access.url == "https://sandbox.e2b.app" and "secret" not in repr(access)
    assert access.headers == {
        "E2b-Sandbox-Id": "i1",
        "E2b-Sandbox-Port": "49983",
        "X-Access-Token": "secret",
    }
    own = make(sandbox_url="", domain="e2b.example.org")
    assert own._access(made).url == "https://49983-i1.e2b.example.org"
    assert own._access({**made, "domain": "e2b.dev"}).url == "https://sandbox.e2b.dev"
