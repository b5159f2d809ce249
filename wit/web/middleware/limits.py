"""Rate limits on HTTP: who is counted, the headers of the answer, and refusing.

The headers are those that clients know (``X-RateLimit-*``) and those of
draft-ietf-httpapi-ratelimit-headers-10 (``RateLimit``, ``RateLimit-Policy``).
"""

from __future__ import annotations

from typing import Protocol

from wit.access.actor import Actor
from wit.access.rate_limits import RateLimits, Verdict, caller_key
from wit.errors import RateLimited
from wit.web.streaming import Request


class Limiting(Protocol):
    """wit.core.Core, as far as it is used here."""

    limits: RateLimits


async def limited(request: Request, core: Limiting, preset: str, actor: Actor) -> None:
    """Count one call, and say in the answer's headers what is left. Raises RateLimited."""
    verdict = core.limits.check(preset, caller_key(actor, request.address))
    announce(request, preset, verdict)
    if not verdict.allowed:
        wait = verdict.retry_after
        raise RateLimited(f"too many requests; try again in {wait} s", wait)


def announce(request: Request, preset: str, verdict: Verdict) -> None:
    """Set the headers. Of the calls of a batch the last one is what they tell of."""
    if not verdict.limit:
        return
    left, until = verdict.remaining, verdict.reset_after
    request.limit_headers = (
        f"X-RateLimit-Limit: {verdict.limit}\r\n"
        f"X-RateLimit-Remaining: {left}\r\n"
        f"X-RateLimit-Reset: {verdict.reset}\r\n"
        f'RateLimit-Policy: "{preset}";q={verdict.limit};w={verdict.window}\r\n'
        f'RateLimit: "{preset}";r={left};t={until}\r\n'
    ).encode()
