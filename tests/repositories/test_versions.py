"""The order of tags that name versions."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wit.repositories.versions import NO_VERSION, version_key


@pytest.mark.parametrize(
    "ascending",
    [
        # Semantic Versioning 2.0.0, section 11, items 2 and 4.
        ["1.0.0", "2.0.0", "2.1.0", "2.1.1"],
        ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2",
         "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0"],
        ["v1.9", "v1.10", "v1.10.1", "v2"],
        ["1.0a1", "1.0a2", "1.0b1", "1.0rc1", "1.0", "1.0.post1", "1.1"],
        ["stable", "release-0.9", "version/1.2.3-rc1", "1.2.3"],
    ],
)  # fmt: skip
def test_order(ascending: list[str]) -> None:
    mixed = list(ascending)
    random.Random(1).shuffle(mixed)
    assert sorted(mixed, key=version_key) == ascending


def test_equal_and_none() -> None:
    assert version_key("1.2") == version_key("v1.2.0") == version_key("release-1.2.0.0")
    assert version_key("latest") == version_key("") == NO_VERSION
    assert version_key("0") > NO_VERSION


@given(st.lists(st.text(max_size=40), max_size=8))
def test_any_names_can_be_sorted(names: list[str]) -> None:
    keys = sorted(map(version_key, names))
    assert all(one <= two for one, two in pairwise(keys))
