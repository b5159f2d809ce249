"""Sandboxes of a repository (contract, trpc-notes.md, "sandbox (9)"; rest.md, "/api/sandbox").

Of the contract's holes these are closed: who runs something needs write access, who asks for the
state of a private repository's sandboxes must see the repository, a pool's numbers are the
caller's own.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from wit.access.actor import Level
from wit.errors import Invalid
from wit.operations.access import Repo
from wit.operations.call import Call
from wit.operations.inputs import Limit, Maybe, Offset, OfRepo, OfRepoId
from wit.operations.registry import Input, Rest, Router
from wit.operations.sandbox_runs import collect
from wit.operations.sandbox_shapes import (
    SIGNED_IN,
    USING,
    NetworkName,
    Path,
    ProviderName,
    SessionShape,
    Word,
    session_shape,
)
from wit.operations.shapes import Success
from wit.sandboxes.manager import SCOPE
from wit.sandboxes.provider import WORKSPACE, Command
from wit.sandboxes.settings import DEFAULT_PROVIDER, Settings

OWNER = Repo(Level.OWNER, by="repoId")
READER = Repo(Level.READ, by="repoId", signed_in=True)

PLACE = "/api/sandbox"
KEPT_OUTPUT = 1024 * 1024
"""Bytes of each output of a command that an answer has."""

VERCEL = "vercel"
"""A provider that can be chosen, as the contract has it, and never is ready."""

ENDS = {
    "timeout": "the command took too long",
    "memory": "the command was killed for using too much memory",
    "disk": "the command was killed for using too much disk",
    "lost": "the sandbox was lost while the command ran",
}

router = Router("sandbox")

Text = Annotated[str, Field(max_length=255)]
KeyProvider = Literal["e2b", "daytona", "vercel"]


class Changes(Input):
    enabled: Maybe[bool] = None
    provider: Maybe[ProviderName] = None
    networkMode: Maybe[NetworkName] = None
    defaultLanguage: Maybe[Literal["typescript", "javascript", "python"]] = None
    memoryMB: Maybe[Annotated[int, Field(ge=512, le=8192)]] = None
    cpuCores: Maybe[Annotated[int, Field(ge=1, le=4)]] = None
    timeoutMinutes: Maybe[Annotated[int, Field(ge=5, le=120)]] = None
    e2bTemplateId: Maybe[Text] = None
    daytonaSnapshot: Maybe[Text] = None
    daytonaAutoStop: Maybe[Annotated[int, Field(ge=0, le=60)]] = None
    dockerImage: Maybe[Text] = None
    vercelProjectId: Maybe[Text] = None
    vercelTeamId: Maybe[Text] = None
    vercelRuntime: Maybe[Literal["node22", "python3.13"]] = None


COLUMNS = {
    "enabled": "enabled",
    "provider": "provider",
    "networkMode": "network_mode",
    "defaultLanguage": "default_language",
    "memoryMB": "memory_mb",
    "cpuCores": "cpu_cores",
    "timeoutMinutes": "timeout_minutes",
    "e2bTemplateId": "e2b_template_id",
    "daytonaSnapshot": "daytona_snapshot",
    "daytonaAutoStop": "daytona_auto_stop",
    "dockerImage": "docker_image",
    "vercelProjectId": "vercel_project_id",
    "vercelTeamId": "vercel_team_id",
    "vercelRuntime": "vercel_runtime",
}
"""What each change is called in :class:`wit.sandboxes.settings.Settings`."""

CLEARED = frozenset({"e2bTemplateId", "daytonaSnapshot", "vercelProjectId", "vercelTeamId"})
"""An empty text takes these back."""


class Update(OfRepoId):
    settings: Changes


class SetEnabled(OfRepoId):
    enabled: bool


class OfProvider(OfRepoId):
    provider: KeyProvider


class SetKey(OfProvider):
    apiKey: Annotated[str, Field(min_length=1, max_length=500)]


class OfSessions(OfRepoId):
    activeOnly: bool = True
    limit: Limit = 50
    offset: Offset = 0


class Exec(OfRepoId):
    command: Annotated[Word, Field(min_length=1)]
    args: Maybe[Annotated[list[Word], Field(max_length=1000)]] = None
    timeout: Annotated[float, Field(ge=1000, le=120_000)] = 60_000
    """Milliseconds."""
    cwd: Path = WORKSPACE


class SettingsShape(TypedDict):
    """The owner's answer has everything, but for what is not set."""

    isOwner: bool
    repoId: str
    enabled: bool
    provider: str
    hasApiKey: NotRequired[bool]
    apiKeyHint: NotRequired[str]
    networkMode: NotRequired[NetworkName]
    defaultLanguage: NotRequired[str]
    memoryMB: NotRequired[int]
    cpuCores: NotRequired[int]
    timeoutMinutes: NotRequired[int]
    e2bTemplateId: NotRequired[str]
    daytonaSnapshot: NotRequired[str]
    daytonaAutoStop: NotRequired[int]
    dockerImage: NotRequired[str]
    vercelProjectId: NotRequired[str]
    vercelTeamId: NotRequired[str]
    vercelRuntime: NotRequired[str]
    dockerAvailable: NotRequired[bool]


