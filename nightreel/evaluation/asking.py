"""Ask a candidate, a model with a prompt set, about all labelled videos. Uses no database and stores nothing.

Each answer is judged and rolled up as in a run. Second looks are not made: a "no" that waits for one is unknown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nightreel.asking import AskedSegment, ask_local_file, local_file
from nightreel.domain import (
    Prompt,
    PromptKind,
    PromptSet,
    SegmentVerdict,
    Verdict,
    VerdictState,
    roll_up,
)
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.evaluation.grading import check_answer, is_right
from nightreel.evaluation.labels import Label
from nightreel.media.sandbox import DecoderPool
from nightreel.models.loading import check_model, find_model, load_model
from nightreel.settings import Settings
from nightreel.suggestions import did_you_mean, sentence, there_are

_MOST_MISTAKES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model with a prompt set.

    Args:
        name: how the report calls it.
        settings: of its model, sampling and limits.
    """

    name: str
    settings: Settings
    prompts: PromptSet


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a candidate said where the right answer is known.

    Args:
        question_kind: of the question. verdict: of the part of the video that the label is about.
        p: probability of "yes" of a yes/no question; None if it has none.
    """

    label: Label
    question_kind: PromptKind
    verdict: Verdict
    p: float | None
    right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a candidate needed, without loading its model.

    Args:
        seconds: of fetching, decoding and the model. video_s: seconds of video.
        failures: why videos have no answer at all, by file.
    """

    seconds: float
    videos: int
    video_s: float
    prompt_tokens: int
    generated_tokens: int
    failures: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """All outcomes of a candidate, in the order of the labels."""

    candidate: str
    outcomes: tuple[Outcome, ...]
    cost: Cost


def require_prompts(candidates: Iterable[Candidate], labels: Sequence[Label]) -> None:
    """Check that each candidate asks what is labelled, and that each label can be an answer.

    Raises:
        SettingsError: all mistakes, one per line, up to twenty.
    """
    mistakes: dict[str, None] = {}
    for candidate in candidates:
        for label in labels:
            try:
                prompt = _prompt_of(label, candidate.prompts)
            except SettingsError as error:
                mistakes[f"line {label.line}: {candidate.name}: {error}"] = None
                continue
            if why := check_answer(prompt.question, label.answer):
                mistakes[f"line {label.line}: {label.asked}: {why}"] = None
    if mistakes:
        raise SettingsError("\n".join(list(mistakes)[:_MOST_MISTAKES]))


def ask_candidate(
    candidate: Candidate,
    labels: Sequence[Label],
    *,
    videos: str,
    on_video: Callable[[str, str, int, int], None] = lambda *_: None,
) -> Asked:
    """Ask about each labelled video once, with all its prompts.

    A video that fails has errors as outcomes, and the others go on.

    Args:
        videos: directory or URL below which the labels name files.
        on_video: called before each video with the candidate's name, the video's, its number from 1 on, and how many
            there are.

    Raises:
        SettingsError: a setting, a prompt or a file name cannot work. PermanentError: the model cannot be used.
        TransientError: the store or the model cannot be reached.
    """
    by_file: dict[str, list[Label]] = {}
    for label in labels:
        by_file.setdefault(label.file, []).append(label)
    settings = candidate.settings
    uris = {file: _uri(videos, file) for file in by_file}
    prompt_of = {label: _prompt_of(label, candidate.prompts) for label in labels}
    asked: dict[Label, Outcome] = {}
    replies_of: list[list[AskedSegment]] = []
    failures: dict[str, str] = {}
    found = find_model(settings)
    everything = _to_ask(prompt_of.values(), candidate.prompts)
    check_model(settings, prompts=everything, found=found)
    with (
        closing(load_model(settings, found=found, prompts=everything)) as model,
        DecoderPool.from_settings(settings) as pool,
    ):
        began = time.monotonic()
        for number, (file, own) in enumerate(by_file.items(), 1):
            on_video(candidate.name, file, number, len(by_file))
            prompts = _to_ask([prompt_of[label] for label in own], candidate.prompts)
            try:
                with local_file(uris[file], settings) as path:
                    replies = list(ask_local_file(path, prompts, settings, pool=pool, load=lambda: model))
            except PermanentError as error:
                if isinstance(error, SettingsError):
                    raise
                failures[file] = str(error)
                asked |= {label: _failed(label, prompt_of[label], error) for label in own}
                continue
            replies_of.append(replies)
            asked |= {label: _outcome(label, prompt_of[label], replies) for label in own}
        seconds = time.monotonic() - began
    answers = [one.answer for replies in replies_of for reply in replies for one in reply.answers]
    return Asked(
        candidate=candidate.name,
        outcomes=tuple(asked[label] for label in labels),
        cost=Cost(
            seconds=seconds,
            videos=len(by_file),
            video_s=sum(reply.segment.expected_s for replies in replies_of for reply in replies),
            prompt_tokens=sum(answer.prompt_tokens for answer in answers),
            generated_tokens=sum(answer.generated_tokens for answer in answers),
            failures=failures,
        ),
    )


