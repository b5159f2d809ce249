"""The two shapes of small answers: JSON, and one line of text."""

from __future__ import annotations

import json
from typing import Any

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def error_body(message: str, code: str, request_id: str) -> bytes:
    return json_bytes({"error": message, "code": code, "requestId": request_id})
