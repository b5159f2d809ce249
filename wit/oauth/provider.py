"""The provider's parts, put together."""

from __future__ import annotations

from wit.accounts.secrets import Secrets
from wit.db.port import Database
from wit.oauth.apps import Apps
from wit.oauth.authorizations import Authorizations
from wit.oauth.codes import Codes
from wit.oauth.devices import Devices
from wit.oauth.openid import OpenId
from wit.oauth.signing_keys import SigningKeys
from wit.oauth.tokens import OAuthTokens
from wit.runtime import Runtime

SWEEP_SECONDS = 3600.0


class OAuthProvider:
    def __init__(
        self,
        db: Database,
        runtime: Runtime,
        tokens: OAuthTokens,
        secrets: Secrets,
        issuer: str,
    ) -> None:
        self.issuer = issuer
        """The site's public address: ``iss`` of RFC 8414, RFC 9207 and OpenID Connect."""
        self.tokens = tokens
        self.apps = Apps(db, runtime)
        self.authorizations = Authorizations(db, runtime)
        self.codes = Codes(db, runtime, self.authorizations, tokens)
        self.devices = Devices(db, runtime, self.authorizations, tokens)
        self.keys = SigningKeys(db, runtime, secrets)
        self.openid = OpenId(db, runtime, self.keys, issuer)

    async def sweep(self) -> None:
        """Forget expired codes and tokens, and see to the keys; to be called every hour."""
        await self.codes.sweep()
        await self.devices.sweep()
        await self.tokens.sweep()
        await self.keys.rotate()
