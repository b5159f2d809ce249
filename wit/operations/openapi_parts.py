"""What is the same in every OpenAPI document of wit: errors and ways to sign in."""

from __future__ import annotations

from typing import Any

from wit.access.actor import OAUTH_SCOPES
from wit.errors import ANSWERS

ERROR, V1_ERROR, TRPC_ERROR = "Error", "V1Error", "TrpcError"
"""The shapes of an error: REST, /api/v1, tRPC."""

STATUS = {code: answer.http for code, answer in ANSWERS.items()} | {"unprocessable": 422}

MEANING = {
    "invalid": "The input is not what was expected; the message says where.",
    "unauthorized": "Nobody is signed in, or the credential is wrong or has expired.",
    "forbidden": "Not for this caller: a right or the token's scope is missing, or the user is "
    "suspended.",
    "not_found": "There is no such thing, or the caller may not know that there is.",
    "method": "The path has no such method.",
    "timeout": "The request came too slowly.",
    "conflict": "There is such a thing already, or it has changed meanwhile.",
    "precondition_failed": "Something has to be set up first; the message says what.",
    "too_large": "The body is too large.",
    "media_type": "The body is not JSON, or says that it is not.",
    "unprocessable": "The input does not fit its schema, or there is such a thing already.",
    "rate_limited": "Too many requests.",
    "unavailable": "The server is stopping, full, or has lost its database.",
}

_TEXT = {"type": "string"}
_COUNT = {"type": "integer"}

ERROR_SCHEMAS: dict[str, Any] = {
    ERROR: {
        "type": "object",
        "properties": {
            "error": {**_TEXT, "description": "A sentence for people."},
            "code": {**_TEXT, "enum": sorted(ANSWERS)},
            "requestId": {**_TEXT, "description": "By which the server's log knows the request."},
        },
        "required": ["error", "code", "requestId"],
    },
    V1_ERROR: {
        "type": "object",
        "properties": {
            "message": _TEXT,
            "documentation_url": _TEXT,
            "required_scopes": {"type": "array", "items": _TEXT},
            "errors": {
                "type": "array",
                "items": {
                    "type": "object",
                    "properties": {
                        "resource": _TEXT,
                        "field": _TEXT,
                        "code": {**_TEXT, "enum": ["missing_field", "invalid", "already_exists"]},
                    },
                    "required": ["resource", "field", "code"],
                },
            },
        },
        "required": ["message"],
    },
    TRPC_ERROR: {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "json": {
                        "type": "object",
                        "properties": {
                            "message": _TEXT,
                            "code": {**_COUNT, "description": "As JSON-RPC 2.0."},
                            "data": {
                                "type": "object",
                                "properties": {
                                    "code": {
                                        **_TEXT,
                                        "enum": sorted(answer.trpc for answer in ANSWERS.values()),
                                    },
                                    "httpStatus": _COUNT,
                                    "path": _TEXT,
                                },
                                "required": ["code", "httpStatus"],
                            },
                        },
                        "required": ["message", "code", "data"],
                    }
                },
                "required": ["json"],
            }
        },
        "required": ["error"],
    },
    "SuperjsonMeta": {
        "type": "object",
        "description": "What JSON cannot say of the value beside it: which texts are dates.",
    },
}

_HEADERS: dict[str, Any] = {
    "rate_limited": {"Retry-After": {"description": "Seconds.", "schema": _COUNT}},
    "unavailable": {"Retry-After": {"description": "Seconds.", "schema": _COUNT}},
}

RESPONSES: dict[str, Any] = {
    f"{shape}.{code}": {
        "description": meaning,
        **({"headers": _HEADERS[code]} if code in _HEADERS else {}),
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape}"}}},
    }
    for shape in (ERROR, V1_ERROR, TRPC_ERROR)
    for code, meaning in MEANING.items()
}

SECURITY: dict[str, Any] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A personal access token (with the scope that the operation names), or the "
        "token of a session.",
    },
    "oauth": {
        "type": "oauth2",
        "description": "An OAuth app's token, as Bearer.",
        "flows": {
            "authorizationCode": {
                "authorizationUrl": "/oauth/authorize",
                "tokenUrl": "/oauth/token",
                "refreshUrl": "/oauth/token",
                "scopes": {scope: f"{scope.replace(':', ', to ')}" for scope in OAUTH_SCOPES},
            }
        },
    },
    "cookie": {
        "type": "apiKey",
        "in": "cookie",
        "name": "better-auth.session_token",
        "description": "The session of a browser; its name begins with __Secure- over https.",
    },
}
