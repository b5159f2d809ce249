"""All that signing in, up and out is made of, put together once: ``core.identity``."""

from __future__ import annotations

from wit.accounts.credentials import Credentials
from wit.accounts.email_change import EmailChange
from wit.accounts.email_links import EmailLinks
from wit.accounts.github import PROVIDER, GitHub
from wit.accounts.linked import LinkedAccounts
from wit.accounts.one_time import OneTimeSecrets
from wit.accounts.password_reset import PasswordReset
from wit.accounts.passwords import Passwords
from wit.accounts.profiles import Profiles
from wit.accounts.secrets import Secrets
from wit.accounts.sessions import Sessions
from wit.accounts.sign_in import SignIn
from wit.accounts.sign_up import SignUp
from wit.accounts.signing import Signer
from wit.accounts.social import Social
from wit.accounts.throttle import Throttle
from wit.accounts.trusted_devices import TrustedDevices
from wit.accounts.two_factor import TwoFactor
from wit.accounts.users import Users
from wit.accounts.verification import EmailVerification
from wit.config import Config
from wit.db.port import Database
from wit.jobs.queue import JobQueue
from wit.mail.outbox import Outbox
from wit.runtime import Runtime

PREFIX = "/api/auth"
"""Where the auth door is (contract, auth.md)."""

MAILS = 3
MAIL_SECONDS = 900.0
"""So many mails of a kind one address gets in that time, whoever asks for them."""


class Identity:
    def __init__(
        self,
        config: Config,
        db: Database,
        runtime: Runtime,
        *,
        users: Users,
        passwords: Passwords,
        credentials: Credentials,
        secrets: Secrets,
        signer: Signer,
        jobs: JobQueue,
    ) -> None:
        self.runtime = runtime
        base = config.public_url + PREFIX
        attempts = Throttle(
            runtime, config.accounts.attempts_per_minute, what="requests from your address"
        )
        mails = Throttle(runtime, MAILS, MAIL_SECONDS, "mails to this address")
        self.outbox = outbox = Outbox(config, jobs, runtime)
        self.links = links = EmailLinks(signer, runtime)
        self.profiles = profiles = Profiles(db, runtime)
        self.sessions = sessions = Sessions(db, runtime)
        one_time = OneTimeSecrets(db, runtime)
        self.two_factor = TwoFactor(db, runtime, secrets, TrustedDevices(one_time))
        self.linked = LinkedAccounts(db, runtime, secrets)
        self.sign_in = SignIn(
            db,
            runtime,
            credentials=credentials,
            profiles=profiles,
            sessions=sessions,
            two_factor=self.two_factor,
            one_time=one_time,
        )
        self.sign_up = SignUp(
            config.accounts.sign_up,
            db,
            runtime,
            users=users,
            profiles=profiles,
            passwords=passwords,
            outbox=outbox,
            site=config.public_url,
            attempts=attempts,
        )
        self.password_reset = PasswordReset(
            db=db,
            passwords=passwords,
            users=users,
            profiles=profiles,
            credentials=credentials,
            sessions=sessions,
            trusted=self.two_factor.trusted,
            one_time=one_time,
            outbox=outbox,
            base=base,
            attempts=attempts,
            mails=mails,
        )
        self.verification = EmailVerification(
            db,
            runtime,
            profiles=profiles,
            links=links,
            outbox=outbox,
            base=base,
            attempts=attempts,
            mails=mails,
        )
        self.email_change = EmailChange(
            db,
            runtime,
            profiles=profiles,
            one_time=one_time,
            links=links,
            outbox=outbox,
            base=base,
            attempts=attempts,
            mails=mails,
        )
        self.social = Social(
            runtime,
            github=GitHub(config.accounts, f"{base}/callback/{PROVIDER}", runtime),
            linked=self.linked,
            one_time=one_time,
            profiles=profiles,
            sessions=sessions,
            sign_up=self.sign_up,
        )
