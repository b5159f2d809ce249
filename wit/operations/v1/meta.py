"""What the public REST API says about itself."""

from __future__ import annotations

from typing_extensions import TypedDict

from wit.access.rate_limits import caller_key
from wit.operations.access import Public
from wit.operations.call import Call
from wit.operations.registry import Router
from wit.operations.v1_shapes import V1, route

ENDPOINTS = {
    "current_user": f"{V1}/user",
    "user": f"{V1}/users/{{username}}",
    "user_repositories": f"{V1}/users/{{username}}/repos{{?sort,direction,page,per_page}}",
    "repository": f"{V1}/repos/{{owner}}/{{repo}}",
    "issues": f"{V1}/repos/{{owner}}/{{repo}}/issues{{/number}}",
    "pulls": f"{V1}/repos/{{owner}}/{{repo}}/pulls{{/number}}",
    "organization": f"{V1}/orgs/{{org}}",
    "organization_repositories": f"{V1}/orgs/{{org}}/repos{{?sort,page,per_page}}",
    "starred": f"{V1}/repos/starred/{{owner}}/{{repo}}",
    "repository_search": f"{V1}/search/repositories{{?q,page,per_page}}",
    "issue_search": f"{V1}/search/issues{{?q,page,per_page}}",
    "user_search": f"{V1}/search/users{{?q,page,per_page}}",
    "rate_limit": f"{V1}/rate_limit",
}

router = Router("v1.meta", trpc=False)


class Root(TypedDict):
    name: str
    version: str
    documentation_url: str
    endpoints: dict[str, str]


class Rate(TypedDict):
    limit: int
    remaining: int
    reset: int
    used: int


class Resources(TypedDict):
    core: Rate
    search: Rate


class RateLimit(TypedDict):
    resources: Resources
    rate: Rate


@router.query("root", access=Public(), limit="api", rest=route("GET", ""))
async def root(call: Call) -> Root:
    """Where things are."""
    return {
        "name": "wit API",
        "version": "v1",
        "documentation_url": f"{call.core.config.public_url}/api/docs",
        "endpoints": ENDPOINTS,
    }


@router.query("rateLimit", access=Public(), limit="api", rest=route("GET", "/rate_limit"))
async def rate_limit(call: Call) -> RateLimit:
    """What is left of the caller's calls in this hour; searches count like all others."""
    verdict = call.core.limits.peek("api", caller_key(call.actor, call.client.address))
    rate: Rate = {
        "limit": verdict.limit,
        "remaining": verdict.remaining,
        "reset": verdict.reset,
        "used": verdict.limit - verdict.remaining,
    }
    return {"resources": {"core": rate, "search": rate}, "rate": rate}
