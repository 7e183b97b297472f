"""The model of a run: leased and loaded when first needed, used by one thread at a time, unloaded at the end."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial

from nightreel.database.connection import Database
from nightreel.database.memory_peaks import keep_peaks, known_peaks
from nightreel.database.recipes import Recipe
from nightreel.database.runs import record_environment
from nightreel.domain import MemoryPeak
from nightreel.environment import describe_environment
from nightreel.errors import NightreelError, PermanentError
from nightreel.models.base import VideoModel
from nightreel.models.checkpoints.capabilities import first_device
from nightreel.models.embedding import FoundEncoder, SegmentEncoder, load_encoder, measure_encoder
from nightreel.models.loading import FoundModel, check_model, import_libraries, load_model
from nightreel.models.memory.device_request import DeviceRequest, request_device
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.stages.device_lease import LeasedDevice, LeaseMemory, lease_device
from nightreel.stages.recorder import RunRecorder

_LOOK_EVERY_S = 3.0  # whether the run should stop, during a wait for memory


class ModelSession:
    """At most one loaded model, and the lease on its memory.

    `check` is called before the first claim. The first call of `use` or `frame_size` leases memory and loads the model.
    `close` unloads the model and releases the memory.

    Args:
        settings: of the run; `device` limits the devices for the model.
        found: the model, pinned when the run was opened. encoder: the dual encoder beside it; None: there is none.
        lease_memory: waits for memory and holds it; None: the model uses any free memory.
        why_stop: called every few seconds during the wait; returns why the run should not begin more work, or None.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        found: FoundModel,
        encoder: FoundEncoder | None = None,
        recipe: Recipe,
        run_id: int,
        database: Database,
        recorder: RunRecorder,
        lease_memory: LeaseMemory | None,
        why_stop: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._settings, self._found, self._found_encoder = settings, found, encoder
        self._recipe, self._run_id = recipe, run_id
        self._database, self._recorder = database, recorder
        self._lease_memory = lease_memory
        self._why_stop = why_stop
        self._look_at = 0.0
        self._stack = ExitStack()
        self._use_lock = threading.Lock()
        self._load_lock = threading.Lock()  # a separate lock: a wait for memory must not block other users
        self._closing = threading.Event()
        self._model: VideoModel | None = None
        self._encoder: SegmentEncoder | None = None
        self._encoder_error: NightreelError | None = None
        self._device = LeasedDevice(name=settings.device)
        self._load_errors: list[NightreelError] = []
        self._checked = False
        self._request: DeviceRequest | None = None

    def check(self) -> None:
        """Check the model against the recipe and the devices, once, before the first video is claimed.

        Loads no weights and holds no memory.

        Raises:
            NightreelError: as `check_model` and `request_device`: every video would fail in the same way.
        """
        with self._load_lock:
            if not self._checked:
                self._check()

    @property
    def is_checked(self) -> bool:
        return self._checked

    @property
    def is_loaded(self) -> bool:
        return self._model is not None

    @property
    def request(self) -> DeviceRequest | None:
        """The memory that the model needs; None before the check, and if all of the model is in another process."""
        return self._request

    @property
    def device(self) -> str:
        """Where the model runs: the limits of its leased devices, else host and device; "" if it is not loaded."""
        if not self.is_loaded:
            return ""
        if self._device.lease:
            return ", ".join(self._device.lease.limits)
        return f"{platform.node()} {'server' if self._found.checkpoint is None else self._device.name}"

    def load(self) -> None:
        """Load the model now. Raises the errors of `use`."""
        self._loaded()

    @property
    def frame_size(self) -> int | None:
        """Short side in pixels that the model's processor needs. Raises the errors of `use`."""
        return self._loaded().frame_size

    @contextmanager
    def use(self) -> Iterator[VideoModel]:
        """Lend the model to this thread alone, to ask it. Otherwise as `share`."""
        with self._use_lock, self.share() as model:
            yield model

    @contextmanager
    def share(self) -> Iterator[VideoModel]:
        """Lend the model to encode, while others encode or one asks; then store its new memory peaks.

        Raises:
            TransientError: `memory_lease_lost`: another run may have the memory.
            PermanentError: `run_closed`: the run stops, and waits for no memory.
            NightreelError: as `lease_device` and `load_model`.
        """
        model = self._loaded()
        if self._device.lease:
            self._device.lease.ensure_held()
        try:
            yield model
        finally:
            self._keep_peaks(model)

    @contextmanager
    def use_encoder(self) -> Iterator[SegmentEncoder]:
        """Lend the dual encoder to this thread alone. It is on the device of the model, and part of its lease.

        Beside a model that is all in other processes, it is on the CPU.

        Raises:
            NightreelError: as `use` and `load_encoder`. What is permanent is raised again without another try.
        """
        with self._use_lock:
            self._loaded()
            yield self._loaded_encoder()

    def failed_to_load(self, error: NightreelError) -> bool:
        """Whether loading the model raised this very error, so that no video is at fault."""
        return any(error is other for other in self._load_errors)

    def close(self) -> None:
        """Stop waiting for memory, unload the model, release the memory."""
        self._closing.set()
        with self._load_lock:
            self._stack.close()

    def _loaded(self) -> VideoModel:
        with self._load_lock:
            if self._model is None:
                for known in self._load_errors:
                    if isinstance(known, PermanentError):
                        raise known  # loading again would take as long, and fail in the same way
                try:
                    self._model = self._load()
                except NightreelError as error:
                    if error.reason is not Reason.RUN_CLOSED:  # else the next call may wait again
                        self._load_errors.append(error)
                    raise
            return self._model

    def _loaded_encoder(self) -> SegmentEncoder:
        with self._load_lock:
            if self._encoder is None:
                assert self._found_encoder is not None, "Embedding asks only where there is one"
                if isinstance(self._encoder_error, PermanentError):
                    raise self._encoder_error
                with self._recorder.stage("load_encoder"):
                    try:
                        self._encoder = load_encoder(self._settings, self._found_encoder, device=self._encoder_device())
                    except NightreelError as error:
                        self._encoder_error = error
                        raise
                self._stack.callback(self._unload_encoder)
            return self._encoder

    def _encoder_device(self) -> str:
        if self._found.is_elsewhere:
            return "cpu"  # nothing is leased
        return first_device(self._device.name)

    def _check(self) -> None:
        if self._found.checkpoint is not None:
            with self._recorder.stage("import_libraries"):
                import_libraries()
        with self._recorder.stage("check_model"):
            footprint = check_model(self._settings, prompts=self._recipe.prompts.prompts, found=self._found)
            if footprint and self._lease_memory:
                if self._found_encoder:
                    held = measure_encoder(self._settings, self._found_encoder)
                    footprint = replace(footprint, weights_bytes=footprint.weights_bytes + held)
                self._request = request_device(
                    self._settings, footprint, peaks=self._peaks(), beside_engine=self._found.kept is not None
                )
        self._checked = True

    def _load(self) -> VideoModel:
        if self._closing.is_set():
            raise PermanentError(Reason.RUN_CLOSED, f"run {self._run_id} is ending and does not load a model")
        if self._found.checkpoint is None:  # on a server: nothing to import and no memory to lease
            with self._recorder.stage("load_model"):
                return self._stack.enter_context(closing(load_model(self._settings, found=self._found)))
        with self._recorder.stage("import_libraries"):
            import_libraries()
        if self._lease_memory and not self._device.lease:
            self._lease(self._lease_memory)
        with self._recorder.stage("load_model"):
            model = load_model(
                self._settings.model_copy(update={"device": self._device.name}),
                found=self._found,
                prompts=self._recipe.prompts.prompts,
                peaks=self._peaks(),
                limit_bytes=self._device.limit_bytes,
            )
        self._stack.callback(model.close)
        with self._database.begin() as connection:  # torch is imported, so examining devices is cheap
            record_environment(connection, self._run_id, describe_environment(self._settings, devices=True))
        return model

    def _peaks(self) -> list[MemoryPeak]:
        with self._database.begin() as connection:
            return known_peaks(connection, self._found.spec.hash)

    def _lease(self, lease_memory: LeaseMemory) -> None:
        """Wait until a device's memory is free, and hold it for the rest of the run."""
        if not self._checked:
            self._check()
        if self._request is None:
            return  # the vLLM that is kept has the whole model
        leased = lease_device(
            self._request,
            recorder=self._recorder,
            lease_memory=partial(
                lease_memory, database=self._database, run_id=self._run_id, why_stop=self._why_wait_no_longer
            ),
        )
        self._device = self._stack.enter_context(leased)
        self._stack.callback(self._unload)  # before the memory is released

    def _why_wait_no_longer(self) -> str | None:
        if self._closing.is_set():
            return f"run {self._run_id} ends"
        if time.monotonic() < self._look_at:
            return None
        self._look_at = time.monotonic() + _LOOK_EVERY_S
        with suppress(NightreelError):  # else it is not known now
            return self._why_stop()
        return None

    def _unload(self) -> None:
        if self._model is not None:
            from nightreel.models.memory.batches import release_memory

            self._model = None
            release_memory()

    def _unload_encoder(self) -> None:
        self._encoder = None  # _unload then returns its memory to the device

    def _keep_peaks(self, model: VideoModel) -> None:
        peaks = model.take_peaks()
        if peaks:
            with self._recorder.stage("database"), self._database.begin() as connection:
                keep_peaks(connection, peaks, model_id=self._recipe.model_id, run_id=self._run_id)
