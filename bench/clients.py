"""Clients that are cheaper than git, so that what is measured is the server."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import threading
import time
import urllib.parse
from pathlib import Path

from bench.fixtures import git

WINDOW = 1 << 20


def pkt(text: str) -> bytes:
    data = text.encode()
    return b"%04x%s" % (len(data) + 4, data)


def clone_request(repository: Path) -> bytes:
    """The body of a protocol v2 fetch that wants every ref and has nothing."""
    refs = git("--git-dir", str(repository), "for-each-ref", "--format=%(objectname)").split()
    wants = b"".join(pkt(f"want {oid}\n") for oid in dict.fromkeys(refs))
    return (
        pkt("command=fetch")
        + pkt("agent=git/2.39.5")
        + pkt("object-format=sha1")
        + b"0001"
        + pkt("thin-pack")
        + pkt("no-progress")
        + pkt("ofs-delta")
        + wants
        + pkt("done\n")
        + b"0000"
    )


def ls_refs_request() -> bytes:
    return (
        pkt("command=ls-refs\n")
        + pkt("agent=git/2.39.5")
        + pkt("object-format=sha1")
        + b"0001"
        + pkt("peel\n")
        + pkt("symrefs\n")
        + pkt("ref-prefix refs/heads/\n")
        + pkt("ref-prefix refs/tags/\n")
        + b"0000"
    )


def receive_only(url: str, body: bytes) -> int:
    """Post the fetch request, read the answer to its last byte and throw it away; its size."""
    with _post(url, body) as peer:
        total = 0
        view = memoryview(bytearray(WINDOW))
        while received := peer.recv_into(view):
            total += received
        return total


def stalled(url: str, body: bytes) -> socket.socket:
    """Post the fetch request, read the first bytes, and never read again."""
    peer = _post(url, body)
    peer.recv(1024)
    return peer


def _post(url: str, body: bytes) -> socket.socket:
    address = urllib.parse.urlsplit(url)
    peer = socket.create_connection((address.hostname or "", address.port or 80))
    peer.sendall(
        (
            f"POST {address.path}/git-upload-pack HTTP/1.1\r\nHost: {address.netloc}\r\n"
            "Content-Type: application/x-git-upload-pack-request\r\nGit-Protocol: version=2\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        ).encode()
        + body
    )
    return peer


def at_once(number: int, url: str, body: bytes) -> float:
    """Seconds until ``number`` receiving clients, started together, have the last byte."""
    sizes: list[int] = []
    threads = [
        threading.Thread(target=lambda: sizes.append(receive_only(url, body)))
        for _ in range(number)
    ]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(sizes) != number or min(sizes) < 10_000:
        raise RuntimeError(f"the clients received {sizes}")
    return time.perf_counter() - started


def polls_per_second(url: str, folder: Path, connections: int = 16, seconds: int = 5) -> float:
    """ls-refs requests per second from wrk, kept-alive connections."""
    body = ls_refs_request().decode().replace("\n", "\\n")
    script = folder / "poll.lua"
    script.write_text(
        'wrk.method = "POST"\n'
        f'wrk.body = "{body}"\n'
        'wrk.headers["Content-Type"] = "application/x-git-upload-pack-request"\n'
        'wrk.headers["Git-Protocol"] = "version=2"\n'
    )
    done = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds}s",
            "-s",
            str(script),
            f"{url}/git-upload-pack",
        ],
        capture_output=True,
        text=True,
        env=os.environ,
        check=True,
    )
    if "Non-2xx" in done.stdout:
        raise RuntimeError(done.stdout)
    found = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    if not found:
        raise RuntimeError(done.stdout + done.stderr)
    return float(found[1])
