"""From a call to what the audit log notes of its caller."""

from __future__ import annotations

from wit.accounts.audit import Operator
from wit.operations.call import Call


def operator(call: Call) -> Operator:
    return Operator(call.user_id, call.client.address, call.client.user_agent)
