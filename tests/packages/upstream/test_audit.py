import json

import pytest

from wit.errors import Invalid
from wit.packages.upstream.audit import empty_answer, names_in, read_request, without

TREE = {
    "name": "our-secret-project", "version": "3.2.1",
    "requires": {"secret": "^1.0.0", "left": "*"},
    "dependencies": {
        "secret": {"version": "1.0.0", "requires": {"left": "*"}},
        "left": {"version": "1.0.0", "requires": {"secret": "1"}, "dependencies": {"secret": {"version": "2.0.0"}}},
    },
}  # fmt: skip


def test_private_names_are_taken_out_of_trees():
    request = read_request("quick", json.dumps(TREE).encode())
    assert names_in("quick", request) == {"secret", "left"}
    rest = without("quick", request, {"secret"})
    assert "secret" not in json.dumps(rest)
    assert rest["dependencies"]["left"]["version"] == "1.0.0"
    assert (rest["name"], rest["version"]) == ("project", "0.0.0")
    assert request["dependencies"]["left"]["dependencies"], "the request itself is left alone"


def test_private_names_are_taken_out_of_lists():
    request = read_request("bulk", b'{"secret":["1.0.0"],"left":["1.0.0"]}')
    assert names_in("bulk", request) == {"secret", "left"}
    assert without("bulk", request, {"secret"}) == {"left": ["1.0.0"]}


def test_nothing_is_known_to_be_wrong():
    assert empty_answer("bulk", {}) == b"{}"
    found = json.loads(empty_answer("full", TREE))
    assert found["advisories"] == {}
    assert found["metadata"]["dependencies"] == 2
    assert set(found["metadata"]["vulnerabilities"].values()) == {0}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'{"dependencies":[]}', b'{"requires":"x"}',
     b'{"dependencies":{"a":' * 300 + b"{}" + b"}}" * 300],
)  # fmt: skip
def test_what_is_no_audit_is_refused(body):
    with pytest.raises(Invalid):
        read_request("full", body)


def test_prototype_keys_are_dropped():
    assert read_request("bulk", b'{"__proto__":["1.0.0"],"a":[]}') == {"a": []}
