"""`model`: show a model, the memory it needs, and how many segments fit into a batch. Loads no weights.

If a database is configured or running, the peaks that runs measured are shown beside the estimates.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import psutil
import typer

from nightreel import services
from nightreel.cli.console import Json, command_settings, print_json, print_line, print_table
from nightreel.database.memory_peaks import known_peaks
from nightreel.domain import MemoryPeak, largest_plan
from nightreel.errors import NightreelError
from nightreel.gpu import examine_cuda
from nightreel.models.base import ModelSpec
from nightreel.models.loading import FoundModel, estimate_footprint, find_model, newest_revision
from nightreel.models.served.identity import is_served
from nightreel.prompts.loading import load_prompt_sets
from nightreel.services.prompt_meanings import meant_sets
from nightreel.settings import Settings
from nightreel.stages.database import open_database
from nightreel.stages.used_revisions import used_revisions
from nightreel.units import human_bytes


def model(
    model_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="Directory or hub id of a video LLM.")] = None,
    plan: Annotated[
        str | None, typer.Option(help="Sampling plan (N or CAP frames): uniform:N, fps:RATE:CAP or keyframes:CAP.")
    ] = None,
    width: Annotated[int, typer.Option(min=28, max=8192, help="Width of the frames, pixels.")] = 1280,
    height: Annotated[int, typer.Option(min=28, max=8192, help="Height of the frames, pixels.")] = 720,
    newer: Annotated[bool, typer.Option("--newer", help="Ask the hub if it has a newer revision.")] = False,
    as_json: Json = False,
) -> None:
    """Show a model, the memory it needs, and the largest batch that fits each device."""
    settings = command_settings(model=model_id, plan=plan)
    if is_served(settings.model):
        _print_served(find_model(settings.without_patience()), as_json)
        return
    prompts = load_prompt_sets(meant_sets(settings)).prompts
    frames = largest_plan(settings.sampling_plan, prompts).most_frames
    files = find_model(settings, used=_used(settings))
    found = estimate_footprint(settings, prompts=prompts, frames=frames, height=height, width=width, found=files)
    devices = [
        (name, free, total, found.largest_batch(free, on_gpu=on_gpu)) for name, free, total, on_gpu in _devices()
    ]
    values = {
        **found.spec.to_json(),
        "hash": found.spec.hash,
        "weights_bytes": found.weights_bytes,
        "kv_bytes_per_token": found.token_bytes,
        "segment": f"{frames} frames of {width}x{height}, {len(prompts)} prompts",
        "prefix_tokens": found.shape.prefix,
        "question_tokens": found.shape.suffixes,
        "generated_tokens_at_most": found.shape.generated,
        "vision_bytes_per_segment": found.vision_bytes,
        "language_bytes_per_segment": found.segment_bytes,
    }
    if files.why_frames:
        values["why_vllm_gets_frames"] = files.why_frames
    if newer:
        values["newest_revision"] = newest_revision(settings, found.spec)
    measured, problem = _measured(settings, found.spec)
    if as_json:
        names = ("device", "free_bytes", "total_bytes", "largest_batch")
        told = {"devices": [dict(zip(names, device, strict=True)) for device in devices]}
        print_json(values | told | {"measured": list(map(asdict, measured)), "measured_problem": problem})
        return
    print_table(("", ""), [(name.replace("_", " "), _shown(name, value)) for name, value in values.items()])
    print_line()
    print_table(
        ("device", "free", "total", "largest batch, segments"),
        [
            (name, human_bytes(free), human_bytes(total), batch or "does not fit")
            for name, free, total, batch in devices
        ],
    )
    if problem:
        print_line(f"measured peaks are unknown: {problem}")
    if newer:
        _say_what_is_newer(found.spec, values["newest_revision"])
    if measured:
        print_line()
        columns = ("measured on", "stage", "segment shape", "segments", "estimated", "measured")
        print_table(columns, map(_row, measured))


def _used(settings: Settings) -> dict[str, str]:
    """The commits of hub models that runs used; empty without a database. Starts none."""
    if services.status(settings)[0].state not in ("running", "external"):
        return {}
    try:
        with open_database(settings) as database, database.begin() as connection:
            return used_revisions(connection, settings)
    except NightreelError:
        return {}  # the measured peaks name the problem


def _say_what_is_newer(spec: ModelSpec, newest: str) -> None:
    if newest == spec.revision:
        print_line(f"the hub has nothing newer than {newest}")
    else:
        print_line(f"the hub has a newer revision; to use it, set NIGHTREEL_MODEL_REVISION={newest}")


def _measured(settings: Settings, spec: ModelSpec) -> tuple[list[MemoryPeak], str | None]:
    """The peaks that runs measured, or why they are unknown. Starts no database."""
    postgres = services.status(settings)[0]
    if postgres.state not in ("running", "external"):
        return [], postgres.detail if postgres.state == "broken" else None
    try:
        with open_database(settings) as database, database.begin() as connection:
            return known_peaks(connection, spec.hash), None
    except NightreelError as error:
        return [], error.detail


def _row(peak: MemoryPeak) -> tuple[str, str, str, int, str, str]:
    taken = f"more than {human_bytes(peak.measured_bytes)}" if peak.out_of_memory else human_bytes(peak.measured_bytes)
    return peak.device, peak.stage, peak.shape, peak.segments, human_bytes(peak.estimated_bytes), taken


def _print_served(found: FoundModel, as_json: bool) -> None:
    assert found.server
    values = found.spec.to_json() | {"hash": found.spec.hash, "server": found.server.to_json()}
    if as_json:
        print_json(values)
        return
    shown = {**values, "server": str(found.server)}
    print_table(("", ""), [(name.replace("_", " "), _shown(name, value)) for name, value in shown.items()])
    for lack in found.server.lacks:
        print_line(f"the server: {lack}")
    print_line("the model is on a server, which does not report its memory: ask its operator")


def _devices() -> list[tuple[str, int, int, bool]]:
    """Name, free and total bytes of each GPU, or of the RAM without one; whether it is a GPU."""
    gpus = examine_cuda().devices
    if gpus:
        return [(f"cuda:{gpu.index} {gpu.name}", gpu.free_bytes, gpu.total_bytes, True) for gpu in gpus]
    memory = psutil.virtual_memory()
    return [("cpu", memory.available, memory.total, False)]


def _shown(name: str, value: Any) -> str:
    if value is None:
        return ""
    return human_bytes(value) if "bytes" in name else f"{value:,}" if type(value) is int else str(value)


def register(app: typer.Typer) -> None:
    app.command()(model)
