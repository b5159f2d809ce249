"""git's protocols and HTTP by hand, for clients that no honest program would be."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import subprocess
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import attrs

from tests.support.daemon import Daemon, ssh_command
from tests.support.site import Person, Site, new_name

ZERO = "0" * 40
FLUSH = b"0000"
DELIM = b"0001"
CAPABILITIES = b"report-status side-band-64k object-format=sha1"

# HTTP


@attrs.frozen
class Answer:
    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


class Http:
    """One connection, on which exactly the given bytes are sent."""

    def __init__(self, port: int, source: str = "", seconds: float = 20.0) -> None:
        self.socket = socket.create_connection(
            ("127.0.0.1", port), seconds, (source, 0) if source else None
        )
        self.rest = b""

    def __enter__(self) -> Http:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Http:
        self.socket.sendall(data)
        return self

    def reset(self) -> None:
        """Vanish: the peer gets a reset, not an end."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def until(self, mark: bytes) -> bytes:
        """What comes up to ``mark`` and with it. Raises EOFError."""
        while mark not in self.rest:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(f"closed after {self.rest[:200]!r}")
            self.rest += data
        end = self.rest.index(mark) + len(mark)
        found, self.rest = self.rest[:end], self.rest[end:]
        return found

    def take(self, size: int) -> bytes:
        while len(self.rest) < size:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError(f"closed {size - len(self.rest)} bytes too early")
            self.rest += data
        found, self.rest = self.rest[:size], self.rest[size:]
        return found

    def remainder(self) -> bytes:
        """Everything up to the end of the connection; a reset is an end as well."""
        try:
            while data := self.socket.recv(65536):
                self.rest += data
        except ConnectionResetError:
            pass
        found, self.rest = self.rest, b""
        return found

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next answer."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        headers = {}
        for line in lines[1:-2]:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return int(lines[0].split()[1]), headers

    def answer(self) -> Answer:
        """The next answer. Raises EOFError if it is cut off."""
        status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            parts = []
            while size := int(self.until(b"\r\n"), 16):
                parts.append(self.take(size))
                self.take(2)
            self.take(2)
            return Answer(status, headers, b"".join(parts))
        if "content-length" in headers:
            return Answer(status, headers, self.take(int(headers["content-length"])))
        return Answer(status, headers, b"" if status in (100, 204, 304) else self.remainder())


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def sign_in(person: Person | None) -> dict[str, str]:
    """The header with which ``person`` signs in."""
    return {} if person is None else {"Authorization": basic(person.name, person.token)}


def request(
    method: str, target: str | bytes, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> bytes:
    """A request; its body has a Content-Length unless ``headers`` has another idea."""
    fields = {"Host": "wit.example", **(headers or {})}
    names = {name.lower() for name in fields}
    if body and not names & {"content-length", "transfer-encoding"}:
        fields["Content-Length"] = str(len(body))
    lines = b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in fields.items())
    target = target.encode() if isinstance(target, str) else target
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method.encode(), target, lines, body)


def ask(
    daemon: Daemon,
    method: str,
    target: str | bytes,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    source: str = "",
) -> Answer:
    """One request on a connection of its own."""
    with Http(daemon.http_port, source) as http:
        return http.send(request(method, target, headers, body)).answer()


def service_headers(person: Person | None, service: str, version: int = 2) -> dict[str, str]:
    """Those of a POST to one of git's two services."""
    return {
        **sign_in(person),
        "Content-Type": f"application/x-{service}-request",
        "Git-Protocol": f"version={version}",
    }


def post(
    daemon: Daemon,
    person: Person | None,
    name: str,
    service: str,
    body: bytes,
    *,
    version: int = 2,
    **more: str,
) -> Answer:
    headers = service_headers(person, service, version) | more
    return ask(daemon, "POST", f"/{name}.git/{service}", headers, body)


# SSH


