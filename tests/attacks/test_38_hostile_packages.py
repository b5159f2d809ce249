"""Packages that lie about what they are: refused with a sentence, and nothing of them is kept."""

from __future__ import annotations

import gzip
import itertools
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.npm import Answer, document, escaped, tar_of, tarball
from tests.support.package_site import PackageSite, new_package
from tests.support.wire import Http, request

pytestmark = pytest.mark.attack(38)

Document = dict[str, Any]
PROTOTYPES = ("__proto__", "constructor", "prototype")


@pytest.fixture
def unchanged(registry: PackageSite) -> Iterator[None]:
    """Whatever is sent, no file and no package comes of it."""
    before = registry.blobs()
    yield
    assert registry.blobs() == before


def refused(registry: PackageSite, answer: Answer, manifest: Document, status: int = 400) -> str:
    """The sentence of a refusal after which there is no such package."""
    assert answer.status == status, answer
    assert registry.bob.get(escaped(manifest["name"])).status in (400, 404)
    sentence = str(answer.json["error"])
    assert len(sentence) > 10 and "internal" not in sentence
    return sentence


# Names


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "name",
    [
        "../x", "..", "x/../../y", "@bob/../x", "@bob/..", "@../x", "@bob/.x", "@bob", "@bob/",
        "Upper", ".hidden", "_private", "with space", "slash/name", "back\\slash", "a\0b", "é",
        "a" * 215, "__proto__", "constructor", "prototype", "@bob/__proto__", "node_modules",
        "favicon.ico", "http", "-", "-rf", "%2e%2e",
    ],
)  # fmt: skip
def test_names(registry: PackageSite, name: str) -> None:
    manifest = {"name": name, "version": "1.0.0", "repository": "bob/open"}
    answer = registry.bob.publish(document(manifest))
    assert answer.status in (400, 404, 405), answer


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "path",
    [
        "..%2f..%2fx", "%2e%2e/x", "@bob%2f..%2f..%2fx", "@bob%2f%2e%2e", "x%00y", "x%5c..%5cy",
        "x%ff", "@bob%252fx", "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    ],
)  # fmt: skip
def test_names_in_paths(registry: PackageSite, path: str) -> None:
    """The body is fine; the path is what is stored under."""
    answer = registry.bob.ask("PUT", path, document(new_package()))
    assert answer.status in (400, 404, 405), answer
    for suffix in ("", "/1.0.0", "/-/x-1.0.0.tgz"):
        assert registry.nobody.get(path + suffix).status in (400, 404)


@pytest.mark.usefixtures("unchanged")
def test_another_name_in_the_body(registry: PackageSite) -> None:
    manifest, other = new_package(), new_package()
    answer = registry.bob.ask("PUT", other["name"], document(manifest))
    assert other["name"] in refused(registry, answer, manifest)
    body = document(manifest)
    body["_id"] = other["name"]
    refused(registry, registry.bob.publish(body), manifest)
    body = document(manifest)
    body["versions"]["1.0.0"]["name"] = other["name"]
    refused(registry, registry.bob.publish(body), manifest)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("scope", ["carol", "alice", "Bob", "nobody", "bob.evil", "bobb"])
def test_scopes_of_others(registry: PackageSite, scope: str) -> None:
    """A scope is for the repositories of who is called so."""
    manifest = {**new_package(), "name": f"@{scope}/spoof"}
    answer = registry.bob.publish(document(manifest))
    assert answer.status in (400, 403), answer
    assert registry.bob.get(escaped(manifest["name"])).status in (400, 404)


@pytest.mark.usefixtures("unchanged")
def test_repositories_of_others(registry: PackageSite) -> None:
    """One that cannot be seen answers as one that is not there."""
    said = {}
    for repository in ("bob/closed", "bob/missing"):
        manifest = new_package(repository=repository)
        answer = registry.carol.publish(document(manifest))
        said[repository] = refused(registry, answer, manifest, 404).replace(repository, "")
    assert said["bob/closed"] == said["bob/missing"]
    manifest = new_package(repository="bob/open")
    assert "bob/open" in refused(
        registry, registry.carol.publish(document(manifest)), manifest, 403
    )
    assert registry.nobody.publish(document(manifest)).status == 401
    for place in ("https://elsewhere.example.org/bob/open", "github:bob/open", "", "../open", 5):
        manifest = {**new_package(), "repository": place}
        refused(registry, registry.bob.publish(document(manifest)), manifest)


# Versions


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "version",
    [
        "1", "1.0", "v1.0.0", "=1.0.0", " 1.0.0", "01.0.0", "1.0.0.0", "1.0.0-", "1.0.0-01",
        "latest", "^1.0.0", "*", "", "../1.0.0", "1.0.0/../2.0.0", "__proto__", "1.0.0\n",
        "9007199254740992.0.0", "1" * 300 + ".0.0", "１.0.0",
    ],
)  # fmt: skip
def test_versions_that_are_none(registry: PackageSite, version: str) -> None:
    manifest = new_package(version)
    refused(registry, registry.bob.publish(document(manifest)), manifest)


