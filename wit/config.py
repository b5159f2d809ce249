"""Every setting of wit, as one frozen value.

Each field's docstring is its comment in ``wit.toml`` and its default is the program's. Where the
values come from (defaults < wit.toml < environment < flags) is the business of
:mod:`wit.config_sources`. Sizes are bytes, times are seconds.
"""

from __future__ import annotations

from pathlib import Path

import attrs

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB


@attrs.frozen
class Server:
    """HTTP."""

    http: tuple[str, ...] = ("tcp:3000:interface=127.0.0.1",)
    """Endpoints that serve HTTP, as Twisted endpoint strings: tcp, ssl, unix, systemd."""
    public_url: str = ""
    """Address that people reach the server at; empty: http://localhost and the port."""
    grace_seconds: float = 30.0
    """How long running clones and pushes may go on after SIGTERM."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks (CIDR) whose X-Forwarded-For and X-Forwarded-Proto headers are believed."""
    cors_origins: tuple[str, ...] = ()
    """Origins that browsers may call the API from."""
    max_connections: int = 4096
    """Open HTTP connections; the next one is closed at once."""
    header_seconds: float = 15.0
    """Within which a request's headers must have come."""
    idle_seconds: float = 60.0
    """A connection on which nothing moves for so long is closed; kept-alive ones too."""
    min_bytes_per_second: int = 64
    """A body or an answer that moves slower than this, averaged over a minute, is ended."""


@attrs.frozen
class Ssh:
    """SSH."""

    listen: tuple[str, ...] = ("tcp:2222:interface=127.0.0.1",)
    """Endpoints that serve SSH, as Twisted endpoint strings; empty (or "none"): no SSH."""
    host_keys: tuple[str, ...] = ()
    """Host key files; empty: ed25519, ecdsa and rsa keys made in DATA_DIR/ssh."""
    host_key_algorithms: tuple[str, ...] = ("ssh-ed25519", "rsa-sha2-512", "rsa-sha2-256")
    """Host key algorithms that are offered. Add ecdsa-sha2-nistp256 for clients without these."""
    macs: tuple[str, ...] = (
        "hmac-sha2-256-etm@openssh.com",
        "hmac-sha2-512-etm@openssh.com",
        "hmac-sha2-256",
        "hmac-sha2-512",
    )
    """MACs that are offered. The last two are for old clients (libssh2 before 1.11, Twisted);
    without them, ssh-audit has nothing to warn of."""
    public_host: str = ""
    """Host name in clone addresses that are shown; empty: that of public_url."""
    anonymous_read: bool = False
    """Whether unknown keys may read public repositories."""
    banner: str = ""
    """Text shown before sign-in."""
    login_seconds: float = 30.0
    """Time to sign in."""
    login_tries: int = 6
    """Keys that one connection may offer."""
    max_connections: int = 1024
    """Open SSH connections; the next one is closed at once."""
    max_channels: int = 8
    """Sessions open at once on one connection."""
    idle_seconds: float = 300.0
    """A channel on which nothing moves for so long is closed."""


@attrs.frozen
class Database:
    """Where the tables are."""

    url: str = ""
    """postgresql://user:password@host/name; empty: the SQLite file DATA_DIR/wit.db."""
    pool_min: int = 2
    """PostgreSQL connections kept open."""
    pool_max: int = 20
    """PostgreSQL connections at most."""
    connect_seconds: float = 5.0
    """Time to connect."""
    busy_seconds: float = 10.0
    """How long a statement waits for a lock or a free connection."""
    readers: int = 4
    """SQLite reader threads."""


@attrs.frozen
class Repositories:
    """Repositories on disk."""

    dir: str = ""
    """The folder of bare repositories; empty: DATA_DIR/repos."""
    default_branch: str = "main"
    """HEAD of a new repository."""
    push_to_create: bool = True
    """Whether a push to a missing repository in one's own namespace creates it (private)."""
    max_push_bytes: int = 4 * GIB
    """The largest pack that a push may bring."""
    max_file_bytes: int = 1 * GIB
    """The largest single file that a push may bring."""
    max_delta_depth: int = 4095
    """The longest chain of deltas in a pack that is pushed or imported; git itself writes none that
    is longer."""
    hidden_refs: tuple[str, ...] = ("refs/wit", "refs/merge-queue")
    """Ref namespaces that clients neither see nor write."""
    read_only_refs: tuple[str, ...] = ("refs/pull",)
    """Ref namespaces that clients see and do not write."""