def ssh(
    daemon: Daemon, person: Person, command: str, *options: str, user: str = "git"
) -> subprocess.Popen[bytes]:
    """OpenSSH, running ``command`` on the server."""
    return subprocess.Popen(
        [
            *ssh_command(person.key, *options), "-p", str(daemon.ssh_port),
            f"{user}@127.0.0.1", *([command] if command else []),
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


# pkt-lines


def pkt(*lines: bytes | str) -> bytes:
    encoded = (line.encode() if isinstance(line, str) else line for line in lines)
    return b"".join(b"%04x%b" % (len(data) + 4, data) for data in encoded)


def packets(data: bytes) -> Iterator[bytes]:
    """The payloads of a stream of packets, markers left out."""
    while data:
        length = int(data[:4], 16)
        if length > 4:
            yield data[4:length]
        data = data[max(length, 4) :]


def fetch_v2(wants: Iterable[str], *lines: str) -> bytes:
    """A fetch of protocol v2; without haves among ``lines`` it is a clone."""
    arguments = ["ofs-delta", *(f"want {want}" for want in wants), *lines, "done"]
    head = pkt("command=fetch", "agent=attack/1", "object-format=sha1")
    return head + DELIM + pkt(*(f"{line}\n" for line in arguments)) + FLUSH


def fetch_v0(wants: Sequence[str], *haves: str) -> bytes:
    """A whole request of protocol v0 over HTTP."""
    first = f"want {wants[0]} side-band-64k ofs-delta agent=attack/1\n"
    rest = [f"want {want}\n" for want in wants[1:]]
    return pkt(first, *rest) + FLUSH + pkt(*(f"have {have}\n" for have in haves), "done\n")


def ls_refs(*arguments: str) -> bytes:
    head = pkt("command=ls-refs", "agent=attack/1", "object-format=sha1")
    return head + DELIM + pkt(*(f"{line}\n" for line in arguments)) + FLUSH


# Objects and packs

COMMIT, TREE, BLOB, TAG, OFS_DELTA, REF_DELTA = 1, 2, 3, 4, 6, 7
_NAMES = {COMMIT: b"commit", TREE: b"tree", BLOB: b"blob", TAG: b"tag"}


def oid(kind: int, data: bytes) -> str:
    return hashlib.sha1(b"%b %d\0%b" % (_NAMES[kind], len(data), data)).hexdigest()


def entry(kind: int, data: bytes, *, prefix: bytes = b"", size: int | None = None) -> bytes:
    """One object of a pack; ``prefix`` is a delta's base, ``size`` may lie."""
    size = len(data) if size is None else size
    byte, size = (kind << 4) | (size & 15), size >> 4
    head = bytearray()
    while size:
        head.append(byte | 0x80)
        byte, size = size & 0x7F, size >> 7
    head.append(byte)
    return bytes(head) + prefix + zlib.compress(data, 1)


def pack(entries: Sequence[bytes], count: int | None = None) -> bytes:
    data = struct.pack(">4sLL", b"PACK", 2, len(entries) if count is None else count)
    data += b"".join(entries)
    return data + hashlib.sha1(data).digest()


def tree(*entries: tuple[bytes, bytes, str]) -> bytes:
    """Entries of (mode, name, id), in the order given."""
    return b"".join(b"%b %b\0%b" % (mode, name, bytes.fromhex(id_)) for mode, name, id_ in entries)


def commit(tree_id: str, *parents: str, message: str = "attack") -> bytes:
    lines = [f"tree {tree_id}", *(f"parent {parent}" for parent in parents)]
    lines += ["author A <a@example.org> 1700000000 +0000"]
    lines += ["committer A <a@example.org> 1700000000 +0000", "", message, ""]
    return "\n".join(lines).encode()


@attrs.frozen
class History:
    """One commit of one file, as a pack."""

    commit: str
    tree: str
    blob: str
    pack: bytes


def history(content: bytes = b"x\n", *parents: str, message: str = "attack") -> History:
    blob_id = oid(BLOB, content)
    root = tree((b"100644", b"file", blob_id))
    tree_id = oid(TREE, root)
    data = commit(tree_id, *parents, message=message)
    packed = pack([entry(COMMIT, data), entry(TREE, root), entry(BLOB, content)])
    return History(oid(COMMIT, data), tree_id, blob_id, packed)


# Pushes


@attrs.frozen
class Report:
    """What a push was answered."""

    unpack: str
    refs: Mapping[str, str]
    """``ok``, or the reason why not."""
    messages: str
    """Side-band text, ERR packets."""


def commands(
    updates: Iterable[tuple[str, str, str | bytes]], capabilities: bytes = CAPABILITIES
) -> bytes:
    """The list of (old, new, ref) that a push begins with."""
    lines = []
    for old, new, ref in updates:
        name = ref.encode() if isinstance(ref, str) else ref
        lines.append(f"{old} {new} ".encode() + name)
    lines[0] += b"\0" + capabilities
    return pkt(*lines) + FLUSH


def read_report(data: bytes) -> Report:
    """Understand the answer to a push, side-band or not."""
    inner, messages = b"", ""
    for packet in packets(data):
        if packet[:1] == b"\x01":
            inner += packet[1:]
        elif packet[:1] in (b"\x02", b"\x03"):
            messages += packet[1:].decode("utf-8", "replace")
        else:
            messages += packet.decode("utf-8", "replace")
    unpack, found = "", {}
    for line in packets(inner):
        word, _, rest = line.decode("utf-8", "replace").rstrip("\n").partition(" ")
        name, _, reason = rest.partition(" ")
        if word == "unpack":
            unpack = rest
        else:
            found[name] = "ok" if word == "ok" else reason
    return Report(unpack, found, messages)


def push(
    daemon: Daemon,
    person: Person,
    name: str,
    updates: Sequence[tuple[str, str, str | bytes]],
    packed: bytes = b"",
    capabilities: bytes = CAPABILITIES,
) -> Report:
    """Push over HTTP; a refusal before the report raises AssertionError."""
    body = commands(updates, capabilities) + packed
    answer = post(daemon, person, name, "git-receive-pack", body, version=0)
    assert answer.status == 200, (answer.status, answer.text)
    return read_report(answer.body)


def push_history(
    daemon: Daemon, person: Person, name: str, content: bytes = b"x\n", branch: str = "main"
) -> History:
    """A first commit on a new branch; makes the repository if it is the person's own."""
    made = history(content)
    ref = f"refs/heads/{branch}"
    report = push(daemon, person, name, [(ZERO, made.commit, ref)], made.pack)
    assert report.refs == {ref: "ok"}, report
    return made


_shared: dict[int, tuple[str, str]] = {}


def shared_repository(site: Site) -> tuple[str, str]:
    """A repository of alice's, made once per daemon, and its only commit; it is left as it is."""
    if id(site) not in _shared:
        name = new_name()
        _shared[id(site)] = name, push_history(site.daemon, site.alice, name).commit
    return _shared[id(site)]


def file_marker(folder: Path) -> Path:
    """A file that exists only if an injected command was run."""
    return folder / "pwned"
