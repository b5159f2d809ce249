"""What a command in a sandbox sees: the options of bubblewrap, from values alone.

Everything here was tried against the attacks of docs/security.md; bubblewrap is a toolbox, and this
is the policy. The command finds itself as an ordinary user on a read-only system with the host's
programs, without network but its own localhost, and with three places to write to, all on the
sandbox's own disk: /workspace, /tmp and its home.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

import attrs

from wit.sandboxes.local.keeper.launch import SECCOMP_FD, STATUS_FD
from wit.sandboxes.local.keeper.walls import ROOT
from wit.sandboxes.provider import WORKSPACE

HOME = "/home/user"
TMP, SHM = "/tmp", "/dev/shm"  # noqa: S108
INNER_ID = "1000"
SHM_BYTES = 64 * 1024 * 1024
PROXY_PORT = 3128

ETC = {
    "passwd": (
        "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\n"
        f"user:x:{INNER_ID}:{INNER_ID}:user:{HOME}:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": f"root:x:0:\nuser:x:{INNER_ID}:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost sandbox\n::1 localhost\n",
}
"""Files of the sandbox's /etc; the host's own are not seen."""

HOST_ETC = (
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates",
    "/etc/localtime",
)

ENVIRONMENT = {
    "PATH": f"{HOME}/.local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": HOME,
    "USER": "user",
    "LOGNAME": "user",
    "SHELL": "/bin/bash",
    "LANG": "C.UTF-8",
    "TMPDIR": TMP,
}

TERMINAL_ENVIRONMENT = {"TERM": "xterm-256color", "COLORTERM": "truecolor"}

PROXY_URL = f"http://127.0.0.1:{PROXY_PORT}"
PROXY_ENVIRONMENT = {
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), PROXY_URL),
    **dict.fromkeys(("no_proxy", "NO_PROXY"), "localhost,127.0.0.1,::1"),
}

LAUNCHER = ("/bin/sh", "-c", 'exec "$@"', "sh")
"""Before the argument list: a program that is not there is a code (127), and a word about it on
standard error, as every shell has it. The list itself is never read by the shell."""


@attrs.frozen
class Layout:
    """Folders of the host that are at the root: mounted, or links into /usr."""

    links: tuple[tuple[str, str], ...]
    """Target, place."""
    folders: tuple[str, ...]

    @classmethod
    def of_this_host(cls) -> Layout:
        links, folders = [], []
        for name in ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"):
            if os.path.islink(name):
                links.append((os.readlink(name), name))
            elif os.path.isdir(name):
                folders.append(name)
        return cls(tuple(links), tuple(folders))


def options(layout: Layout, cwd: str, env: Mapping[str, str], *, terminal: bool) -> list[str]:
    """bubblewrap's options for one command of a sandbox, inside its walls.

    ``env`` is the sandbox's and the command's own environment. With ``terminal`` the command keeps
    the terminal that its process was given, else it has none.
    """
    given = [
        *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup"),
        *("--disable-userns", "--uid", INNER_ID, "--gid", INNER_ID, "--hostname", "sandbox"),
        *("--die-with-parent", "--cap-drop", "ALL", "--clearenv"),
        *("--seccomp", str(SECCOMP_FD), "--json-status-fd", str(STATUS_FD)),
    ]
    if not terminal:
        given.append("--new-session")
    given += ["--ro-bind", "/usr", "/usr"]
    for target, place in layout.links:
        given += ["--symlink", target, place]
    for folder in layout.folders:
        given += ["--ro-bind", folder, folder]
    given += ["--perms", "0755", "--dir", "/etc"]
    for name in ETC:
        given += ["--ro-bind", f"{ROOT}/etc/{name}", f"/etc/{name}"]
    for name in HOST_ETC:
        given += ["--ro-bind-try", name, name]
    given += [
        *("--proc", "/proc", "--dev", "/dev"),
        *("--size", str(SHM_BYTES), "--perms", "1777", "--tmpfs", SHM),
        *("--dir", "/run", "--dir", "/var", "--symlink", "../tmp", "/var/tmp"),  # noqa: S108
        *("--bind", f"{ROOT}/workspace", WORKSPACE),
        *("--bind", ROOT + TMP, TMP),
        *("--bind", f"{ROOT}/home", HOME),
        # Both are file systems in memory without a limit, and the sandbox's user owns them.
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *("--chdir", cwd),
    ]
    everything = {**ENVIRONMENT, **(TERMINAL_ENVIRONMENT if terminal else {}), **env}
    for key, value in everything.items():
        given += ["--setenv", key, value]
    return given
