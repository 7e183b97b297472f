"""Keep: start vLLM for the model of the settings, and keep it for the runs of this host: `nightreel engine serve`.

It holds a lease on the memory of vLLM, as a run does. Runs that use it lease memory for their vision tower alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from nightreel.errors import SettingsError
from nightreel.models.embedding import find_encoder, measure_encoder
from nightreel.models.engine.kept import only_keeper, path_of
from nightreel.models.loading import check_model, find_model, start_engine
from nightreel.models.memory.device_request import request_device, request_for_engine
from nightreel.prompts.loading import load_prompt_sets
from nightreel.settings import Settings
from nightreel.stages.device_lease import LeaseNow, leased_device

_LOOK_EVERY_S = 1.0


def keep_engine(
    settings: Settings,
    *,
    used: Mapping[str, str],
    lease_memory: LeaseNow,
    on_ready: Callable[[str], None],
    stop: threading.Event,
) -> None:
    """Start vLLM, show it to the runs of this host, and keep it until `stop` is set.

    Args:
        used: commits of hub models that runs used: `used_revisions`.
        on_ready: called with the name of the model once runs can use it.

    Raises:
        SettingsError: the model does not run in vLLM, or another process keeps vLLM for it.
        TransientError: `memory_lease_lost`, `engine_died`.
        NightreelError: as `find_model`, `check_model`, `start_engine` and `lease_memory`.
    """
    if not settings.uses_engine:
        raise SettingsError(
            f"NIGHTREEL_MODEL={settings.model!r} does not run in vLLM: write vllm: before its name, as in vllm:demo"
        )
    prompts = load_prompt_sets(settings.prompt_sets).prompts
    found, encoder = find_model(settings, used=used), find_encoder(settings, used=used)
    with only_keeper(path_of(settings, found.spec.hash)) as file:
        whole = check_model(settings, prompts=prompts, found=found, beside_engine=False)
        assert whole, "a model of this host needs memory"
        beside = check_model(settings, prompts=prompts, found=found, beside_engine=True)
        if beside and encoder:
            held = measure_encoder(settings, encoder)
            whole, beside = (replace(one, weights_bytes=one.weights_bytes + held) for one in (whole, beside))
        request = request_for_engine(
            request_device(settings, whole),
            request_device(settings, beside, beside_engine=True) if beside else None,
        )
        with lease_memory(request.memory) as lease:
            device = leased_device(request, lease)
            on_device = settings.model_copy(update={"device": device.name})
            process = start_engine(on_device, found=found, limit_bytes=device.limit_bytes)
            try:
                process.wait_until_ready()
                file.show(socket_path=process.socket_path, log_path=process.log_path)
                on_ready(found.spec.name)
                while not stop.wait(_LOOK_EVERY_S):
                    lease.ensure_held()
                    if process.failure:
                        raise process.failure
            finally:
                process.stop()
