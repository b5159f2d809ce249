"""Objects that no visible ref leads to cannot be had, whatever way they are asked for."""

from __future__ import annotations

import pytest

from tests.support.daemon import git
from tests.support.site import Site, new_name
from tests.support.wire import (
    BLOB,
    ZERO,
    History,
    entry,
    fetch_v0,
    fetch_v2,
    history,
    oid,
    pack,
    post,
    push,
    push_history,
    ssh,
)
from wit.git.names import parse_full_name

pytestmark = pytest.mark.attack(15)

SECRET = b"the secret of the hidden object\n"


def refused_everywhere(site: Site, name: str, wanted: str) -> None:
    """Over HTTP and SSH, in every version, with and without haves, ids and filters."""
    requests = [
        (2, fetch_v2([wanted])),
        (2, fetch_v2([wanted], f"have {ZERO[:-1]}1")),
        (2, fetch_v2([wanted], "deepen 1")),
        (2, fetch_v2([wanted], "filter blob:none")),
        (0, fetch_v0([wanted])),
        (1, fetch_v0([wanted])),
        (0, fetch_v0([wanted], f"{ZERO[:-1]}1")),
    ]
    for version, body in requests:
        answer = post(site.daemon, site.alice, name, "git-upload-pack", body, version=version)
        assert b"PACK" not in answer.body and SECRET not in answer.body
        assert b"not our ref " + wanted.encode() in answer.body, answer
    for version, body in ((2, requests[0][1]), (0, fetch_v0([wanted]))):
        client = ssh(
            site.daemon, site.alice, f"git-upload-pack '{name}'",
            "-o", f"SetEnv=GIT_PROTOCOL=version={version}",
        )  # fmt: skip
        out, err = client.communicate(body, timeout=20)
        assert b"PACK" not in out and b"not our ref" in out + err, (out, err)


def had(site: Site, name: str, wanted: str) -> bool:
    answer = post(site.daemon, site.alice, name, "git-upload-pack", fetch_v2([wanted]))
    return b"PACK" in answer.body


def push_secret(site: Site, name: str, ref: str = "refs/heads/secret") -> History:
    made = history(SECRET)
    report = push(site.daemon, site.alice, name, [(ZERO, made.commit, ref)], made.pack)
    assert report.refs == {ref: "ok"}, report
    return made


def test_what_a_deleted_branch_led_to(site: Site) -> None:
    name = new_name()
    push_history(site.daemon, site.alice, name)
    secret = push_secret(site, name)
    assert had(site, name, secret.commit) and had(site, name, secret.blob)
    report = push(site.daemon, site.alice, name, [(secret.commit, ZERO, "refs/heads/secret")])
    assert report.refs == {"refs/heads/secret": "ok"}
    for wanted in (secret.commit, secret.tree, secret.blob):
        git("-C", str(site.disk(name)), "cat-file", "-e", wanted)  # it is still there
        refused_everywhere(site, name, wanted)


def test_what_hidden_refs_lead_to(site: Site) -> None:
    name = new_name()
    push_history(site.daemon, site.alice, name)
    secret = push_secret(site, name)
    folder = str(site.disk(name))
    git("-C", folder, "update-ref", "refs/wit/keep", secret.commit)
    git("-C", folder, "update-ref", "-d", "refs/heads/secret")
    listed = git("ls-remote", site.daemon.url(name, "alice", site.alice.token)).stdout
    assert "refs/wit" not in listed and secret.commit not in listed
    for wanted in (secret.commit, secret.tree, secret.blob):
        refused_everywhere(site, name, wanted)


def test_what_has_never_been_there(site: Site) -> None:
    name = new_name()
    push_history(site.daemon, site.alice, name)
    for wanted in ("1" * 40, ZERO):
        refused_everywhere(site, name, wanted)


