"""A server that speaks S3, checks signatures, and keeps nothing: moto's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

from tests.support.daemon import free_port, wait_until

REGION = "eu-central-1"
OPEN_REQUESTS = 4
"""How many requests need no signature: those that make the user, its key, its rights, the bucket."""


class S3Server:
    """One bucket, and the one key with which it may be used."""

    def __init__(self, folder: Path, bucket: str = "tarballs") -> None:
        self.bucket = bucket
        self.region = REGION
        self.port = free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        program = Path(sys.executable).parent / "moto_server"
        with (folder / "moto.log").open("wb") as log:
            self._process = subprocess.Popen(
                [str(program), "-H", "127.0.0.1", "-p", str(self.port)],
                env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(OPEN_REQUESTS)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._listens, 60, "the S3 server")
            self.access_key, self.secret_key = self._make_key()
            place = {"LocationConstraint": REGION}
            self.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
        except BaseException:
            self.stop()
            raise

    def client(self, service: str) -> Any:
        """Amazon's own client."""
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=getattr(self, "access_key", "nobody"),
            aws_secret_access_key=getattr(self, "secret_key", "nobody"),
        )

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(20)

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def _make_key(self) -> tuple[str, str]:
        iam = self.client("iam")
        iam.create_user(UserName="wit")
        key = iam.create_access_key(UserName="wit")["AccessKey"]
        policy = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}],
        }
        iam.put_user_policy(UserName="wit", PolicyName="storage", PolicyDocument=json.dumps(policy))
        return key["AccessKeyId"], key["SecretAccessKey"]
