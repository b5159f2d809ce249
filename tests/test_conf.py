"""The files that are shipped for other programs are taken by these programs."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet import endpoints

from wit.config import Server
from wit.config_rules import convert, split_endpoint

ROOT = Path(__file__).parent.parent


def unit(name: str) -> str:
    return (ROOT / "systemd" / name).read_text()


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd-analyze here")
def test_units_are_valid(tmp_path):
    for name in ("wit.service", "wit.socket", "wit-ssh.socket"):
        twistd = Path(sys.executable).with_name("twistd")
        (tmp_path / name).write_text(unit(name).replace("/opt/wit/bin/twistd", str(twistd)))
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, tmp_path.iterdir())],
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_service_takes_what_the_sockets_hold():
    service = unit("wit.service").replace("\\\n", "")
    for flag, key, name in (
        ("http", "server.http", "wit.socket"), ("ssh", "ssh.listen", "wit-ssh.socket")
    ):  # fmt: skip
        endpoint = re.search(rf"--{flag}=(\S+)", service)[1]
        assert convert(key, [endpoint]) == (endpoint,)
        assert f"name={re.search('(?m)^FileDescriptorName=(.*)', unit(name))[1]}" in endpoint
        parser = inspect.signature(endpoints._SystemdParser()._parseServer)
        parser.bind(None, **split_endpoint(endpoint)[1])  # this Twisted knows name=


def test_systemd_waits_longer_than_the_grace():
    seconds = float(re.search(r"TimeoutStopSec=(\d+)s", unit("wit.service"))[1])
    assert seconds > Server().grace_seconds + 20


@pytest.mark.skipif(not Path("/usr/sbin/nginx").exists(), reason="no nginx here")
def test_nginx_takes_its_example(tmp_path):
    key, certificate = tmp_path / "privkey.pem", tmp_path / "fullchain.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "1", "-subj", "/CN=git.example.org", "-keyout", key,
         "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    text = (ROOT / "conf" / "nginx.conf").read_text()
    text = text.replace("/etc/letsencrypt/live/git.example.org", str(tmp_path))
    text = re.sub(r"listen (\[::\]:)?(\d+)", r"listen \g<1>1\2", text)
    (tmp_path / "wit.conf").write_text(text)
    main = tmp_path / "nginx.conf"
    main.write_text(
        f"pid {tmp_path}/pid; error_log stderr; events {{}}\n"
        f"http {{ access_log off; include {tmp_path}/wit.conf; }}\n"
    )
    done = subprocess.run(
        ["/usr/sbin/nginx", "-t", "-q", "-p", tmp_path, "-c", main], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    for line in ("proxy_request_buffering off;", "proxy_buffering off;", "client_max_body_size 0;",
                 "proxy_http_version 1.1;"):  # fmt: skip
        assert line in text
