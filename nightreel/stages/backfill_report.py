"""The estimate of a backfill as text: a headline, the rows of a table, and the artifact in Prefect's UI."""

from __future__ import annotations

from nightreel.stages.backfill_costs import GIB, BackfillEstimate, SecondLooks
from nightreel.units import counted


def headline(estimate: BackfillEstimate) -> str:
    """The size of a backfill in one line."""
    work, hours = estimate.totals, estimate.gpu_hours
    gpu = "GPU hours not measured yet" if hours is None else f"{amount(hours)} GPU hours"
    return (
        f"{counted(work.videos, 'video')}, {counted(work.segments, 'segment')}, {counted(work.to_ask, 'answer')}, {gpu}"
    )


def rows(estimate: BackfillEstimate) -> list[tuple[str, str, str]]:
    """The rows that a person decides by: name, figure, and source of the figure."""
    return [*_work(estimate), *_hours(estimate), *_dollars(estimate)]


def markdown(estimate: BackfillEstimate) -> str:
    """The estimate for Prefect's UI. It shows no object keys, because those are untrusted."""
    lines = [f"| {name.strip()} | {figure} | {basis} |" for name, figure, basis in rows(estimate)[1:]]
    return "\n".join([f"# {headline(estimate)}", "", "| | | |", "|---|---:|---|", *lines])


def _work(estimate: BackfillEstimate) -> list[tuple[str, str, str]]:
    work = estimate.totals
    sample = counted(estimate.measured_videos, "video")
    basis = f"measured on {sample}" if estimate.measured_videos else "assumed"
    guess = f"durations of {work.guessed:,} estimated from {estimate.guessed_by / 1e3:,.0f} kB per second, {basis}"
    return [
        ("objects listed", f"{estimate.listed:,}", estimate.source),
        ("videos", f"{work.admitted:,}", "with a matching name and time"),
        ("  already done", f"{work.done:,}", f"under this recipe, with {estimate.model}"),
        ("  failed for good", f"{work.failed:,}", "skipped; `nightreel retry` queues them again"),
        ("  to do", f"{work.videos:,}", f"in {counted(len(estimate.shards), 'shard')}"),
        ("  to do, copies", f"{work.copies:,}", "the same bytes under another key: their answers are copied"),
        ("segments", f"{work.segments:,}", guess if work.guessed else "durations known"),
        ("  to encode", f"{work.to_look:,}", f"{work.cached_segments:,} more are in the feature cache"),
        ("answers", f"{work.answers:,}", f"{estimate.prompts} prompts per segment, conditional ones counted in full"),
        ("  already answered", f"{work.answered:,}", ""),
        ("  to answer", f"{work.to_ask:,}", ""),
        *_second_looks(estimate.second_looks),
        ("GiB to fetch", amount(work.fetch_bytes / GIB), ""),
    ]


def _second_looks(looks: SecondLooks | None) -> list[tuple[str, str, str]]:
    if looks is None:
        return []
    basis = f"by the share of {counted(looks.measured, 'earlier answer')} that reached `look_again`"
    if looks.unknown:
        basis += f"; not known for {', '.join(looks.unknown)}, which has no answers yet"
    return [
        ("second looks", "", "included in the hours"),
        ("  windows to encode", f"{looks.windows:,}", basis),
        ("  to answer", f"{looks.answers:,}", ""),
    ]


def _hours(estimate: BackfillEstimate) -> list[tuple[str, str, str]]:
    costs = estimate.costs
    of = "these questions" if costs.of_recipe else "other questions to this model"
    segments = f"measured on {counted(costs.segments, 'segment')} of {counted(costs.runs, 'run')}"
    answers = f"measured on {counted(costs.answers, 'answer')} to {of}"
    loads = f"includes {counted(len(estimate.shards), 'load')} of the model, {costs.load_s:.1f} s each"
    size = None if estimate.cache_bytes is None else estimate.cache_bytes / GIB
    return [
        ("hours of decoding", amount(estimate.decode_hours), _each(costs.decode_s, "per segment", segments)),
        ("hours of the vision tower", amount(estimate.vision_hours), _each(costs.vision_s, "per segment", segments)),
        ("hours of the language model", amount(estimate.language_hours), _each(costs.answer_s, "per answer", answers)),
        ("GPU hours", amount(estimate.gpu_hours), loads),
        ("hours on one worker", amount(estimate.elapsed_hours), "decoding and model work at the same time"),
        (
            "GiB for the cache",
            amount(size),
            "" if costs.feature_bytes is None else "from the size of existing features",
        ),
    ]


def _dollars(estimate: BackfillEstimate) -> list[tuple[str, str, str]]:
    rates = estimate.rates
    return [
        ("dollars for GPUs", amount(estimate.gpu_dollars), _rate(rates.gpu_hour, "NIGHTREEL_GPU_DOLLARS_PER_HOUR")),
        (
            "dollars per month for the cache",
            amount(estimate.cache_dollars_a_month),
            _rate(rates.gib_month, "NIGHTREEL_STORAGE_DOLLARS_PER_GIB_MONTH"),
        ),
    ]


def amount(value: float | None) -> str:
    """A figure with three digits, or "not known".

    >>> amount(None), amount(0), amount(0.01234), amount(12.345), amount(12345.6)
    ('not known', '0', '0.0123', '12.3', '12,346')
    """
    if value is None:
        return "not known"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _each(seconds: float | None, unit: str, measured: str) -> str:
    if seconds is None:
        return "not measured yet: run `nightreel analyze --limit 20` first"
    return f"{amount(seconds)} s {unit}, {measured}"


def _rate(rate: float | None, setting: str) -> str:
    return f"at {rate:g} dollars" if rate else f"no rate: set {setting}"