@attrs.frozen
class Git:
    """Processes and caches of the git engine."""

    binary: str = "git"
    """The git program, 2.38 or newer."""
    max_processes: int = 16
    """Git processes at once, in all."""
    max_per_repository: int = 8
    """Git processes at once for one repository."""
    max_per_user: int = 8
    """Git processes at once for one user (or one address, when anonymous)."""
    queue_length: int = 256
    """Requests that may wait for a process; the next one is refused."""
    queue_seconds: float = 60.0
    """How long a request waits for a process."""
    pack_cache_bytes: int = 4 * GIB
    """Disk for packs of repeated clones."""
    pack_cache_seconds: float = 900.0
    """How long an unused pack stays cached."""
    fetch_seconds: float = 3600.0
    """Time limit of one fetch."""
    push_seconds: float = 3600.0
    """Time limit of one push."""
    hook_seconds: float = 30.0
    """Within which the push rules must have answered; otherwise the push fails."""
    negotiation_bytes: int = 8 * MIB
    """The largest fetch request (wants and haves)."""
    maintenance_seconds: float = 3600.0
    """How often all repositories are looked at for housekeeping that is due; 0: never."""
    scrub_days: int = 30
    """Every pack is read again after so many days, to notice bytes that rot on disk; 0: never."""
    scrub_bytes_per_second: int = 32 * MIB
    """How fast packs are read for that, by one process for the whole site."""


@attrs.frozen
class Accounts:
    """Users and sign-in."""

    max_tokens: int = 50
    """Personal access tokens of one user."""
    max_ssh_keys: int = 50
    """SSH keys of one user."""
    failures_per_minute: int = 10
    """Wrong passwords from one address (and for one name) before it has to wait."""
    encryption_key: str = ""
    """Seals stored API keys and other secrets: 32 random characters or more, the same for all
    daemons of one database; old keys may follow after a space. Empty: DATA_DIR/encryption.key,
    made on the first start. Back it up, apart from the database: without it they are lost."""
    secret: str = ""
    """Signs session cookies and links in mails: 32 random characters or more, the same for all
    daemons of one site. Empty: DATA_DIR/session.key, made on the first start."""
    sign_up: str = "first-user"
    """Who may make an account: open (everybody), invitation, closed, or first-user: the first one,
    who becomes the administrator, and after that by invitation."""
    attempts_per_minute: int = 10
    """Accounts, and mails with links, that one address may ask for in a minute."""
    trusted_origins: tuple[str, ...] = ()
    """Origins of pages that may sign people in, and that people are sent back to after a mail or
    GitHub; that of public_url is always one."""
    cookie_domain: str = ""
    """Domain of the session cookies, such as example.org; empty: this host only."""
    cookie_same_site: str = "lax"
    """lax, or none: browsers send the session cookies here from pages of other sites, too,
    which trusted_origins must name; public_url must be https then."""
    github_client_id: str = ""
    """Client id of an OAuth app on GitHub; with its secret, people can sign in with GitHub."""
    github_client_secret: str = ""
    """Client secret of that app."""
    github_url: str = "https://github.com"
    """Where people sign in to GitHub (or to a GitHub Enterprise server)."""
    github_api_url: str = "https://api.github.com"
    """GitHub's API."""


@attrs.frozen
class Limits:
    """How often a user, or an address without a sign-in, may call the API; 0: no limit."""

    standard: int = 1200
    """Calls in a minute of a user."""
    standard_anonymous: int = 300
    """The same of an address."""
    relaxed: int = 3000
    """Cheap calls that pages repeat, in a minute."""
    strict: int = 5
    """Costly or delicate calls, in a minute."""
    auth: int = 3
    """Sign-in matters, in 15 minutes."""
    upload: int = 30
    """Uploads, in a minute."""
    webhook: int = 60
    """Calls that send webhooks, in a minute."""
    search: int = 20
    """Searches, in a minute."""
    api: int = 5000
    """Calls of the public REST API (/api/v1) in an hour, of a user."""
    api_anonymous: int = 60
    """The same of an address."""


@attrs.frozen
class Mail:
    """Mail to users."""

    smtp: str = ""
    """smtp://user:password@host:587 (STARTTLS when the server offers it; required with a
    password) or smtps://host:465. Empty: no mail; on localhost, links are shown in the log."""
    sender: str = "wit <noreply@localhost>"
    """From whom mails are."""


@attrs.frozen
class Ai:
    """Keys of AI providers that everybody's repositories may use; none: users bring their own."""

    anthropic_key: str = ""
    """Key of the Anthropic API."""
    openrouter_key: str = ""
    """Key of OpenRouter."""
    openai_key: str = ""
    """Key of the OpenAI API."""

    @property
    def any(self) -> bool:
        return bool(self.anthropic_key or self.openrouter_key or self.openai_key)


