import json
import random

import pytest

from wit.packages.upstream.json_pieces import JsonPieces, cleaned


def documents():
    """Objects of objects with all kinds of values, the same in every run."""
    chance = random.Random(1)
    letters = 'a_"\\\n\u00e9\U0001f600{}[]:,'

    def text():
        short = "".join(chance.choices(letters, k=chance.randrange(5)))
        return chance.choice([short, short, "__proto__"])

    def value():
        inner = {text(): text() for _ in range(chance.randrange(3))}
        return chance.choice([None, True, -1.5, 10**20, text(), [inner, [text()]], inner])

    for _ in range(300):
        yield {
            text(): {text(): value() for _ in range(chance.randrange(4))}
            for _ in range(chance.randrange(4))
        }


@pytest.mark.parametrize("indent", [None, 1])
def test_members_of_members_are_what_json_reads(indent):
    for document in documents():
        pieces = JsonPieces(f" {json.dumps(document, indent=indent)}\n")
        read = {
            key: {inner: pieces.value() for inner in pieces.members()} for key in pieces.members()
        }
        pieces.end()
        assert read == {
            key: {inner: cleaned(value) for inner, value in members.items()}
            for key, members in document.items()
        }


@pytest.mark.parametrize(
    "text",
    ['{"a":1', '{"a"}', '{"a":1,}', "[]", "{a:1}", '{"a":NaN}', '{"a":1,"a":2}', '{"a":1}x', "",
     '{1:2}', '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"],
)  # fmt: skip
def test_what_is_no_object_is_refused(text):
    pieces = JsonPieces(text)
    with pytest.raises(ValueError):
        for _ in pieces.members():
            pieces.value()
        pieces.end()


@pytest.mark.parametrize(
    "key", ["__proto__", "\\u005f_proto__", "__\\u0070roto__", "_\\u005Fproto__"]
)
def test_prototype_keys_are_left_out_however_they_are_written(key):
    pieces = JsonPieces('{"a": [{"' + key + '": {"admin": true}, "b": 1}]}')
    assert [pieces.value() for _ in pieces.members()] == [[{"b": 1}]]
