"""What all stages of one run share in one process: database, storage, decoders, cache, the model."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nightreel.cache.eviction import CacheLimit
from nightreel.cache.features import FeatureCache
from nightreel.database.claims import ClaimsInOrder, Selection
from nightreel.database.connection import Database
from nightreel.database.discovery import ListingFilter
from nightreel.database.memory_peaks import keep_peaks, known_peaks
from nightreel.database.recipes import Recipe
from nightreel.database.runs import record_environment
from nightreel.doctor import examine
from nightreel.domain import MemoryPeak, StoredObject
from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.media.probe import Probe
from nightreel.media.sandbox import DecoderPool
from nightreel.metrics import RunMetrics
from nightreel.models.base import ModelSpec, VideoModel
from nightreel.settings import Settings
from nightreel.stages.leasing import Allowance, LeaseMemory, lease_device
from nightreel.stages.timings import StageTimings
from nightreel.stages.video import OpenVideo
from nightreel.storage import Storage, open_inventory, open_storage
from nightreel.storage.spool import Spool

if TYPE_CHECKING:
    from nightreel.storage import Inventory


class Workbench:
    """Opened once a run and process. Decoders and model are made when first needed: a night without news needs none."""

    def __init__(
        self,
        settings: Settings,
        *,
        database: Database,
        source: Storage,
        selection: Selection,
        recipe: Recipe,
        spec: ModelSpec,
        run_id: int,
        lease_memory: LeaseMemory | None = None,
        why_stop: Callable[[], str | None] = lambda: None,
    ) -> None:
        """Lay it out.

        Args:
            lease_memory: keeps the books of the devices' memory; None: the model takes what it finds.
            why_stop: asked before each chunk is claimed: why this run should end early, if it should.
        """
        self.settings = settings
        self.database = database
        self.source = source
        self.admit = ListingFilter(
            suffixes=tuple(suffix.lower() for suffix in settings.suffixes),
            since=selection.since,
            until=selection.until,
        )
        self.recipe = recipe
        self.spec = spec
        self.run_id = run_id
        self.selection = selection
        self.claims = ClaimsInOrder(
            selection,
            recipe=recipe,
            run_id=run_id,
            chunk_segments=settings.chunk_segments,
            lease_s=settings.lease_s,
        )
        self.why_stop = why_stop
        self.last_listed: str | None = selection.after_uri or None
        self._listing: Iterator[list[StoredObject]] | None = None
        self._inventory: Inventory | None = None
        self.metrics = RunMetrics()
        self.timings = StageTimings(on_leave=self.metrics.observe_stage)
        self.metrics.show_busy_seconds(self.timings.busy_s)
        self.open_videos: dict[int, OpenVideo] = {}
        self.counts: Counter[str] = Counter()
        self.cache_limit = CacheLimit(settings.cache_limit_bytes)
        self._stack = ExitStack()
        self._lock = threading.RLock()
        self._model_lock = threading.Lock()
        self._load_lock = threading.Lock()  # not the one above: to wait for memory must hold nobody else up
        self._model: VideoModel | None = None
        self._model_errors: list[NightreelError] = []
        self._lease_memory = lease_memory
        self._allowance = Allowance(device=settings.device, limit_bytes=None)
        self._closing = threading.Event()
        self._pool: DecoderPool | None = None
        self._cache: FeatureCache | None = None
        self._spool: Spool | None = None

    def count(self, name: str, by: int = 1) -> None:
        with self._lock:
            self.counts[name] += by
        self.metrics.count(name, by)

    @property
    def listing(self) -> Iterator[list[StoredObject]]:
        """The pages of the source that were not listed yet: of an inventory, or by a listing.

        A range of keys is listed: an inventory is in no order, and would be read as a whole for each.
        """
        if self._listing is None:
            page_size = self.settings.page_size
            if self.settings.inventory and not (self.selection.after_uri or self.selection.up_to_uri):
                self._inventory = self._inventory or open_inventory(self.settings, source=self.source)
                self._listing = self._inventory.list_pages(page_size=page_size)
            else:
                self._listing = self.source.list_pages(start_after=self.last_listed, page_size=page_size)
        return self._listing

    @property
    def listed_as_of(self) -> datetime | None:
        """From when the listing is, where that is not now."""
        return self._inventory.as_of if self._inventory else None

    def restart_listing(self) -> None:
        """Let the next page be asked for anew, behind `last_listed`."""
        self._listing = None

    @property
    def pool(self) -> DecoderPool:
        with self._lock:
            if self._pool is None:
                self._pool = self._stack.enter_context(DecoderPool.from_settings(self.settings))
            return self._pool

    @property
    def cache(self) -> FeatureCache:
        with self._lock:
            if self._cache is None:
                self._cache = FeatureCache(open_storage(self.settings.cache_prefix, self.settings))
            return self._cache

    def make_room(self, *, at_once: bool = False) -> None:
        """Keep the feature cache to its limit: before a chunk is encoded, and at the end of a run."""
        if not self.settings.cache_limit_bytes:
            return
        with self.timings.stage("evict"):
            evicted = self.cache_limit.make_room(self.database, self.cache, at_once=at_once)
        if evicted.features:
            self.count("evicted_features", evicted.features)

    @property
    def spool(self) -> Spool:
        with self._lock:
            if self._spool is None:
                limit = self.settings.spool_mib << 20
                self._spool = self._stack.enter_context(Spool(self.settings.work_dir / "spool", limit_bytes=limit))
            return self._spool

    @property
    def frame_size(self) -> int | None:
        """Short side in pixels that the model's processor needs."""
        return self._loaded_model().frame_size

    @contextmanager
    def model(self) -> Iterator[VideoModel]:
        """The model, for this thread alone. Loaded when first asked for; what it learns of memory is kept.

        Raises:
            TransientError: `memory_lease_lost`: the memory it is in may be another's by now.
            NightreelError: as `leasing.lease_device` and `load_model`.
        """
        with self._model_lock:
            model = self._loaded_model()
            if self._allowance.lease:
                self._allowance.lease.ensure_held()
            try:
                yield model
            finally:
                self._keep_peaks(model)

    def _loaded_model(self) -> VideoModel:
        with self._load_lock:
            if self._model is None:
                try:
                    self._model = self._load()
                except NightreelError as error:
                    self._model_errors.append(error)
                    raise
            return self._model

    def is_of_the_model(self, error: NightreelError) -> bool:
        """Whether it kept the model from being loaded: then it is no video's fault, whichever asked for the model."""
        return any(error is other for other in self._model_errors)

    def _load(self) -> VideoModel:
        if self._closing.is_set():
            raise PermanentError("run_closed", f"run {self.run_id} is at its end and loads no model any more")
        with self.database.begin() as connection:
            peaks = known_peaks(connection, self.spec.hash)
        self._lease(peaks)
        with self.timings.stage("load_model"):
            from nightreel.models.loading import load_model  # on a night without news it is not needed

            settings = self.settings.model_copy(update={"device": self._allowance.device})
            model = load_model(settings, peaks=peaks, limit_bytes=self._allowance.limit_bytes)
        assert model.spec.hash == self.spec.hash, "the model changed while the run began"
        if self.spec.backend == "local":  # torch is imported by now: its devices can be looked at for nothing
            with self.database.begin() as connection:
                record_environment(connection, self.run_id, examine(self.settings).to_json())
        return model

    def _lease(self, peaks: Sequence[MemoryPeak]) -> None:
        """Hold the memory of a device for the rest of the run, once it is free."""
        lease_memory = self._lease_memory
        if lease_memory is None or self.spec.backend != "local" or self._allowance.lease:
            return
        with self.timings.stage("lease"):
            leased = lease_device(
                self.settings,
                prompts=self.recipe.prompts.prompts,
                peaks=peaks,
                lease_memory=partial(lease_memory, database=self.database, run_id=self.run_id, closing=self._closing),
            )
            self._allowance = self._stack.enter_context(leased)
        self._stack.callback(self._unload)  # before the memory is given back

    def _unload(self) -> None:
        if self._model is not None:
            from nightreel.models.memory.batches import release_memory

            self._model = None
            release_memory()

    def _keep_peaks(self, model: VideoModel) -> None:
        peaks = model.take_peaks()
        if peaks:
            with self.timings.stage("database"), self.database.begin() as connection:
                keep_peaks(connection, peaks, model_id=self.recipe.model_id, run_id=self.run_id)

    def fetch(self, video: OpenVideo) -> Path:
        """The video on disk, fetched at the first call.

        Raises:
            NightreelError: as `Storage.fetch`; TransientError `object_changed` also where the bytes are not those
                that were seen under this etag before.
        """
        wanted = video.claim.video
        with video.lock:
            if video.path is None:
                with self.timings.stage("fetch"):
                    directory = video.file.enter_context(self.spool.admit(wanted.size_bytes))
                    fetched = self.source.fetch(
                        wanted.uri,
                        etag=wanted.etag,
                        destination=directory / _file_name(wanted.uri),
                        max_bytes=self.settings.max_bytes,
                    )
                self.count("fetched")
                if video.content_sha256 not in ("", fetched.content_sha256):
                    raise TransientError(
                        "object_changed",
                        f"{wanted.uri}: etag {wanted.etag} held other bytes before: list the source again",
                    )
                video.path, video.content_sha256 = fetched.path, fetched.content_sha256
            return video.path

    def probe(self, video: OpenVideo) -> Probe:
        """What the video's file is, found out at the first call.

        Raises:
            NightreelError: as `fetch` and `DecoderPool.probe`.
        """
        path = self.fetch(video)
        with video.lock:
            if video.probe is None:
                with self.timings.stage("probe"):
                    video.probe = self.pool.probe(path)
            return video.probe

    def close_video(self, analysis_id: int) -> None:
        """Forget a video and delete its file from the spool."""
        video = self.open_videos.pop(analysis_id, None)
        if video is not None:
            video.release()

    def close(self) -> None:
        self._closing.set()  # who still waits for memory gives up
        for analysis_id in list(self.open_videos):
            self.close_video(analysis_id)
        with self._load_lock:
            self._stack.close()


def _file_name(uri: str) -> str:
    """A harmless file name that a person recognises in an error.

    >>> _file_name("s3://bucket/a/../.b c;rm.mp4"), _file_name("s3://bucket/%2e%2e")
    ('b_c_rm.mp4', '2e_2e')
    """
    return re.sub(r"[^A-Za-z0-9.-]+", "_", uri.rsplit("/", 1)[-1][-80:]).strip("._-") or "video"
