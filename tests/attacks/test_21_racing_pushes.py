"""Two pushes race for one ref: one wins, the other is told, and nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.daemon import git, wait_until
from tests.support.site import Site, new_name, refs
from tests.support.wire import (
    ZERO,
    Http,
    Report,
    commands,
    history,
    push_history,
    read_report,
    request,
    service_headers,
)

pytestmark = pytest.mark.attack(21)


def journaled(site: Site, name: str) -> list[str]:
    """The new values of all pushes, in their order; written a moment after the client knows."""
    events = [event["payload"] for event in site.daemon.events(name) if event["type"] == "push"]
    return [event["updates"][0]["after"] for event in events]


@pytest.mark.parametrize("racers", [2, 6])
def test_exactly_one_wins(each_site: Site, racers: int) -> None:
    site, name = each_site, new_name()
    made = push_history(site.daemon, site.alice, name)
    ref = "refs/heads/main"
    tip = made.commit
    for round_ in range(3):
        rivals = [history(f"{round_} {number}\n".encode(), tip) for number in range(racers)]
        connections = []
        for rival in rivals:  # all but the last byte of each
            body = commands([(tip, rival.commit, ref)]) + rival.pack
            http = Http(site.daemon.http_port)
            headers = service_headers(site.alice, "git-receive-pack", 0)
            http.send(request("POST", f"/{name}/git-receive-pack", headers, body)[:-1])
            connections.append((http, body[-1:]))

        def finish(connection: tuple[Http, bytes]) -> Report:
            http, last = connection
            with http:
                return read_report(http.send(last).answer().body)

        with ThreadPoolExecutor(racers) as pool:
            reports = list(pool.map(finish, connections))
        winners = [i for i, report in enumerate(reports) if report.refs.get(ref) == "ok"]
        assert len(winners) == 1, reports
        tip = rivals[winners[0]].commit
        assert refs(site.disk(name)) == {ref: tip}
        for number, report in enumerate(reports):
            if number not in winners:
                said = str(report.refs) + report.messages
                assert "fetch first" in said or "cannot lock" in said or "failed to" in said, report
    log = git("-C", str(site.disk(name)), "rev-list", ref).stdout.split()
    assert log[0] == tip and len(log) == 4
    assert git("-C", str(site.disk(name)), "fsck").returncode == 0
    wait_until(lambda: journaled(site, name) == list(reversed(log)), what="the whole journal")


def test_a_creation_race(each_site: Site) -> None:
    """Push-to-create by two at once: one repository, and both branches in it."""
    site, name = each_site, new_name()
    names = ("refs/heads/one", "refs/heads/two", "refs/heads/three")
    rivals = [history(ref.encode()) for ref in names]

    def push_one(ref: str, made: object) -> Report:
        body = commands([(ZERO, made.commit, ref)]) + made.pack  # type: ignore[attr-defined]
        headers = service_headers(site.alice, "git-receive-pack", 0)
        with Http(site.daemon.http_port) as http:
            answer = http.send(request("POST", f"/{name}/git-receive-pack", headers, body)).answer()
        assert answer.status == 200, answer
        return read_report(answer.body)

    with ThreadPoolExecutor(3) as pool:
        reports = list(pool.map(push_one, names, rivals))
    assert [list(report.refs.values()) for report in reports] == [["ok"]] * 3, reports
    assert refs(site.disk(name)) == {
        ref: made.commit for ref, made in sorted(zip(names, rivals, strict=True))
    }