@attrs.frozen
class Sandboxes:
    """Isolated places to run code in. A key that begins with a provider's name is for that one."""

    provider: str = ""
    """Where sandboxes are made unless a repository says otherwise: local (this machine), docker,
    e2b, daytona or a plug-in's name; none: nowhere. Empty: the first of local and docker that
    is ready."""
    repositories: bool = True
    """Whether a repository has sandboxes whose owner has not switched them on or off."""
    anyone: bool = False
    """Whether every user, or administrators only, may make sandboxes of no repository."""
    network: str = "none"
    """What sandboxes reach: none, restricted (to allowed_hosts) or full. Sandboxes of the local
    provider cannot have full; containers can, by docker_network."""
    networks: tuple[str, ...] = ("none", "restricted")
    """What repositories and users may choose instead."""
    allowed_hosts: tuple[str, ...] = ()
    """Host names (or *.example.org; without a port: 80 and 443) that sandboxes with a restricted
    network may reach."""
    max_per_user: int = 5
    """Sandboxes of one user, paused ones included."""
    max_total: int = 100
    """Sandboxes in all."""
    memory_bytes: int = 2 * GIB
    """Memory of a sandbox."""
    cpus: float = 1.0
    """Cores of a sandbox; 0.5 is half of one."""
    processes: int = 256
    """Processes and threads of a sandbox."""
    disk_bytes: int = 1 * GIB
    """Files of a sandbox."""
    max_memory_bytes: int = 8 * GIB
    """The most memory that may be asked for."""
    max_cpus: float = 4.0
    """The most cores that may be asked for."""
    max_processes: int = 4096
    """The most processes that may be asked for."""
    max_disk_bytes: int = 10 * GIB
    """The most disk that may be asked for."""
    idle_seconds: int = 1800
    """A sandbox that nobody uses is paused after this or, where that cannot be, destroyed."""
    life_seconds: int = 3600
    """After which a sandbox is paused or destroyed unless something runs in it."""
    max_life_seconds: int = 86400
    """The longest that may be asked for."""
    keep_seconds: int = 7 * 86400
    """How long a paused sandbox is kept."""
    command_seconds: int = 3600
    """The longest that a command may run, unless it is a terminal."""
    audit_days: int = 90
    """How long it is kept who ran what, after the sandbox is over."""
    warm: int = 1
    """Sandboxes that stand ready where making one is slow, for each such provider."""
    warm_hosted: int = 0
    """The same at hosted providers, which cost money all the time."""
    options: tuple[str, ...] = ()
    """Further settings of providers, plug-ins among them, as name.key=value."""
    local_dir: str = ""
    """Folder of the sandboxes on this machine; empty: DATA_DIR/sandboxes/local."""
    local_disk: str = "auto"
    """What they have their files on: image (a file system each, with an exact limit; root only),
    folder (looked after every second), memory (lost when wit stops), or auto."""
    local_first_id: int = 0
    """The first of 65536 user ids that a daemon of root's gives to them; 0: wit chooses."""
    docker_host: str = ""
    """Engine: unix:///PATH or tcp://HOST:PORT; empty: the usual sockets of Docker and Podman."""
    docker_tls_dir: str = ""
    """Folder with ca.pem, cert.pem and key.pem for an engine on TCP."""
    docker_image: str = "wit-sandbox:latest"
    """Image of containers."""
    docker_network: str = ""
    """The engine's network for sandboxes with a full network; empty: they cannot be had."""
    docker_pull: str = "never"
    """missing: images that the engine does not have are fetched; never: they are an error."""
    docker_runtime: str = ""
    """The engine's runtime, such as runsc (gVisor); empty: its default."""
    e2b_api_key: str = ""
    """Key of E2B for everybody's sandboxes; without one repositories bring their own."""
    e2b_domain: str = ""
    """Domain of a self-hosted E2B."""
    e2b_api_url: str = ""
    """Address of its API, if it is not https://api.DOMAIN."""
    e2b_template: str = ""
    """Template; empty: E2B's default."""
    daytona_api_key: str = ""
    """Key of Daytona for everybody's sandboxes; without one repositories bring their own."""
    daytona_api_url: str = ""
    """Address of a self-hosted Daytona's API."""
    daytona_target: str = ""
    """Region."""


@attrs.frozen
class Terminals:
    """Terminals in sandboxes."""

    max_per_sandbox: int = 16
    """Terminals of one sandbox at once."""
    max_per_user: int = 32
    """Terminals of one user at once."""
    max_viewers_per_user: int = 64
    """Viewers (WebSockets) of one user at once, or of one address without a sign-in."""
    detached_seconds: float = 7200.0
    """How long a terminal is kept after the last viewer has left it."""
    idle_seconds: float = 14400.0
    """A terminal with neither input nor output for so long is closed."""
    max_seconds: float = 86400.0
    """The longest life of a terminal."""
    scrollback_bytes: int = 256 * KIB
    """Output that is kept for whoever comes back."""
    clipboard: bool = False
    """Whether programs in a terminal may write to the clipboard of the person in front (OSC 52)."""
    check_seconds: float = 15.0
    """How often it is looked whether viewers still have the right to be there."""


