"""The npm registry, put together: ``core.packages``."""

from __future__ import annotations

from urllib.parse import urlsplit

from wit.access.gate import Gate
from wit.config import Config
from wit.db.port import Database
from wit.events.journal import Journal
from wit.metrics import Metrics
from wit.packages.blobs import Blobs
from wit.packages.catalog import Catalog
from wit.packages.changes import Changes
from wit.packages.declaring import Declaring
from wit.packages.downloads import Downloads
from wit.packages.lists import Lists
from wit.packages.local_blobs import LocalBlobs
from wit.packages.packument import Site
from wit.packages.publishing import Publishing
from wit.packages.reading import Reading
from wit.packages.rights import Rights
from wit.packages.s3_blobs import S3Blobs, make_s3_blobs
from wit.packages.search import Search
from wit.packages.sweeping import Sweeping
from wit.packages.unpublishing import Unpublishing
from wit.packages.upstream.upstream import Upstream
from wit.runtime import Runtime


class Packages:
    """A part of the service tree; the doors use its parts."""

    def __init__(
        self,
        config: Config,
        db: Database,
        runtime: Runtime,
        metrics: Metrics,
        *,
        gate: Gate,
        journal: Journal,
    ) -> None:
        self.site = site = Site(
            config.public_url, urlsplit(config.public_url).hostname or "localhost"
        )
        self.blobs = blobs = make_blobs(config, runtime)
        self.upstream = Upstream(config, db, runtime, metrics)
        self.rights = rights = Rights(db, gate, self.upstream)
        self.changes = Changes(db, runtime, journal, rights)
        self.unpublishing = Unpublishing(db, runtime, journal, rights)
        self.publishing = Publishing(
            config,
            db,
            runtime,
            journal,
            gate=gate,
            rights=rights,
            blobs=blobs,
            changes=self.changes,
        )
        self.sweeping = Sweeping(db, runtime, blobs)
        self.declaring = Declaring(db, runtime, rights)
        self.downloads = Downloads(db, runtime)
        self.reading = Reading(
            db,
            runtime,
            rights=rights,
            blobs=blobs,
            upstream=self.upstream,
            downloads=self.downloads,
            site=site,
            cache_bytes=config.packages.rendered_bytes,
        )
        self.search = Search(db, runtime, site)
        self.catalog = Catalog(db)
        self.lists = Lists(db, rights)

    async def start(self) -> None:
        self.downloads.start()
        self.sweeping.start()

    async def stop(self) -> None:
        """Let what goes on end; downloads that were counted are written down."""
        await self.sweeping.stop()
        await self.upstream.stop()
        await self.downloads.stop()
        if isinstance(self.blobs, S3Blobs):
            await self.blobs.close()


def make_blobs(config: Config, runtime: Runtime) -> Blobs:
    """The store that the section ``[packages]`` describes."""
    if config.packages.storage == "s3":
        return make_s3_blobs(config.packages, config.packages_dir, runtime)
    return LocalBlobs(config.packages_dir, runtime)
