"""AWS Signature Version 4 of requests to S3, in headers, with the payload signed.

Specification: Amazon S3 API Reference, "Authenticating Requests: Using the Authorization Header".
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import quote

import attrs

EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
"""What ``x-amz-content-sha256`` says of a request without a body."""

_ALGORITHM = "AWS4-HMAC-SHA256"
_UNRESERVED = "-_.~"


@attrs.frozen
class S3Request:
    """What of a request is signed."""

    method: str
    host: str
    """As the Host header will say."""
    path: str
    """Encoded, as it goes over the wire."""
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    payload_sha256: str = EMPTY_SHA256
    """Of the body, in hex."""


@attrs.frozen
class Signer:
    """Signs for one key and region."""

    region: str
    key_id: str
    secret: str = attrs.field(repr=False)

    def headers(self, request: S3Request, now: datetime) -> dict[str, str]:
        """All headers to send with the request, its own among them; names in lower case.

        ``now`` is aware and in UTC; services refuse what is off by more than 15 minutes.
        """
        moment = now.strftime("%Y%m%dT%H%M%SZ")
        signed = {
            **{name.lower(): " ".join(value.split()) for name, value in request.headers.items()},
            "host": request.host,
            "x-amz-content-sha256": request.payload_sha256,
            "x-amz-date": moment,
        }
        names = ";".join(sorted(signed))
        canonical = "\n".join(
            (
                request.method,
                request.path,
                encoded_query(request.query),
                *(f"{name}:{signed[name]}" for name in sorted(signed)),
                "",
                names,
                request.payload_sha256,
            )
        )
        scope = f"{moment[:8]}/{self.region}/s3/aws4_request"
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = hmac.new(
            self._key(moment[:8]), f"{_ALGORITHM}\n{moment}\n{scope}\n{digest}".encode(), "sha256"
        ).hexdigest()
        signed["authorization"] = (
            f"{_ALGORITHM} Credential={self.key_id}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}"
        )
        return signed

    def _key(self, day: str) -> bytes:
        key = f"AWS4{self.secret}".encode()
        for part in (day, self.region, "s3", "aws4_request"):
            key = hmac.digest(key, part.encode(), "sha256")
        return key


def encoded_path(*parts: str) -> str:
    """The parts as a path, encoded as S3 wants it signed: once, and only what is reserved."""
    return "/" + "/".join(quote(part, safe=_UNRESERVED + "/") for part in parts if part)


def encoded_query(query: Mapping[str, str]) -> str:
    """The query in its canonical form, which is also the form to send."""
    pairs = sorted(
        (quote(k, safe=_UNRESERVED), quote(v, safe=_UNRESERVED)) for k, v in query.items()
    )
    return "&".join(f"{name}={value}" for name, value in pairs)
