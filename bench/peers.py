"""The peers: git http-backend behind nginx and fcgiwrap, and OpenSSH's sshd with git-shell."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from bench.fixtures import environment

WORKERS = 8
USER, PASSWORD = "bench", "bench-password"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(port: int, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def program(name: str) -> str:
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise RuntimeError(f"{name} is not installed; `make bench` installs it")
    return found


class HttpBackend:
    """nginx passing everything to git http-backend through fcgiwrap, as in git's own manual."""

    def __init__(self, folder: Path, repositories: Path) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self.repositories = repositories
        socket_path = folder / "fcgiwrap.sock"
        backend = Path(subprocess.check_output(["git", "--exec-path"], text=True).strip())
        self._wrap = subprocess.Popen(
            [program("fcgiwrap"), "-c", str(WORKERS), "-s", f"unix:{socket_path}"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not socket_path.exists():
            time.sleep(0.01)
        socket_path.chmod(0o666)
        user = f"user {getpass.getuser()};" if os.getuid() == 0 else ""
        (folder / "nginx.conf").write_text(f"""
{user}
worker_processes 2;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    fastcgi_temp_path {folder}/fastcgi;
    proxy_temp_path {folder}/proxy;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    keepalive_requests 1000000;
    server {{
        listen 127.0.0.1:{self.port};
        location /auth/ {{
            auth_basic "bench";
            auth_basic_user_file {folder}/users;
            rewrite ^/auth(/.*)$ $1 break;
            include {folder}/backend.conf;
        }}
        location / {{ include {folder}/backend.conf; }}
    }}
}}
""")
        (folder / "users").write_text(f"{USER}:{{PLAIN}}{PASSWORD}\n")
        (folder / "backend.conf").write_text(f"""
            fastcgi_pass unix:{socket_path};
            fastcgi_read_timeout 600s;
            fastcgi_buffering off;
            fastcgi_request_buffering off;
            fastcgi_param SCRIPT_FILENAME {backend}/git-http-backend;
            fastcgi_param GIT_PROJECT_ROOT {repositories};
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param HOME {folder};
            fastcgi_param REMOTE_USER bench;
            fastcgi_param PATH_INFO $fastcgi_script_name;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
            fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
            fastcgi_param GIT_PROTOCOL $http_git_protocol;
""")
        (folder / ".gitconfig").write_text(
            "[safe]\n\tdirectory = *\n[http]\n\treceivepack = true\n"
            "[transfer]\n\tfsckObjects = true\n[receive]\n\tautogc = false\n"
        )
        self._nginx = subprocess.Popen(
            [program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for_port(self.port)
        except BaseException:
            self.stop()
            raise

    @property
    def pids(self) -> list[int]:
        return [self._wrap.pid, self._nginx.pid]

    def url(self, name: str, signed_in: bool = False) -> str:
        """Signed in, nginx checks a password; that is how a push gets in, here as on wit."""
        if signed_in:
            return f"http://{USER}:{PASSWORD}@127.0.0.1:{self.port}/auth/{name}"
        return f"http://127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        for process in (self._nginx, self._wrap):
            os.killpg(process.pid, signal.SIGTERM)  # fcgiwrap leaves its workers behind
            process.wait(10)


class OpenSsh:
    """sshd on a port of its own, one key, every command handed to git-shell.

    The account's shell runs the command, and bash run by sshd reads ``~/.bashrc``, which may take a
    second; so its home is an empty folder. The key exchange is the one that wit has: the default of
    newer versions (sntrup761) takes 0.2 s and would flatter us.
    """

    def __init__(self, folder: Path, repositories: Path) -> None:
        folder.mkdir(parents=True)
        self.port = free_port()
        self.repositories = repositories
        for name in ("host", "client"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)],
                check=True,
            )
        shutil.copy(folder / "client.pub", folder / "authorized_keys")
        self.key = folder / "client"
        (folder / ".gitconfig").write_text(
            "[safe]\n\tdirectory = *\n"
            "[transfer]\n\tfsckObjects = true\n"
            "[receive]\n\tautogc = false\n"
        )
        (folder / "sshd_config").write_text(f"""
Port {self.port}
ListenAddress 127.0.0.1
HostKey {folder}/host
AuthorizedKeysFile {folder}/authorized_keys
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin yes
KexAlgorithms curve25519-sha256
AcceptEnv GIT_PROTOCOL
SetEnv HOME={folder} GIT_CONFIG_NOSYSTEM=1
ForceCommand exec git-shell -c "$SSH_ORIGINAL_COMMAND"
MaxStartups 200
""")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        self._sshd = subprocess.Popen(
            [program("sshd"), "-D", "-f", str(folder / "sshd_config"), "-E", str(folder / "log")],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_for_port(self.port)
        except BaseException:
            self.stop()
            raise

    def url(self, name: str) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{self.repositories / name}"

    def stop(self) -> None:
        self._sshd.send_signal(signal.SIGTERM)
        self._sshd.wait(10)