class NewSettings(TypedDict):
    enabled: bool
    provider: str
    hasApiKey: bool
    networkMode: NetworkName
    defaultLanguage: str
    memoryMB: int
    cpuCores: int
    timeoutMinutes: int
    e2bTemplateId: NotRequired[str]
    daytonaSnapshot: NotRequired[str]
    daytonaAutoStop: int
    dockerImage: str


class Updated(TypedDict):
    success: bool
    settings: NewSettings


class Enabled(TypedDict):
    success: bool
    enabled: bool


class KeySet(TypedDict):
    success: bool
    keyHint: str


class StatusShape(TypedDict):
    """``reason``: when not ready, why."""

    configured: bool
    enabled: bool
    provider: str | None
    hasApiKey: bool
    ready: bool
    reason: str
    dockerAvailable: bool
    vercelOidcAvailable: bool


class Executed(TypedDict):
    """``success``: the command ended by itself, with 0; ``error``: what ended it otherwise.
    ``pooled``: the caller had the sandbox already."""

    success: bool
    exitCode: int
    stdout: str
    stderr: str
    error: NotRequired[str]
    pooled: bool


def docker_available(call: Call) -> bool:
    return any(one.name == "docker" and one.ready for one in call.core.sandboxes.providers())


async def status_shape(call: Call) -> StatusShape:
    """Of ``call.repo``."""
    status = await call.core.sandboxes.status(call.repo)
    return {
        "configured": status.configured,
        "enabled": status.enabled,
        "provider": status.provider,
        "hasApiKey": status.has_api_key,
        "ready": status.ready,
        "reason": status.reason,
        "dockerAvailable": docker_available(call),
        "vercelOidcAvailable": False,
    }


def _provider(call: Call, settings: Settings) -> str:
    return settings.provider or call.core.config.sandboxes.provider or DEFAULT_PROVIDER


async def _has_key(call: Call, provider: str) -> bool:
    own = await call.core.sandboxes.keys.hint(call.repo["id"], provider)
    return own is not None or provider in call.core.sandboxes.server_keys()


def _check_provider(call: Call, name: str) -> None:
    """Raises Invalid."""
    known = [one.name for one in call.core.sandboxes.providers()] + [VERCEL]
    if name not in known:
        raise Invalid(f"provider is one of {', '.join(known)}")


@router.query("getSettings", access=Repo(Level.READ, signed_in=True))
async def get_settings(call: Call, values: OfRepo) -> SettingsShape:
    """How the repository wants its sandboxes; whether and where, for all who are not its owner."""
    sandboxes, repo_id = call.core.sandboxes, call.repo["id"]
    settings = await sandboxes.settings.get(repo_id)
    provider = _provider(call, settings)
    shown: SettingsShape = {
        "isOwner": call.repo["level"] is Level.OWNER,
        "repoId": repo_id,
        "enabled": settings.enabled,
        "provider": provider,
    }
    if not shown["isOwner"]:
        return shown
    shown |= {
        "hasApiKey": await _has_key(call, provider),
        "networkMode": settings.network_mode.value,
        "defaultLanguage": settings.default_language,
        "memoryMB": settings.memory_mb,
        "cpuCores": settings.cpu_cores,
        "timeoutMinutes": settings.timeout_minutes,
        "daytonaAutoStop": settings.daytona_auto_stop,
        "dockerImage": settings.docker_image,
        "vercelRuntime": settings.vercel_runtime,
        "dockerAvailable": docker_available(call),
    }
    if hint := await sandboxes.keys.hint(repo_id, provider):
        shown["apiKeyHint"] = hint
    if settings.e2b_template_id is not None:
        shown["e2bTemplateId"] = settings.e2b_template_id
    if settings.daytona_snapshot is not None:
        shown["daytonaSnapshot"] = settings.daytona_snapshot
    if settings.vercel_project_id is not None:
        shown["vercelProjectId"] = settings.vercel_project_id
    if settings.vercel_team_id is not None:
        shown["vercelTeamId"] = settings.vercel_team_id
    return shown


