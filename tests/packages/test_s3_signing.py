"""Our signatures beside those of Amazon's own library."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from unittest import mock

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from wit.packages.s3_signing import EMPTY_SHA256, S3Request, Signer, encoded_path, encoded_query

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
BODY = b"some bytes"


@pytest.mark.parametrize("method", ["GET", "PUT", "HEAD", "DELETE"])
@pytest.mark.parametrize("host", ["s3.example.org", "127.0.0.1:9000"])
@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        (("bucket", "ab/abcdef"), {}, {}),
        (("bucket", "a b/c+d=é~*'()"), {}, {"Range": "bytes=0-9"}),
        (("base", "bucket", ""), {"list-type": "2", "prefix": "x y/+&=é", "a": ""}, {}),
        (("bucket", "k"), {"continuation-token": "1/AbC+=="}, {"X-Amz-Meta-Some": " a  b "}),
    ],
)
def test_the_same_signature(
    method: str, host: str, path: tuple[str, ...], query: dict[str, str], headers: dict[str, str]
) -> None:
    body = BODY if method == "PUT" else b""
    request = S3Request(
        method, host, encoded_path(*path), query, headers, hashlib.sha256(body).hexdigest()
    )
    ours = Signer("eu-central-1", KEY, SECRET).headers(request, NOW)

    url = f"http://{host}{encoded_path(*path)}" + (f"?{encoded_query(query)}" if query else "")
    theirs = AWSRequest(method, url, headers=headers, data=body)
    with mock.patch("botocore.auth.get_current_datetime", return_value=NOW):
        S3SigV4Auth(Credentials(KEY, SECRET), "s3", "eu-central-1").add_auth(theirs)
    assert ours["authorization"] == theirs.headers["Authorization"]
    assert ours["x-amz-date"] == theirs.headers["X-Amz-Date"]


def test_the_example_of_the_specification() -> None:
    """ "Example: GET Object" of the page that wit/packages/s3_signing.py names."""
    request = S3Request(
        "GET", "examplebucket.s3.amazonaws.com", "/test.txt", {}, {"Range": "bytes=0-9"}
    )
    now = datetime(2013, 5, 24, tzinfo=UTC)
    signed = Signer("us-east-1", KEY, SECRET).headers(request, now)
    assert signed["x-amz-content-sha256"] == EMPTY_SHA256
    assert signed["authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, Signature="
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_the_secret_is_not_shown() -> None:
    assert SECRET not in repr(Signer("eu-central-1", KEY, SECRET))
