"""The artifact of a run in Prefect's UI: what failed and why, what it cost, what changed since the run before.

The flows create it at the end of a run. It has names of objects and messages, which are untrusted: they are shown as
code, on one line, without control characters. It has no answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any
from urllib.parse import unquote

from nightreel import __version__
from nightreel.database.runs import PastRun
from nightreel.domain import EndedVideo
from nightreel.logs import escape_controls
from nightreel.stages.run_changes import changes_since
from nightreel.stages.summary import RunSummary, busy_s
from nightreel.stages.tally import MOST_SHOWN
from nightreel.units import counted

_OF_THE_RUN = ("total", "overlap", "overhead")  # timings that do not belong to a stage
_NAME, _DETAIL = 80, 160  # longest name and message, characters


def run_report(summary: RunSummary) -> str:
    """The artifact of a run, as Markdown."""
    red = summary.health.red
    sections = [
        f"# {summary.headline}",
        f"**This run is red:** {_code(red)}" if red else "",
        *_failed(summary),
        *_quarantined(summary),
        *_since(summary),
        *_helpers(summary),
        _table(("cost", ""), _cost(summary)),
        _table(("videos", "count"), summary.videos.items()),
        summary.coverage or "All of the answered videos was seen.",
        _table(("failures by reason", "videos"), summary.reasons.most_common()),
        _table(("partly done by reason", "videos"), summary.partly_done.most_common()),
        _table(("answers", "count"), summary.answers.items()),
        _table(("listing", "objects"), asdict(summary.listing).items()),
        _table(("work", "count"), summary.work.items()),
        _table(("slowest stages", "busy seconds"), _slowest_stages(summary)),
        _table(("of the run", "seconds"), ((name, f"{summary.timings.get(name, 0):.1f}") for name in _OF_THE_RUN)),
        "A stage is busy while any thread is in it; `model` includes all stages of the model. `overlap`: "
        "decoder and model were busy at the same time. `overhead`: no stage that works on videos was busy.",
    ]
    return "\n\n".join(filter(None, sections))


def _failed(summary: RunSummary) -> Iterator[str]:
    failures = summary.tally.failures
    if not failures:
        return
    yield _table(("failed video", "reason", "message"), (_failure(video, summary.source) for video in failures))
    if summary.failed > len(failures):
        yield f"These are the first {MOST_SHOWN} of {summary.failed}: `nightreel failures` shows all."


def _helpers(summary: RunSummary) -> Iterator[str]:
    if not summary.helpers:
        return
    own = ("this run", _code(summary.device, _NAME), "", summary.own_segments, f"{busy_s(summary.timings):.1f}")
    rows = (
        (
            f"run {helper.run_id}",
            _code(helper.counts.get("device", ""), _NAME),
            helper.status,
            helper.counts.get("segments", 0),
            f"{busy_s(helper.timings):.1f}",
        )
        for helper in summary.helpers
    )
    yield _table(("run", "device", "ended", "segments", "seconds"), (own, *rows))
    if errors := [helper for helper in summary.helpers if helper.error]:
        yield _table(
            ("helper", "error"), ((f"run {helper.run_id}", _code(helper.error or "", _DETAIL)) for helper in errors)
        )


def _quarantined(summary: RunSummary) -> Iterator[str]:
    if not summary.quarantined:
        return
    yield f"{summary.quarantined}."
    if killers := summary.quarantine.killers:
        rows = ((_code(_name(uri, summary.source), _NAME), runs) for uri, runs in killers)
        yield _table(("quarantined video", "runs that died with it as their only work"), rows)


def _failure(video: EndedVideo, source: str) -> tuple[str, ...]:
    again = " (it failed before)" if video.failed_before else ""
    return _code(_name(video.uri, source), _NAME), f"{video.reason}{again}", _code(video.detail or "", _DETAIL)


def _since(summary: RunSummary) -> Iterator[str]:
    before = summary.before
    if before is None:
        return
    if left := before.counts.get("left"):
        yield f"The run before left {counted(left, 'video')}."
    label = f"run {before.run_id}{f', {_code(before.name, _NAME)}' if before.name else ''}"
    changed = changes_since(_as_past_run(summary), before)
    if changed:
        rows = (
            (one.name, *(_code(value, _NAME) if one.name == "model" else value for value in (one.now, one.before)))
            for one in changed
        )
        yield _table(("changed since the run before", "this run", label), rows)
    else:
        yield f"Nothing changed since the run before ({label})."


def _as_past_run(summary: RunSummary) -> PastRun:
    return PastRun(
        run_id=summary.run_id,
        name=summary.name,
        status="completed" if summary.is_green else "failed",
        recipe_id=summary.recipe_id or 0,
        model=summary.model,
        version=__version__,
        counts=summary.to_json(),
    )


def _cost(summary: RunSummary) -> Iterator[tuple[str, str]]:
    yield "seconds of this worker", f"{summary.cost_s:.1f}"
    if summary.succeeded:
        yield "seconds per video", f"{summary.cost_s / summary.succeeded:.1f}"
    if "lease" in summary.timings:
        yield "seconds of waiting for memory, not included", f"{summary.timings['lease']:.1f}"
    dollars = summary.dollars
    yield "dollars", "unknown: set `NIGHTREEL_GPU_DOLLARS_PER_HOUR`" if dollars is None else f"{dollars:.4f}"


def _slowest_stages(summary: RunSummary) -> list[tuple[str, str]]:
    stages = {name: seconds for name, seconds in summary.timings.items() if name not in _OF_THE_RUN}
    slowest = sorted(stages.items(), key=lambda item: -item[1])
    total = summary.timings.get("total", 0)
    return [(name, f"{seconds:.1f} ({seconds / total:.0%})" if total else "0") for name, seconds in slowest]


def _table(header: tuple[str, ...], rows: Iterable[tuple[Any, ...]]) -> str:
    """A Markdown table. Columns after the first are numbers, except in a table of three."""
    aligned = ["---", *["---" if len(header) > 2 else "---:"] * (len(header) - 1)]
    lines = [header, *rows]
    cells = ["| " + " | ".join(map(str, line)) + " |" for line in lines]
    return "\n".join([cells[0], f"|{'|'.join(aligned)}|", *cells[1:]])


def names_in_reports(uri: str) -> set[str]:
    """How reports of runs name a video, whatever the source of the run is: `erase` looks for them.

    >>> sorted(names_in_reports("s3://bucket/a/b.mp4"))
    ['`a/b.mp4`', '`b.mp4`', '`bucket/a/b.mp4`']
    """
    parts = _decoded(uri).partition("://")[2].lstrip("/").split("/")
    return {_code("/".join(parts[start:]), _NAME) for start in range(len(parts))}


def _name(uri: str, source: str) -> str:
    """The part of a uri below the source, as a person would write it."""
    return _decoded(uri).removeprefix(f"{_decoded(source).rstrip('/')}/")


def _decoded(uri: str) -> str:
    return unquote(uri) if uri.startswith("file://") else uri


def _code(text: str, most: int = 500) -> str:
    r"""Untrusted text as inline code that fits into a cell of a table.

    >>> print(_code("a`b|c\n<img>"))
    `a'b\|c\n<img>`
    """
    safe = escape_controls(text).replace("`", "'").replace("|", r"\|").strip()
    return f"`{safe if len(safe) <= most else safe[: most - 1] + '…'}`" if safe else ""