@router.mutation("updateSettings", access=OWNER, errors=("invalid",))
async def update_settings(call: Call, values: Update) -> Updated:
    """Change what is given; an empty template, snapshot, project or team is taken back."""
    changes = {
        COLUMNS[name]: None if name in CLEARED and value == "" else value
        for name in values.settings.model_fields_set & COLUMNS.keys()
        if (value := getattr(values.settings, name)) is not None
    }
    if values.settings.provider is not None:
        _check_provider(call, values.settings.provider)
    sandboxes = call.core.sandboxes
    settings = await sandboxes.settings.update(
        call.repo["id"], call.user_id, changes, server_keys=sandboxes.server_keys()
    )
    provider = _provider(call, settings)
    shown: NewSettings = {
        "enabled": settings.enabled,
        "provider": provider,
        "hasApiKey": await _has_key(call, provider),
        "networkMode": settings.network_mode.value,
        "defaultLanguage": settings.default_language,
        "memoryMB": settings.memory_mb,
        "cpuCores": settings.cpu_cores,
        "timeoutMinutes": settings.timeout_minutes,
        "daytonaAutoStop": settings.daytona_auto_stop,
        "dockerImage": settings.docker_image,
    }
    if settings.e2b_template_id is not None:
        shown["e2bTemplateId"] = settings.e2b_template_id
    if settings.daytona_snapshot is not None:
        shown["daytonaSnapshot"] = settings.daytona_snapshot
    return {"success": True, "settings": shown}


@router.mutation("setEnabled", access=OWNER, errors=("invalid",))
async def set_enabled(call: Call, values: SetEnabled) -> Enabled:
    """Switch the repository's sandboxes on or off. A hosted provider needs its key first."""
    sandboxes = call.core.sandboxes
    settings = await sandboxes.settings.update(
        call.repo["id"],
        call.user_id,
        {"enabled": values.enabled},
        server_keys=sandboxes.server_keys(),
    )
    return {"success": True, "enabled": settings.enabled}


@router.mutation("setApiKey", access=OWNER, errors=("invalid",))
async def set_api_key(call: Call, values: SetKey) -> KeySet:
    """Keep a key of a hosted provider, which becomes the repository's provider."""
    sandboxes, repo_id = call.core.sandboxes, call.repo["id"]
    hint = await sandboxes.keys.set(repo_id, values.provider, values.apiKey, call.user_id)
    await sandboxes.settings.update(
        repo_id,
        call.user_id,
        {"provider": values.provider},
        server_keys=sandboxes.server_keys(),
    )
    return {"success": True, "keyHint": hint}


@router.mutation("deleteApiKey", access=OWNER, errors=("not_found",))
async def delete_api_key(call: Call, values: OfProvider) -> Success:
    """Forget a key."""
    await call.core.sandboxes.keys.delete(call.repo["id"], values.provider)
    return {"success": True}


@router.query("getStatus", access=READER)
async def get_status(call: Call, values: OfRepoId) -> StatusShape:
    """Whether a sandbox of the repository can be made now, and if not, why."""
    return await status_shape(call)


@router.query("listSessions", access=Repo(Level.READ, by="repoId", signed_in=True, scope=SCOPE))
async def list_sessions(call: Call, values: OfSessions) -> list[SessionShape]:
    """Terminal sessions, newest first: the caller's; for administrators everybody's."""
    rows = await call.core.sandboxes.sessions(
        call.actor,
        call.repo,
        active_only=values.activeOnly,
        limit=values.limit,
        offset=values.offset,
    )
    return [session_shape(row) for row in rows]


@router.query("myActiveSessions", access=SIGNED_IN)
async def my_active_sessions(call: Call) -> list[SessionShape]:
    """The caller's terminal sessions that run, newest first."""
    rows = await call.core.sandboxes.own_sessions(call.actor)
    return [session_shape(row) for row in rows]


@router.mutation(
    "exec",
    access=Repo(Level.WRITE, by="repoId", scope=SCOPE),
    errors=USING,
    rest=Rest("POST", f"{PLACE}/{{repoId}}/exec"),
)
async def exec_(call: Call, values: Exec) -> Executed:
    """Run a program in the caller's sandbox of the repository, which is made if there is none.

    ``command`` is a program and not a line for a shell; it gets each of ``args`` as it is.
    """
    sandboxes = call.core.sandboxes
    status = await sandboxes.status(call.repo)
    if not status.ready:
        raise Invalid(f"the sandbox is not ready: {status.reason}")
    now = call.core.runtime.now()
    sandbox = await sandboxes.for_repository(call.actor, call.repo)
    argv = (values.command, *(values.args or ()))
    command = Command(argv=argv, cwd=values.cwd, seconds=values.timeout / 1000)
    execution = await sandboxes.execute(call.actor, sandbox.id, command)
    done = await collect(execution, None, KEPT_OUTPUT)
    how = done.exit
    answer: Executed = {
        "success": how.code == 0 and how.reason is None,
        "exitCode": how.code,
        "stdout": done.stdout,
        "stderr": done.stderr,
        "pooled": sandbox.created_at < now,
    }
    if how.reason is not None:
        answer["error"] = ENDS.get(how.reason, how.reason)
    return answer
