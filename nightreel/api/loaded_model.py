"""The model of the service: loaded for the first question, released some minutes after the last one.

It holds a lease on the memory of its device for as long as it is loaded, if the service can lease memory.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from nightreel.api.problems import Problem, busy
from nightreel.errors import PermanentError, TransientError
from nightreel.models.base import VideoModel
from nightreel.models.loading import FoundModel, check_model, find_model, load_model
from nightreel.models.memory.device_request import request_device
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.device_lease import LeasedDevice, LeaseNow, leased_device

_RETRY_AFTER_S = 20
_MIB = 1 << 20

logger = logging.getLogger(__name__)


class LoadedModel:
    """Thread-safe. It never waits for its turn: a question that comes while another one is answered is refused.

    Args:
        lease_memory: None: the model takes at most NIGHTREEL_GPU_MEMORY_MIB, or any free memory if that is not set.
    """

    def __init__(self, settings: Settings, *, lease_memory: LeaseNow | None = None) -> None:
        self._settings = settings.without_patience()
        self._lease_memory = lease_memory
        self._lock = threading.Lock()
        self._loaded: tuple[FoundModel, VideoModel] | None = None
        self._device: LeasedDevice | None = None
        self._held = ExitStack()
        self._timer: threading.Timer | None = None

    @property
    def is_loaded(self) -> bool:
        return self._loaded is not None

    def refuse_if_busy(self) -> None:
        """Raise as `taken` would now."""
        if self._lock.locked():
            raise _busy()

    @contextmanager
    def taken(self) -> Iterator[tuple[FoundModel, VideoModel]]:
        """The model as it was found and as it is loaded, for one question.

        Raises:
            Problem: 429: it answers another question. 503: runs hold the memory that it needs.
            NightreelError: as `find_model` and `load_model`.
        """
        if not self._lock.acquire(blocking=False):
            raise _busy()
        try:
            if self._timer is not None:
                self._timer.cancel()
            self._release_if_lost()
            if self._loaded is None:
                self._load()
            assert self._loaded is not None
            yield self._loaded
        finally:
            self._timer = threading.Timer(self._settings.api_model_idle_s, self._release_if_idle)
            self._timer.daemon = True
            self._timer.start()
            self._lock.release()

    def close(self) -> None:
        """Release the model, after the question that it answers."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._release()

    def _load(self) -> None:
        found = find_model(self._settings)
        with ExitStack() as stack:
            device = self._find_device(found, stack)
            settings = self._settings.model_copy(update={"device": device.name})
            model = load_model(settings, found=found, limit_bytes=device.limit_bytes)
            stack.callback(_release_memory, model.spec.backend)  # before the lease ends, after the last reference
            stack.callback(model.close)
            self._held = stack.pop_all()
        self._loaded, self._device = (found, model), device

    def _find_device(self, found: FoundModel, stack: ExitStack) -> LeasedDevice:
        """The device of the model, whose memory the stack holds."""
        most_mib = self._settings.gpu_memory_mib
        unleased = LeasedDevice(name=self._settings.device, limit_bytes=most_mib and most_mib * _MIB)
        if self._lease_memory is None:
            return unleased
        footprint = check_model(self._settings, prompts=(), found=found)
        if footprint is None:  # on a server
            return unleased
        request = request_device(self._settings, footprint, beside_engine=found.kept is not None)
        try:
            lease = stack.enter_context(self._lease_memory(request.memory))
        except PermanentError as error:
            if error.reason is not Reason.RUN_CLOSED:
                raise
            said = f"runs hold the memory of the device, of which the model needs {request.memory.mib} MiB: ask later"
            raise Problem(503, said, headers={"Retry-After": str(_RETRY_AFTER_S)}) from error
        return leased_device(request, lease)

    def _release_if_lost(self) -> None:
        """Release the model if its lease ran out: a run may have its memory."""
        if self._device is not None and self._device.lease is not None:
            try:
                self._device.lease.ensure_held()
            except TransientError as error:
                logger.warning("%s", error)
                self._release()

    def _release_if_idle(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                if threading.current_thread() is self._timer:  # else a question came meanwhile
                    self._release()
            finally:
                self._lock.release()

    def _release(self) -> None:
        if self._loaded is not None:
            self._loaded = self._device = None
            self._held.close()
            logger.info("released the model %s", self._settings.model)


def _release_memory(backend: str) -> None:
    if backend == "remote":
        return
    from nightreel.models.memory.batches import release_memory

    release_memory()


def _busy() -> Exception:
    return busy("the model answers another question: ask again", retry_after_s=_RETRY_AFTER_S)
