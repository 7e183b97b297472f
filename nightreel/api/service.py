"""What the routes of one application share: the database, the limits, the decoder and the model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fastapi import Request

from nightreel.api.frames import FrameReader
from nightreel.api.loaded_model import LoadedModel
from nightreel.api.previews import PreviewMaker
from nightreel.api.rate import RateLimit
from nightreel.database.connection import Database
from nightreel.media.sandbox import DecoderPool
from nightreel.settings import Settings
from nightreel.stages.device_lease import LeaseNow
from nightreel.stages.text_encoder import TextEncoder
from nightreel.storage.spool import Spool

EXPORTS_AT_ONCE = 2
"""Each holds a connection for as long as its client reads."""
UPLOADS_AT_ONCE = 4
"""Each may fill the disk with NIGHTREEL_API_UPLOAD_MIB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Open for as long as the application runs; see `open_service`."""

    settings: Settings
    database: Database
    rate: RateLimit
    exports: threading.BoundedSemaphore
    uploads: threading.BoundedSemaphore
    spool: Spool
    frames: FrameReader
    previews: PreviewMaker
    model: LoadedModel
    texts: TextEncoder


@contextmanager
def open_service(settings: Settings, database: Database, *, lease_memory: LeaseNow | None = None) -> Iterator[Service]:
    """Make what the routes share. At the end of the block, decoder processes stop and the model is released.

    Args:
        database: connected as nightreel_console (`stages.database.open_console_database`).
        lease_memory: for the model; None: nothing is leased.
    """
    with Spool(settings.work_dir / "spool", settings.spool_mib << 20) as spool, ExitStack() as stack:
        decoders, model = DecoderPool.from_settings(settings), LoadedModel(settings, lease_memory=lease_memory)
        stack.callback(model.close)
        frames = FrameReader(settings, spool, decoders)
        stack.callback(frames.close)
        previews = PreviewMaker(settings, spool, decoders, database)
        stack.callback(previews.close)
        stack.callback(decoders.close)  # first, so that running calls end
        yield Service(
            settings=settings,
            database=database,
            rate=RateLimit(settings.api_requests_per_minute),
            exports=threading.BoundedSemaphore(EXPORTS_AT_ONCE),
            uploads=threading.BoundedSemaphore(UPLOADS_AT_ONCE),
            spool=spool,
            frames=frames,
            previews=previews,
            model=model,
            texts=TextEncoder(settings),
        )


def service_of(request: Request) -> Service:
    """The service of the application that got this request. The console may have mounted it."""
    service: Service = request.app.state.service
    return service
