"""What wit counts, as prometheus-client objects in a registry of their own."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_TICKS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
_SANDBOX = (0.01, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0)
_DATABASE = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05, 0.25, 1.0, 5.0)


class Metrics:
    """One value per process, made in ``core`` and passed in; tests make their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.tick_seconds = Histogram(
            "wit_reactor_tick_seconds",
            "Time that one turn of the reactor spent in our code",
            buckets=_TICKS,
            registry=registry,
        )
        self.git_running = Gauge("wit_git_running", "Git processes running", registry=registry)
        self.git_queued = Gauge(
            "wit_git_queued", "Requests waiting for a git process", registry=registry
        )
        self.pack_cache_hits = Counter(
            "wit_pack_cache_hits", "Fetches answered from the pack cache", registry=registry
        )
        self.pack_cache_misses = Counter(
            "wit_pack_cache_misses", "Cacheable fetches that ran git", registry=registry
        )
        self.pack_cache_bytes = Gauge(
            "wit_pack_cache_bytes", "Bytes on disk in the pack cache", registry=registry
        )
        self.bytes_sent = Counter(
            "wit_sent_bytes", "Git bytes sent to clients", ["door"], registry=registry
        )
        self.bytes_received = Counter(
            "wit_received_bytes", "Git bytes received from clients", ["door"], registry=registry
        )
        self.requests = Counter(
            "wit_requests", "Requests by door and outcome", ["door", "outcome"], registry=registry
        )
        self.pushes = Counter("wit_pushes", "Pushes by outcome", ["outcome"], registry=registry)
        self.database_seconds = Histogram(
            "wit_database_seconds",
            "Time of one statement, waiting included",
            buckets=_DATABASE,
            registry=registry,
        )
        self.event_lag = Gauge(
            "wit_event_lag", "Events in the journal that are not delivered yet", registry=registry
        )
        self.packs_verified = Counter(
            "wit_packs_verified",
            "Packs read again to find out whether they changed on disk",
            ["outcome"],
            registry=registry,
        )
        self.repositories_damaged = Counter(
            "wit_repositories_damaged",
            "Repositories that were found damaged and made read-only",
            registry=registry,
        )
        self.jobs_done = Counter("wit_jobs", "Jobs ended", ["kind", "outcome"], registry=registry)
        self.open_connections = Gauge(
            "wit_open_connections", "Open client connections", ["door"], registry=registry
        )
        self.degraded = Gauge(
            "wit_degraded", "1 while the named thing is wrong", ["reason"], registry=registry
        )
        self.sandbox_providers = Gauge(
            "wit_sandbox_provider_ready",
            "1 while the provider can make sandboxes",
            ["provider"],
            registry=registry,
        )
        self.sandboxes = Gauge(
            "wit_sandboxes", "Sandboxes of all daemons by state", ["state"], registry=registry
        )
        self.sandbox_seconds = Histogram(
            "wit_sandbox_seconds",
            "Time until a new sandbox could be used, its checkout included",
            ["provider"],
            buckets=_SANDBOX,
            registry=registry,
        )
        self.uplink_answers = Counter(
            "wit_uplink_answers",
            "Packuments and tarballs of uplinks by where they came from (or why not)",
            ["uplink", "what", "outcome"],
            registry=registry,
        )