def test_a_version_is_published_once(registry: PackageSite) -> None:
    """And what was there stays; a number that was given back cannot be used again, either."""
    manifest = new_package()
    name = manifest["name"]
    first = tarball(manifest, {"index.js": b"first"})
    second = tarball(manifest, {"index.js": b"second"})
    registry.publish(manifest, first)
    shown = registry.nobody.get(name).json
    for packed in (second, first):
        answer = registry.bob.publish(document(manifest, packed))
        assert (answer.status, "1.0.0" in answer.json["error"]) == (409, True)
    assert registry.nobody.get(name).json == shown
    assert registry.nobody.get(f"{name}/-/{name}-1.0.0.tgz").body == first
    registry.publish({**manifest, "version": "1.0.1"})
    rev = registry.bob.get(name).json["_rev"]
    gone = registry.bob.ask("DELETE", f"{name}/-/{name}-1.0.0.tgz/-rev/{rev}")
    assert gone.status == 200, gone
    assert registry.bob.publish(document(manifest, second)).status == 409
    build = {**manifest, "version": "1.0.1+build"}
    assert registry.bob.publish(document(build)).status == 409


# Digests


def _shasum(body: Document) -> None:
    body["versions"]["1.0.0"]["dist"]["shasum"] = "0" * 40


def _integrity(body: Document) -> None:
    dist = body["versions"]["1.0.0"]["dist"]
    dist["integrity"] = dist["integrity"][:-10] + "AAAAAAAA=="


def _sha512_for_sha1(body: Document) -> None:
    dist = body["versions"]["1.0.0"]["dist"]
    dist["shasum"] = dist["integrity"]


def _weaker(body: Document) -> None:
    body["versions"]["1.0.0"]["dist"]["integrity"] = "md5-XrY7u+Ae7tCTyyK7j1rNww=="


def _length(body: Document) -> None:
    attachment = next(iter(body["_attachments"].values()))
    attachment["length"] += 1


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("lie", [_shasum, _integrity, _sha512_for_sha1, _weaker, _length])
def test_digests_that_do_not_fit(registry: PackageSite, lie: Callable[[Document], None]) -> None:
    manifest = new_package()
    body = document(manifest)
    lie(body)
    refused(registry, registry.bob.publish(body), manifest)


# Bodies


def _no_attachment(body: Document) -> None:
    body["_attachments"] = {f"{body['name']}-2.0.0.tgz": next(iter(body["_attachments"].values()))}


def _two_attachments(body: Document) -> None:
    body["_attachments"]["other-1.0.0.tgz"] = next(iter(body["_attachments"].values()))


def _path_as_file(body: Document) -> None:
    body["_attachments"] = {"../../x-1.0.0.tgz": next(iter(body["_attachments"].values()))}


def _no_base64(body: Document) -> None:
    next(iter(body["_attachments"].values()))["data"] = "no base64 at all!"


def _half_base64(body: Document) -> None:
    attachment = next(iter(body["_attachments"].values()))
    attachment["data"] = attachment["data"][:-3]


def _versions_list(body: Document) -> None:
    body["versions"] = [body["versions"]]


def _bad_tag(body: Document) -> None:
    body["dist-tags"] = {"1.x": "1.0.0"}


def _bad_dependencies(body: Document) -> None:
    body["versions"]["1.0.0"]["dependencies"] = {"../x": "1"}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "lie",
    [
        _no_attachment, _two_attachments, _path_as_file, _no_base64, _half_base64, _versions_list,
        _bad_tag, _bad_dependencies,
    ],
)  # fmt: skip
def test_documents(registry: PackageSite, lie: Callable[[Document], None]) -> None:
    manifest = new_package()
    body = document(manifest)
    lie(body)
    refused(registry, registry.bob.publish(body), manifest)


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("place", "key"),
    [
        *itertools.product(('"versions":{', '"dist-tags":{', '"_attachments":{'), PROTOTYPES),
        ('"dependencies":{', "__proto__"),
    ],
)
def test_prototype_keys(registry: PackageSite, place: str, key: str) -> None:
    """As the names of versions, tags, dependencies and files."""
    manifest = {**new_package(), "dependencies": {"other": "1.0.0"}}
    text = json.dumps(document(manifest), separators=(",", ":"))
    if place == '"versions":{':
        text = text.replace('"versions":{"1.0.0":', f'"versions":{{"{key}":', 1)
    else:
        value = '{"data":""}' if place == '"_attachments":{' else '"1.0.0"'
        text = text.replace(place, f'{place}"{key}":{value},')
    assert f'"{key}":' in text
    refused(registry, registry.bob.ask("PUT", manifest["name"], text.encode()), manifest)