def test_what_other_repositories_and_forks_have(site: Site) -> None:
    """Nothing of a fork can be had from its origin, nor the other way round."""
    origin, fork = new_name(), new_name()
    push_history(site.daemon, site.alice, origin)
    hidden = push_secret(site, origin)
    push(site.daemon, site.alice, origin, [(hidden.commit, ZERO, "refs/heads/secret")])
    names = parse_full_name(origin), parse_full_name(fork)
    site.do(lambda core: core.repos.fork(*names))
    late = history(SECRET, message="after the fork")
    report = push(
        site.daemon, site.alice, fork, [(ZERO, late.commit, "refs/heads/late")], late.pack
    )
    assert report.refs == {"refs/heads/late": "ok"}
    refused_everywhere(site, origin, late.commit)
    refused_everywhere(site, fork, hidden.commit)
    absent = git("-C", str(site.disk(fork)), "cat-file", "-e", hidden.commit, check=False)
    assert absent.returncode != 0


def test_the_pack_cache_hands_nothing_on(site: Site) -> None:
    """What was cloned while it was visible, or by somebody who may, is not given away later."""
    name = new_name()
    push_history(site.daemon, site.alice, name)
    secret = push_secret(site, name)
    assert had(site, name, secret.commit)
    push(site.daemon, site.alice, name, [(secret.commit, ZERO, "refs/heads/secret")])
    assert not had(site, name, secret.commit)
    for person in (site.bob, None):
        answer = post(site.daemon, person, name, "git-upload-pack", fetch_v2([secret.commit]))
        assert answer.status in (401, 404) and b"PACK" not in answer.body


def test_a_delta_against_a_hidden_object_proves_nothing(site: Site) -> None:
    """A thin pack may name any base that exists; what comes of it is unreachable as before."""
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    secret = push_secret(site, name)
    push(site.daemon, site.alice, name, [(secret.commit, ZERO, "refs/heads/secret")])
    copy_all = bytes([len(SECRET), len(SECRET), 0x90, len(SECRET)])
    thin = pack([entry(7, copy_all, prefix=bytes.fromhex(secret.blob))])
    push(site.daemon, site.alice, name, [(ZERO, made.commit, "refs/heads/thin")], thin)
    assert oid(BLOB, SECRET) == secret.blob
    refused_everywhere(site, name, secret.blob)


def test_a_filter_reads_no_hidden_object(site: Site) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    secret = push_secret(site, name)
    for spec in (f"sparse:oid={secret.blob}", f"combine:blob:none+sparse:oid={secret.blob}"):
        body = fetch_v2([made.commit], f"filter {spec}")
        answer = post(site.daemon, site.alice, name, "git-upload-pack", body)
        assert b"PACK" not in answer.body and b"ERR " in answer.body


def test_a_push_cannot_make_a_ref_to_what_it_does_not_bring(site: Site) -> None:
    """Naming another's object id does not make it one's own: connectivity is checked."""
    origin, target = new_name(), new_name()
    push_history(site.daemon, site.alice, origin)
    secret = push_secret(site, origin)
    push_history(site.daemon, site.alice, target)
    for packed in (b"", pack([])):
        report = push(
            site.daemon, site.alice, target, [(ZERO, secret.commit, "refs/heads/theft")], packed
        )
        assert report.refs.get("refs/heads/theft", "refused") != "ok"
    assert not had(site, target, secret.commit)


def test_malformed_ids_are_no_objects(site: Site) -> None:
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    for wanted in (made.commit[:7], made.commit.upper(), "HEAD", "refs/heads/main", "main^{tree}",
                   made.commit + "0" * 24, "é" * 20, "٣" * 40):  # fmt: skip
        for version, body in ((2, fetch_v2([wanted])), (0, fetch_v0([wanted]))):
            answer = post(site.daemon, site.alice, name, "git-upload-pack", body, version=version)
            assert b"PACK" not in answer.body, wanted
            assert b"ERR " in answer.body or answer.status == 400, (wanted, answer)
            assert b"internal error" not in answer.body, wanted
