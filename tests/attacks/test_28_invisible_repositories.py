"""Whoever may not read a repository gets the answer that a missing one gives."""

from __future__ import annotations

import pytest

from tests.support.site import Person, Site, new_name, refs
from tests.support.wire import (
    ZERO,
    Answer,
    ask,
    basic,
    commands,
    fetch_v2,
    history,
    push_history,
    service_headers,
    sign_in,
    ssh,
)

pytestmark = pytest.mark.attack(28)

VARYING = {"date", "x-request-id", "x-trace-id"}


def seen(answer: Answer) -> tuple[int, dict[str, str], bytes]:
    """What of an answer could tell one thing from another."""
    fields = {name: text for name, text in answer.headers.items() if name not in VARYING}
    return answer.status, fields, answer.body


def requests(name: str) -> list[tuple[str, str, str, bytes]]:
    made = history()
    push = commands([(ZERO, made.commit, "refs/heads/x")]) + made.pack
    return [
        ("GET", f"/{name}/info/refs?service=git-upload-pack", "", b""),
        ("GET", f"/{name}/info/refs?service=git-receive-pack", "", b""),
        ("GET", f"/{name}.git/info/refs?service=git-upload-pack", "", b""),
        ("POST", f"/{name}/git-upload-pack", "git-upload-pack", fetch_v2([made.commit])),
        ("POST", f"/{name}/git-receive-pack", "git-receive-pack", push),
    ]


@pytest.mark.parametrize("who", ["nobody", "bob"])
def test_private_is_as_missing(each_site: Site, who: str) -> None:
    site = each_site
    private, missing = new_name(), new_name()
    push_history(site.daemon, site.alice, private)
    person = site.bob if who == "bob" else None
    cased = private.upper().replace("ALICE", "Alice")
    names = [private, missing, cased, "alice/-x", "nosuchowner/x", f"{missing}.wit"]
    for index, _ in enumerate(requests(missing)):
        answers = []
        for name in names:
            method, target, service, body = requests(name)[index]
            headers = service_headers(person, service) if service else sign_in(person)
            answers.append(seen(ask(site.daemon, method, target, headers, body)))
        assert all(answer == answers[0] for answer in answers), list(
            zip(names, answers, strict=True)
        )
        status, fields, _ = answers[0]
        assert status == (404 if person else 401)
        assert ("www-authenticate" in fields) == (person is None)
    owners = site.daemon.data_dir / "repos"
    assert not (owners / f"{missing}.git").exists() and not (owners / "nosuchowner").exists()
    assert set(refs(site.disk(private))) == {"refs/heads/main"}


def test_the_same_over_ssh(each_site: Site) -> None:
    site = each_site
    private, missing = new_name(), new_name()
    push_history(site.daemon, site.alice, private)
    for service in ("git-upload-pack", "git-receive-pack"):
        answers = set()
        for name in (private, missing, private.upper(), "nosuchowner/x", "alice/-x", "x"):
            client = ssh(site.daemon, site.bob, f"{service} '{name}'")
            out, err = client.communicate(b"", timeout=20)
            answers.add((client.returncode, out, err))
        assert len(answers) == 1, answers
    assert not (site.daemon.data_dir / "repos" / f"{missing}.git").exists()


def test_the_case_of_a_name_makes_no_difference_to_who_may_read(each_site: Site) -> None:
    site = each_site
    name = new_name()
    made = push_history(site.daemon, site.alice, name)
    target = f"/{name.upper()}/info/refs?service=git-upload-pack"
    answer = ask(site.daemon, "GET", target, sign_in(site.alice))
    assert answer.status == 200 and made.commit.encode() in answer.body
    assert ask(site.daemon, "GET", target, sign_in(site.bob)).status == 404
    shouted = list((site.daemon.data_dir / "repos").glob("ALICE/*"))
    assert not shouted


def test_looking_never_creates(each_site: Site) -> None:
    """Even for the owner: only a push does."""
    site = each_site
    name = new_name()
    for service in ("git-receive-pack", "git-upload-pack"):
        ask(site.daemon, "GET", f"/{name}/info/refs?service={service}", sign_in(site.alice))
    headers = service_headers(site.alice, "git-receive-pack", 0)
    ask(site.daemon, "POST", f"/{name}/git-receive-pack", headers, b"0000")
    client = ssh(site.daemon, site.alice, f"git-receive-pack '{name}'")
    client.communicate(b"0000", timeout=20)
    assert not site.disk(name).exists()
    made = history()
    body = commands([(ZERO, made.commit, "refs/heads/main")]) + made.pack
    for owner in ("bob", "nosuchowner"):
        other = f"{owner}/{name.partition('/')[2]}"
        answer = ask(site.daemon, "POST", f"/{other}/git-receive-pack", headers, body)
        assert answer.status == 404
        assert not site.disk(other).exists()


def test_wrong_credentials_are_401_everywhere(each_site: Site) -> None:
    """A wrong password reveals no more than none."""
    site = each_site
    private, missing, public = new_name(), new_name(), new_name()
    push_history(site.daemon, site.alice, private)
    site.create(public, private=False)
    wrong = Person("alice", "wit_" + "0" * 40, site.alice.key)
    answers = []
    for name in (private, missing, public):
        target = f"/{name}/info/refs?service=git-upload-pack"
        for header in (sign_in(wrong), {"Authorization": f"Bearer {wrong.token}"},
                       {"Authorization": basic("nosuchuser", wrong.token)}):  # fmt: skip
            answers.append(seen(ask(site.daemon, "GET", target, header)))
    assert {answer[0] for answer in answers} == {401}
    assert all(answer == answers[0] for answer in answers)
