import json

import pytest

from wit.config import Uplink
from wit.errors import NotFound, Unavailable
from wit.packages.names import parse_name

BULK = "/-/npm/v1/security/advisories/bulk"


class Published:
    """A database in which some names are published."""

    def __init__(self, *names):
        self.names = names

    async def fetch_all(self, statement, **parameters):
        return [{"full_name": name} for name in self.names if name in parameters["names"]]


def audit(house, upstream, document, kind="bulk"):
    return json.loads(house.run(upstream.audit(kind, json.dumps(document).encode())))


def test_an_audit_passes_on_what_may_leave_the_house(house, registry):
    registry.pages[BULK] = b'{"left":[{"id":1}]}'
    other = Uplink("ours", "http://127.0.0.1:9", names=("@ours/*",))
    upstream = house.open(db=Published("secret"), uplinks=(other, Uplink("up", registry.url)))
    asked = {"left": ["1.0.0"], "secret": ["1.0.0"], "@ours/a": ["1.0.0"], "../evil": ["1.0.0"]}
    assert audit(house, upstream, asked) == {"left": [{"id": 1}]}
    assert json.loads(registry.bodies[0]) == {"left": ["1.0.0"]}


def test_an_audit_of_private_names_only_asks_nobody(house, registry):
    upstream = house.open(db=Published("secret"))
    assert audit(house, upstream, {"secret": ["1.0.0"]}) == {}
    quick = {"name": "x", "requires": {"secret": "1"}, "dependencies": {"secret": {"version": "1"}}}
    assert audit(house, upstream, quick, "quick")["advisories"] == {}
    assert registry.asked == []


def test_without_an_uplink_for_everything_nothing_is_known(house, registry, run):
    for upstream in (house.open(uplinks=()), house.open(names=("@s/*",))):
        assert audit(house, upstream, {"left": ["1.0.0"]}) == {}
        with pytest.raises(NotFound):
            run(upstream.keys())
    assert registry.asked == []


def test_an_uplink_that_fails_at_an_audit(house, registry):
    upstream = house.open(db=Published())
    registry.pages[BULK] = b"<html>"
    with pytest.raises(Unavailable):
        audit(house, upstream, {"left": ["1.0.0"]})


def test_an_uplink_that_knows_no_audits(house, registry):
    assert audit(house, house.open(db=Published()), {"left": ["1.0.0"]}) == {}
    assert registry.asked == [f"POST {BULK}"]


def test_names_that_are_published_here_are_looked_up(house, registry, run, database):
    """The statement itself, on both engines."""
    registry.pages[BULK] = b"{}"
    audit(house, house.open(db=database), {f"left-{number}": ["1.0.0"] for number in range(1200)})
    assert len(json.loads(registry.bodies[0])) == 1200


def test_keys_are_asked_for_once(house, registry, run):
    registry.pages["/-/npm/v1/keys"] = b'{"keys":[]}'
    upstream = house.open()
    assert run(upstream.keys()) == run(upstream.keys()) == b'{"keys":[]}'
    assert len(registry.asked) == 1


def test_attestations_are_handed_on(house, registry, run):
    registry.pages["/-/npm/v1/attestations/@s%2Fn@1.0.0"] = b'{"attestations":[]}'
    upstream = house.open()
    assert run(upstream.attestations(parse_name("@s/n"), "1.0.0")) == b'{"attestations":[]}'
    with pytest.raises(NotFound):
        run(upstream.attestations(parse_name("@s/n"), "2.0.0"))
