"""Ask: features to answers. Only the prompts that have no answer yet, all segments of a chunk together."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from nightreel.database.features import forget_features
from nightreel.database.results import answers_given
from nightreel.domain import Answer, AnsweredChunk, EncodedSegment, Features, SegmentAnswers
from nightreel.errors import NightreelError, PermanentError, TransientError
from nightreel.logs import log_context
from nightreel.stages.video import ABOUT_A_SEGMENT
from nightreel.stages.workbench import Workbench

logger = logging.getLogger(__name__)

# A cached file that cannot be used is dropped and its segment looked at again at the next attempt.
_COMPUTE_AGAIN = {"damaged_feature", "object_gone", "stale_feature"}


def ask_chunk(bench: Workbench, segments: Sequence[EncodedSegment]) -> AnsweredChunk:
    """Answers to all prompts that these segments lack.

    A segment that cannot be asked is noted as a problem of its video, an answer that came to nothing is an Answer in
    state `error`: neither stops the others.

    Raises:
        NightreelError: what is wrong for all: the database, the cache, the model.
    """
    with bench.timings.stage("database"), bench.database.begin() as connection:
        given = answers_given(connection, sorted({segment.video_id for segment in segments}), bench.recipe)
    readable: list[tuple[EncodedSegment, Features]] = []
    with bench.timings.stage("cache"):
        for segment in segments:
            features = _read(bench, segment)
            if features:
                readable.append((segment, features))
    if not readable:
        return AnsweredChunk(answered=())
    known = [given[segment.video_id][segment.segment.index] for segment, _ in readable]
    return AnsweredChunk(answered=tuple(_ask(bench, readable, known)))


def _read(bench: Workbench, segment: EncodedSegment) -> Features | None:
    try:
        return bench.cache.get(segment.feature)
    except PermanentError as error:
        if error.reason not in _COMPUTE_AGAIN:
            raise
        uri = bench.open_videos[segment.analysis_id].claim.video.uri
        with log_context(run=bench.run_id, video=uri, segment=segment.segment.index):
            logger.warning("features are computed again: %s", error)
        with bench.database.begin() as connection:
            forget_features(connection, segment.feature.key)
        bench.count("damaged_features")
        _note(bench, segment, TransientError(error.reason, error.detail))
        return None


def _ask(
    bench: Workbench, readable: list[tuple[EncodedSegment, Features]], known: list[dict[str, Answer]]
) -> list[SegmentAnswers]:
    """Ask all segments together; if that fails, each on its own, so that one cannot spoil the others."""
    prompts = bench.recipe.prompts
    names = {prompt.hash: prompt.name for prompt in prompts.prompts}
    try:
        with bench.model() as model, bench.timings.stage("model.language"):
            answers = model.ask(
                [features for _, features in readable],
                [prompts.missing(answered) for answered in known],
                known=[{names[key]: answer for key, answer in answered.items()} for answered in known],
            )
    except NightreelError as error:
        if error.reason not in ABOUT_A_SEGMENT:
            raise
        if len(readable) > 1:
            alone = [_ask(bench, [pair], [answered]) for pair, answered in zip(readable, known, strict=True)]
            return [item for one in alone for item in one]
        _note(bench, readable[0][0], error)
        return []
    return [
        SegmentAnswers(segment=segment, answers=tuple(said))
        for (segment, _), said in zip(readable, answers, strict=True)
    ]


def _note(bench: Workbench, segment: EncodedSegment, error: NightreelError) -> None:
    bench.open_videos[segment.analysis_id].note(segment.segment, error)
