"""What ``ssh -T git@host`` says. Pure."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from wit.access.actor import Actor
from wit.config import Config

_DEFAULT_PORT = 22


def clone_address(config: Config, local_address: Any, path: str) -> str:
    """The address of a repository for ``git clone``, as this server would be called.

    ``ssh.public_host`` may be ``host`` or ``host:port``; without it, the host is that of
    ``public_url``, and without a port it is the one that the client connected to.
    """
    public = urlsplit(f"//{config.ssh.public_host}")
    host = public.hostname or urlsplit(config.public_url).hostname or "localhost"
    port = public.port or getattr(local_address, "port", _DEFAULT_PORT)
    if ":" in host:
        host = f"[{host}]"
    if port == _DEFAULT_PORT:
        return f"git@{host}:{path}"
    return f"ssh://git@{host}:{port}/{path}"


def greeting(actor: Actor, config: Config, local_address: Any) -> str:
    """Greets by name and says what is possible."""
    if actor.anonymous:
        hello = "Hi! wit does not know your SSH key; you can read public repositories."
        owner = "OWNER"
    else:
        hello = f"Hi {actor.username}! You are signed in to wit."
        owner = actor.username
    address = clone_address(config, local_address, f"{owner}/REPO.git")
    return (
        f"{hello}\nThere is no shell here; git clone, fetch and push work:\n  git clone {address}"
    )