def _uri(videos: str, file: str) -> str:
    """The address of a video; a name that leads out of the directory is refused.

    Raises:
        SettingsError: on such a name.
    """
    path = PurePosixPath(file)
    if path.is_absolute() or ".." in path.parts:
        raise SettingsError(f"the label's file {file!r} is not below {videos}")
    return f"{videos.rstrip('/')}/{file}" if "://" in videos else str(Path(videos) / file)


def _prompt_of(label: Label, prompts: PromptSet) -> Prompt:
    """The prompt that a label is about: one of the set, or its own question.

    Raises:
        SettingsError: the set has no prompt of this name.
    """
    if label.kind is not None:
        return Prompt.of(name=label.question, kind=label.kind, text=label.question)
    named = {prompt.name: prompt for prompt in prompts.prompts}
    if label.prompt not in named:
        hint = did_you_mean(label.prompt, named)
        raise SettingsError(sentence(f"no prompt {label.prompt!r} in {prompts.name}", hint, there_are(named)))
    return named[label.prompt]


def _to_ask(wanted: Iterable[Prompt], prompts: PromptSet) -> list[Prompt]:
    """These prompts, each once, and those that their conditions name."""
    wanted = dict.fromkeys(wanted)
    named = prompts.with_conditions([one.name for one in wanted if one in prompts.prompts])
    return [*named.prompts, *(one for one in wanted if one not in prompts.prompts)]


def _failed(label: Label, prompt: Prompt, error: NightreelError) -> Outcome:
    verdict = Verdict(state=VerdictState.ERROR, reason=str(error))
    return Outcome(label=label, question_kind=prompt.question.kind, verdict=verdict, p=None, right=False)


def _outcome(label: Label, prompt: Prompt, replies: Sequence[AskedSegment]) -> Outcome:
    end_s = float("inf") if label.end_s is None else label.end_s
    within = [r for r in replies if r.segment.start_s < end_s and r.segment.end_s > label.start_s]
    found = [one for reply in within if (one := _segment_verdict(prompt, reply))]
    if not within:
        verdict = Verdict(state=VerdictState.ERROR, reason=f"the video ends before {label.start_s:g} s")
    elif not found:
        verdict = Verdict(state=VerdictState.UNKNOWN, reason="not asked: its condition did not hold")
    else:
        verdict = roll_up(
            prompt.question,
            prompt.policy,
            found,
            missing=0,
            covered_s=sum(reply.covered_s for reply in within),
            expected_s=sum(reply.segment.expected_s for reply in within),
        ).verdict
    said = [one.scores.get("yes") for one in found if one.scores]
    known = [p for p in said if p is not None] if prompt.question.kind is PromptKind.YES_NO else []
    return Outcome(
        label=label,
        question_kind=prompt.question.kind,
        verdict=verdict,
        p=max(known, default=None),
        right=is_right(prompt.question, verdict, label.answer),
    )


def _segment_verdict(prompt: Prompt, reply: AskedSegment) -> SegmentVerdict | None:
    """None for a follow-up that was not asked."""
    start_s, end_s = reply.segment.start_s, reply.segment.end_s
    if reply.failure is not None:
        return SegmentVerdict(start_s, end_s, Verdict(state=VerdictState.ERROR, reason=str(reply.failure)))
    for one in reply.answers:
        if one.prompt == prompt:
            return SegmentVerdict(start_s, end_s, one.verdict, one.answer.scores)
    return None
