"""Proof that a form was shown by us, to this person, for this very decision.

A ticket is an HMAC over the session, the decision that the page described, and an end; so another
site can neither make one nor use one that was given out for something else.
"""

from __future__ import annotations

import hmac
import json
from datetime import timedelta

from wit.accounts.signing import Signer
from wit.errors import Forbidden
from wit.runtime import Runtime

LIFE = timedelta(hours=1)
FIELD = "csrf_token"


class Tickets:
    def __init__(self, signer: Signer, runtime: Runtime) -> None:
        self._key = signer.key("oauth consent")
        self._runtime = runtime

    def issue(self, session_id: str, *decision: str | None) -> str:
        end = int((self._runtime.now() + LIFE).timestamp())
        return f"{end}.{self._mac(end, session_id, decision)}"

    def check(self, ticket: str, session_id: str, *decision: str | None) -> None:
        """Raises Forbidden."""
        end_text, _, mac = ticket.partition(".")
        end = (
            int(end_text) if end_text.isascii() and end_text.isdigit() and len(end_text) < 12 else 0
        )
        right = self._mac(end, session_id, decision)
        if not hmac.compare_digest(right.encode(), mac.encode()) or (
            self._runtime.now().timestamp() > end
        ):
            raise Forbidden(
                "this form is not valid (any more): go back, reload the page, try again"
            )

    def _mac(self, end: int, session_id: str, decision: tuple[str | None, ...]) -> str:
        text = json.dumps([end, session_id, *decision])
        return hmac.digest(self._key, text.encode(), "sha256").hex()
