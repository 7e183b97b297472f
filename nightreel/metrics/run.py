"""Metrics of one run: videos, segments, answers, tokens, the cache, seconds by stage.

The workbench has one, and its stages feed it. Counters start at zero with each run, as Prometheus expects of a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from nightreel.domain import Answer, ChunkCounts, VideoEnd
from nightreel.metrics.labels import BoundedLabels

_PROMPT_SETS = 50
_SECONDS = (0.005, 0.02, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_CACHE = {"cached_segments": "hit", "decoded_segments": "miss"}


class RunMetrics:
    """Counters of a run, in a registry of their own. Thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._videos = self._counter("videos", "Videos by how their claim ended.", "outcome")
        self._failures = self._counter("video_failures", "Videos that failed or were quarantined.", "reason")
        self._segments = self._counter("segments", "Segments whose answers were written.")
        self._answers = self._counter("answers", "Answers written, by their verdict.", "prompt_set", "state")
        self._tokens = self._counter("tokens", "Prompt and generated tokens of the answers written.", "kind")
        self._cache = self._counter("cache_lookups", "Segments whose features were looked up in the cache.", "result")
        self._work = self._counter("work", "Items fetched, decoded, encoded, evicted.", "what")
        self._stages = Histogram(
            "nightreel_stage_seconds",
            "Seconds that a thread spent in a stage, for each visit.",
            ("stage",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._sets = BoundedLabels(_PROMPT_SETS)

    def count(self, what: str, by: int = 1) -> None:
        """Count an item of work."""
        self._work.labels(what).inc(by)
        if what in _CACHE:
            self._cache.labels(_CACHE[what]).inc(by)

    def observe_stage(self, stage: str, seconds: float) -> None:
        """Record that a thread left a stage after `seconds`."""
        self._stages.labels(stage).observe(seconds)

    def show_busy_seconds(self, busy_s: Callable[[], Mapping[str, float]]) -> None:
        """Serve the seconds by stage in which the stage had at least one thread."""
        self.registry.register(_BusySeconds(busy_s))

    def written(self, counts: ChunkCounts, answers: Iterable[Answer]) -> None:
        """Count a committed chunk."""
        for end, count in counts.videos.items():
            if end is not VideoEnd.CONTINUES:  # a long video: other chunks have the rest
                self._videos.labels(end.value).inc(count)
        for reason, count in counts.reasons.items():
            self._failures.labels(reason.value).inc(count)
        self._segments.inc(counts.segments)
        for (set_name, state), count in counts.verdicts.items():
            self._answers.labels(self._sets.admit(set_name), state.value).inc(count)
        for answer in answers:
            self._tokens.labels("prompt").inc(answer.prompt_tokens)
            self._tokens.labels("generated").inc(answer.generated_tokens)

    def _counter(self, name: str, about: str, *labels: str) -> Counter:
        return Counter(f"nightreel_{name}", about, labels, registry=self.registry)


class _BusySeconds(Collector):
    def __init__(self, busy_s: Callable[[], Mapping[str, float]]) -> None:
        self._busy_s = busy_s

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily(
            "nightreel_stage_busy_seconds", "Seconds in which a stage had at least one thread.", labels=("stage",)
        )
        for stage, seconds in self._busy_s().items():
            family.add_metric((stage,), seconds)
        yield family
