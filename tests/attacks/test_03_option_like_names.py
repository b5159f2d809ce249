"""Names that git could take for options: as refs of a push and as arguments of a fetch."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site import Site, refs
from tests.support.wire import ZERO, fetch_v2, ls_refs, post, push, push_history

pytestmark = pytest.mark.attack(3)


@pytest.mark.parametrize(
    "short", ["--exec={}", "--output={}", "-o{}", "--upload-pack={}", "-", "-1", "--"]
)
def test_no_branch_or_tag_looks_like_an_option(
    site: Site, new_name: str, tmp_path: Path, short: str
) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    marker = tmp_path / "pwned"
    for namespace in ("refs/heads/", "refs/tags/"):
        ref = namespace + short.format(f"{marker}".lstrip("/"))
        report = push(site.daemon, site.alice, new_name, [(ZERO, made.commit, ref)], made.pack)
        assert report.refs.get(ref, "refused") != "ok", report
    assert refs(site.disk(new_name)) == {"refs/heads/main": made.commit}
    assert not marker.exists()


@pytest.mark.parametrize(
    "lines",
    [
        ["deepen-not --output={}"], ["deepen-not --exec={}"], ["deepen-since --output={}"],
        ["deepen -1"], ["deepen 1 --output={}"], ["filter --output={}"],
        ["filter sparse:oid=--output={}"], ["filter sparse:path={}"],
        ["filter combine:blob:none+sparse:path=/etc/passwd"], ["shallow --output={}"],
        ["have --output={}"], ["want --output={}"], ["want-ref refs/heads/main"],
        ["--output={}"],
    ],
    ids=lambda lines: lines[0].replace("{}", ""),
)  # fmt: skip
def test_no_argument_of_a_fetch_becomes_one_of_git(
    site: Site, new_name: str, tmp_path: Path, lines: list[str]
) -> None:
    made = push_history(site.daemon, site.alice, new_name)
    marker = tmp_path / "pwned"
    body = fetch_v2([made.commit], *(line.format(marker) for line in lines))
    answer = post(site.daemon, site.alice, new_name, "git-upload-pack", body)
    assert answer.status == 200 and b"ERR " in answer.body[:8], answer
    assert str(site.daemon.data_dir).encode() not in answer.body
    assert not marker.exists()


def test_a_prefix_of_ls_refs_is_only_compared(site: Site, new_name: str, tmp_path: Path) -> None:
    push_history(site.daemon, site.alice, new_name)
    marker = tmp_path / "pwned"
    body = ls_refs("symrefs", f"ref-prefix --output={marker}", "ref-prefix ../../", "ref-prefix *")
    answer = post(site.daemon, site.alice, new_name, "git-upload-pack", body)
    assert answer.status == 200 and answer.body == b"0000"
    assert not marker.exists()