@attrs.frozen
class Uplink:
    """A registry that packages come from which are not published here."""

    name: str
    """What it is called in logs and metrics."""
    url: str
    """Its address, such as https://registry.example.org."""
    names: tuple[str, ...] = ("*",)
    """Packages that may come from it: names, or patterns such as @scope/* and left-*."""
    hosts: tuple[str, ...] = ()
    """Hosts, besides its own, that its tarballs may lie on; nothing else is ever asked."""
    token_variable: str = ""
    """Environment variable with the token that it wants; empty: none."""
    readers: str = ""
    """Who gets its packages: everybody, or users, who are signed in. Empty: users if it wants a
    token, otherwise everybody."""
    timeout_seconds: float = 30.0
    """How long an answer of it, or the next piece of one, may take."""
    max_age_seconds: float = 300.0
    """A packument is used for so long before it is asked again whether it changed."""
    max_packument_bytes: int = 64 * MIB
    """The largest packument that is taken from it."""


@attrs.frozen
class Packages:
    """The npm registry."""

    enabled: bool = True
    """Whether there is one."""
    max_tarball_bytes: int = 512 * MIB
    """The largest tarball, published or from an uplink."""
    max_unpacked_bytes: int = 4 * GIB
    """What a published tarball may unpack to."""
    max_files: int = 100_000
    """Files in a published tarball."""
    max_manifest_bytes: int = 16 * MIB
    """The largest publish request, apart from its tarball."""
    rendered_bytes: int = 128 * MIB
    """Memory for answers about packages that are asked for often."""
    storage: str = "local"
    """Where published tarballs are: local (a folder) or s3."""
    dir: str = ""
    """Their folder; empty: DATA_DIR/packages."""
    s3_endpoint: str = ""
    """Address of an S3-compatible service, such as https://s3.example.org."""
    s3_region: str = "us-east-1"
    """Its region."""
    s3_bucket: str = ""
    """The bucket; it must exist."""
    s3_prefix: str = ""
    """What the names of our objects in it begin with, such as wit/."""
    s3_access_key: str = ""
    """Access key."""
    s3_secret_key: str = ""
    """Secret key; best given as WIT_PACKAGES_S3_SECRET_KEY."""
    cache_bytes: int = 10 * GIB
    """Disk for what came from uplinks, in DATA_DIR/cache/npm."""
    uplinks: tuple[Uplink, ...] = ()
    """Registries that other packages come from. The first one whose names match is asked, and no
    other; a name that is published here comes from none. In the environment: a JSON list."""


@attrs.frozen
class Log:
    """Logging."""

    level: str = "info"
    """debug, info, warn, error or critical."""
    format: str = "text"
    """text or json (one object a line)."""


@attrs.frozen
class Metrics:
    """Prometheus metrics."""

    listen: tuple[str, ...] = ("tcp:9464:interface=127.0.0.1",)
    """Endpoints of GET /metrics, apart from the public port; empty (or "none"): off."""


@attrs.frozen
class Config:
    """The whole configuration."""

    data_dir: Path
    server: Server = Server()
    ssh: Ssh = Ssh()
    database: Database = Database()
    repositories: Repositories = Repositories()
    git: Git = Git()
    accounts: Accounts = Accounts()
    limits: Limits = Limits()
    mail: Mail = Mail()
    ai: Ai = Ai()
    sandboxes: Sandboxes = Sandboxes()
    terminals: Terminals = Terminals()
    packages: Packages = Packages()
    log: Log = Log()
    metrics: Metrics = Metrics()

    @property
    def repos_dir(self) -> Path:
        return Path(self.repositories.dir) if self.repositories.dir else self.data_dir / "repos"

    @property
    def packages_dir(self) -> Path:
        return Path(self.packages.dir) if self.packages.dir else self.data_dir / "packages"

    @property
    def database_url(self) -> str:
        """An SQLAlchemy URL; for SQLite it has the absolute path of the file."""
        return self.database.url or f"sqlite:///{(self.data_dir / 'wit.db').absolute()}"

    @property
    def public_url(self) -> str:
        """Base address without a trailing slash."""
        if self.server.public_url:
            return self.server.public_url.rstrip("/")
        for endpoint in self.server.http:
            scheme, _, rest = endpoint.partition(":")
            if scheme in ("tcp", "ssl"):
                port = rest.split(":")[0].removeprefix("port=")
                return f"{'https' if scheme == 'ssl' else 'http'}://localhost:{port}"
        return "http://localhost:3000"