def test_prototype_keys_in_the_rest_of_a_manifest(registry: PackageSite) -> None:
    manifest = {**new_package(), "config": {"inner": 1}}
    text = json.dumps(document(manifest)).replace('"inner"', '"__proto__"')
    answer = registry.bob.ask("PUT", manifest["name"], text.encode())
    assert answer.status in (200, 400), answer
    assert b"__proto__" not in registry.nobody.get(manifest["name"]).body


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"a":' * 5000, b"\xff\xfe", b'{"name": NaN}',
        b'{"_attachments": {"x-1.0.0.tgz": {"data": "' + b"A" * 1000,
    ],
    ids=range(9),
)  # fmt: skip
def test_bodies_that_are_no_documents(registry: PackageSite, body: bytes) -> None:
    manifest = new_package()
    answer = registry.bob.ask("PUT", manifest["name"], body)
    assert answer.status in (400, 404), answer
    assert registry.bob.get(manifest["name"]).status == 404


@pytest.mark.usefixtures("unchanged")
def test_limits(registry: PackageSite) -> None:
    manifest = new_package()
    body = document(manifest)
    body["readme"] = "x" * (3 * 1024 * 1024)
    refused(registry, registry.bob.publish(body), manifest, 413)
    packed = gzip.compress(json.dumps(body).encode())
    headers = {"Content-Encoding": "gzip"}
    answer = registry.bob.ask("PUT", manifest["name"], packed, headers)
    refused(registry, answer, manifest, 413)
    many = {**manifest, "dependencies": {f"d{number}": "1" for number in range(100_000)}}
    answer = registry.bob.publish(document(many, tarball(manifest)))
    assert answer.status in (400, 413), answer


@pytest.mark.usefixtures("unchanged")
def test_a_body_that_is_too_large_is_refused_before_it_is_sent(registry: PackageSite) -> None:
    manifest = new_package()
    headers = {
        "Authorization": f"Bearer {registry.bob.token}",
        "Content-Type": "application/json",
        "Content-Length": str(10**9),
        "Expect": "100-continue",
    }
    with Http(registry.daemon.http_port) as http:
        http.send(request("PUT", f"/api/packages/{manifest['name']}", headers))
        assert http.head()[0] == 413


# Tarballs


def _member(kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo()
    info.type, info.linkname = kind, link
    return info


def _bomb() -> bytes:
    """150 MiB of zeros in some 150 kB."""
    return bytes(150 * 1024 * 1024)


HOSTILE: dict[str, Callable[[bytes], bytes]] = {
    "symlink": lambda own: tar_of(
        {"package/package.json": own, "package/x": _member(tarfile.SYMTYPE, "/etc/passwd")}
    ),
    "link that stays inside": lambda own: tar_of(
        {"package/package.json": own, "package/x": _member(tarfile.SYMTYPE, "package.json")}
    ),
    "hard link": lambda own: tar_of(
        {
            "package/package.json": own,
            "package/x": _member(tarfile.LNKTYPE, "package/package.json"),
        }
    ),
    "device": lambda own: tar_of(
        {"package/package.json": own, "package/x": _member(tarfile.CHRTYPE)}
    ),
    "fifo": lambda own: tar_of(
        {"package/package.json": own, "package/x": _member(tarfile.FIFOTYPE)}
    ),
    "dots": lambda own: tar_of({"package/package.json": own, "package/../../x": b"x"}),
    "dots first": lambda own: tar_of({"package/package.json": own, "../x": b"x"}),
    "absolute": lambda own: tar_of({"package/package.json": own, "/etc/cron.d/x": b"x"}),
    "windows": lambda own: tar_of({"package/package.json": own, "package\\..\\..\\x": b"x"}),
    "drive": lambda own: tar_of({"package/package.json": own, "C:/x": b"x"}),
    "no package.json": lambda own: tar_of({"package/other.json": own}),
    "package.json too deep": lambda own: tar_of({"package/deep/package.json": own}),
    "package.json without a folder": lambda own: tar_of({"package.json": own}),
    "package.json twice": lambda own: tar_of({"package/package.json": own, "b/package.json": own}),
    "package.json of another": lambda own: tar_of(
        {"package/package.json": b'{"name": "other", "version": "1.0.0"}'}
    ),
    "package.json of another version": lambda own: tar_of(
        {"package/package.json": own.replace(b"1.0.0", b"1.0.1")}
    ),
    "package.json that is none": lambda own: tar_of({"package/package.json": b"[" * 100_000}),
    "bomb": lambda own: tar_of({"package/package.json": own, "package/zeros": _bomb()}),
    "too many files": lambda own: tar_of(
        {"package/package.json": own, **{f"package/{number}": b"" for number in range(1100)}}
    ),
    "cut off": lambda own: tar_of({"package/package.json": own, "package/x": own * 50})[:-40],
    "not packed": lambda own: gzip.decompress(tar_of({"package/package.json": own})),
    "packed twice": lambda own: gzip.compress(tar_of({"package/package.json": own})),
    "no tar": lambda own: gzip.compress(own),
    "nothing": lambda own: b"",
    "something behind": lambda own: tar_of({"package/package.json": own}) + b"PK\x03\x04 a zip",
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("kind", HOSTILE)
def test_tarballs(registry: PackageSite, kind: str) -> None:
    manifest = new_package()
    packed = HOSTILE[kind](json.dumps(manifest).encode())
    answer = registry.bob.publish(document(manifest, packed))
    assert answer.status in (400, 413), answer
    refused(registry, answer, manifest, answer.status)
