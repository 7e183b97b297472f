"""Second look: what the windows of a segment are asked, and the one answer that their answers make.

The ask stage calls it. The decode stage cuts the windows, and the write stage sends a video on to its second looks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from nightreel.domain import (
    Answer,
    EncodedSegment,
    LookAgain,
    Prompt,
    PromptSet,
    Question,
    SegmentAnswers,
    Window,
    combined,
    probability,
)
from nightreel.media.sampling import windows


def asked_of_windows(prompts: Iterable[Prompt], look: LookAgain) -> tuple[Prompt, ...]:
    """The prompts that want this look, without their conditions: those hold for the segment."""
    return tuple(
        replace(prompt, policy=replace(prompt.policy, when=(), look_again=None))
        for prompt in prompts
        if prompt.policy.look_again and prompt.policy.look_again.key == look.key
    )


def second_look_answers(answered: Sequence[SegmentAnswers], prompts: PromptSet) -> list[SegmentAnswers]:
    """The answers of segments from those of their windows. A segment with a window that was not answered has none."""
    questions = {prompt.question.hash: prompt.question for prompt in prompts.prompts}
    groups: dict[tuple[int, int, str], list[SegmentAnswers]] = defaultdict(list)
    for item in answered:
        assert item.segment.second_look is not None
        segment, look = item.segment.second_look.segment, item.segment.second_look.look
        groups[item.segment.analysis_id, segment.index, look.key].append(item)
    return [one for group in groups.values() for one in _combined(group, questions)]


def _combined(group: Sequence[SegmentAnswers], questions: dict[str, Question]) -> Iterator[SegmentAnswers]:
    second_look = group[0].segment.second_look
    assert second_look is not None
    segment, look = second_look.segment, second_look.look
    wanted = len(windows(segment, look.window_s))
    measured: dict[str, list[tuple[EncodedSegment, Answer]]] = defaultdict(list)
    for item in sorted(group, key=lambda item: item.segment.segment.start_s):
        for answer in item.answers:
            measured[answer.question_hash].append((item.segment, answer))
    for key, own in measured.items():
        if len(own) < wanted:
            continue
        question = questions[key]
        answer = combined(
            question,
            look,
            [
                Window(
                    start_s=window.segment.start_s,
                    end_s=window.segment.end_s,
                    feature_key=window.feature.key,
                    answer=answer,
                )
                for window, answer in own
            ],
            expected_s=segment.expected_s,
        )
        likeliest, _ = max(own, key=lambda pair: probability(question, pair[1]) or 0.0)
        yield SegmentAnswers(segment=replace(likeliest, segment=segment, second_look=None), answers=(answer,))
