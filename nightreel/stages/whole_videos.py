"""Whole videos: ask about a video over notes on its segments, once these have all their answers.

    answers of the segments -> notes -> parts of at most notes_bytes -> sums of the parts, as new notes -> answers
                                        |------ as often as the notes are longer than that -----|

The ask stage asks; the write stage sends a video on to it, and ends its analysis when the answers are there.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from nightreel.database.answers import GivenAnswers, StoredAnswer
from nightreel.database.recipes import Recipe
from nightreel.database.whole_answers import Asked, asked_of_whole, reuse_whole_answers
from nightreel.domain import (
    Answer,
    AnswerState,
    Level,
    Note,
    Notes,
    Prompt,
    PromptKind,
    PromptSet,
    Question,
    Segment,
    WholeAnswers,
)
from nightreel.domain.notes import joined, parts, quoted, said
from nightreel.models.answering import unmeasured
from nightreel.models.base import VideoModel
from nightreel.models.inquiry import Seen
from nightreel.prompts.wording import sum_up

logger = logging.getLogger(__name__)

_SUM_SHARE = 4  # a sum takes at most this part of the notes that a model is given: so each level is shorter
_NOTHING = "nothing was said of the segments of the video"


@dataclass(frozen=True, slots=True, kw_only=True)
class WholeVideo:
    """A video whose segments have all their answers, and what it lacks over one kind of notes."""

    analysis_id: int
    video_id: int
    notes: Notes
    prompts: tuple[Prompt, ...]
    seen: Seen

    @property
    def most_bytes(self) -> int:
        return self.prompts[0].question.notes_bytes


def lacking(
    connection: Connection,
    videos: Mapping[int, tuple[int, Sequence[Segment]]],
    given: Mapping[int, Mapping[int, GivenAnswers]],
    recipe: Recipe,
    prompts: PromptSet,
) -> list[WholeVideo]:
    """What these videos lack, of those whose segments have all their answers.

    A prompt about a whole video is wanted where the video has no answer over exactly these notes.

    Args:
        videos: analysis id and segments, by video id. given: answers by video id and segment index.
        prompts: of the recipe, with the policies in force.
    """
    if not prompts.of_whole_videos:
        return []
    asked = asked_of_whole(connection, list(videos), recipe)
    found = []
    for video_id, (analysis_id, segments) in videos.items():
        own = given.get(video_id, {})
        if not _is_complete(own, segments, prompts):
            continue
        groups: dict[tuple[tuple[str, ...], int], list[Prompt]] = defaultdict(list)
        for prompt in prompts.of_whole_videos:
            groups[prompt.question.over, prompt.question.notes_bytes].append(prompt)
        for (over, _), group in groups.items():
            notes = notes_of(own, segments, _questions(prompts, over))
            lacks = [one for one in group if Asked(video_id, one.question.hash, notes.key) not in asked]
            if lacks:
                found.append(
                    WholeVideo(
                        analysis_id=analysis_id,
                        video_id=video_id,
                        notes=notes,
                        prompts=tuple(lacks),
                        seen=_seen(own, segments),
                    )
                )
    return found


def without_reused(
    connection: Connection, videos: Iterable[WholeVideo], recipe: Recipe, *, run_id: int
) -> list[WholeVideo]:
    """Copy what other videos with the same bytes were asked over the same notes; returns what is still lacking."""
    left = []
    for video in videos:
        reuse_whole_answers(
            connection,
            video_id=video.video_id,
            notes=video.notes,
            prompts=video.prompts,
            recipe=recipe,
            run_id=run_id,
        )
        asked = asked_of_whole(connection, [video.video_id], recipe)
        lacks = [one for one in video.prompts if Asked(video.video_id, one.question.hash, video.notes.key) not in asked]
        if lacks:
            left.append(replace(video, prompts=tuple(lacks)))
    return left


def notes_of(given: Mapping[int, GivenAnswers], segments: Sequence[Segment], questions: Sequence[Question]) -> Notes:
    """The notes on a video: the answers to these questions, segment by segment. A second look comes before a first."""
    notes, ids = [], []
    for segment in segments:
        own = given.get(segment.index)
        answers = [(question, found) for question in questions if own and (found := _answer(own, question))]
        ids += [stored.original_id for _, stored in answers]
        texts = tuple(text for question, stored in answers if (text := said(question, stored.answer)))
        notes.append(Note(segment.start_s, segment.end_s, texts))
    return Notes(joined(notes), tuple(ids))


def ask_whole(model: VideoModel, videos: Sequence[WholeVideo]) -> list[WholeAnswers]:
    """Answer what these videos lack: sum up notes that are too long, level by level, then ask over what is left."""
    summed = _Summing(model, videos)
    summed.run()
    open_ = [place for place, video in enumerate(videos) if summed.left[place] and place not in summed.failed]
    answers = dict.fromkeys(range(len(videos)), ()) | dict(
        zip(
            open_,
            map(
                tuple,
                model.ask_over_notes(
                    [summed.left[place] for place in open_],
                    [videos[place].prompts for place in open_],
                    seen=[videos[place].seen for place in open_],
                )
                if open_
                else [],
            ),
            strict=True,
        )
    )
    return [
        WholeAnswers(
            analysis_id=video.analysis_id,
            video_id=video.video_id,
            notes=video.notes,
            sums=tuple(summed.sums[place]),
            answers=answers[place] or tuple(_not_asked(video, summed.failed.get(place, _NOTHING))),
        )
        for place, video in enumerate(videos)
    ]


class _Summing:
    """Notes that become shorter, level by level.

    Args:
        left: the notes of each video as they are now. sums: those that the model made. failed: why a video has none.
    """

    def __init__(self, model: VideoModel, videos: Sequence[WholeVideo]) -> None:
        self._model = model
        self._videos = videos
        self.left = [video.notes.notes for video in videos]
        self.sums: list[list[Note]] = [[] for _ in videos]
        self.failed: dict[int, str] = {}

    def run(self) -> None:
        while too_long := list(self._too_long()):
            asked = [(place, part) for place, own in too_long for part in own]
            answers = self._model.ask_over_notes(
                [part for _, part in asked],
                [[self._prompt(place)] for place, _ in asked],
                seen=[self._videos[place].seen for place, _ in asked],
            )
            for place, _ in too_long:
                self.left[place] = ()
            for (place, part), (answer,) in zip(asked, answers, strict=True):
                self._take(place, part, answer)

    def _too_long(self) -> Iterator[tuple[int, list[tuple[Note, ...]]]]:
        for place, notes in enumerate(self.left):
            own = parts(notes, most_bytes=self._videos[place].most_bytes)
            if len(own) > 1 and place not in self.failed:
                yield place, own
            elif own:
                self.left[place] = own[0]

    def _take(self, place: int, part: Sequence[Note], answer: Answer) -> None:
        start_s, end_s = part[0].start_s, part[-1].end_s
        if answer.state is not AnswerState.MEASURED or not answer.text:
            why = answer.reason or "the model wrote nothing"
            self.failed[place] = f"the notes on {start_s:g}-{end_s:g} s could not be summed up: {why}"
            return
        most = self._videos[place].most_bytes // _SUM_SHARE
        text = answer.text.encode()[:most].decode(errors="ignore")
        self.sums[place].append(Note(start_s, end_s, (text,)))
        self.left[place] += (Note(start_s, end_s, (quoted(text),)),)

    def _prompt(self, place: int) -> Prompt:
        language = self._videos[place].prompts[0].question.language
        question = Question(
            kind=PromptKind.TEXT, text=sum_up(language), max_new_tokens=256, level=Level.VIDEO, language=language
        )
        return Prompt(name="sum", question=question)


def _not_asked(video: WholeVideo, why: str) -> Iterator[Answer]:
    for prompt in video.prompts:
        yield replace(
            unmeasured(prompt.question, why, tokens=0),
            covered_s=video.seen.covered_s,
            expected_s=video.seen.expected_s,
        )


def _is_complete(given: Mapping[int, GivenAnswers], segments: Sequence[Segment], prompts: PromptSet) -> bool:
    for segment in segments:
        verdicts = given[segment.index].verdicts(prompts) if segment.index in given else {}
        if prompts.missing(verdicts) or prompts.to_look_again(verdicts):
            return False
    return bool(segments)


def _questions(prompts: PromptSet, over: Iterable[str]) -> list[Question]:
    """The questions with these hashes, in the order of the prompts."""
    wanted = set(over)
    return list(dict.fromkeys(one.question for one in prompts.prompts if one.question.hash in wanted))


def _answer(given: GivenAnswers, question: Question) -> StoredAnswer | None:
    looks = [stored for (key, _), stored in given.looks.items() if key == question.hash]
    return max(looks, key=lambda stored: stored.id, default=given.first.get(question.hash))


def _seen(given: Mapping[int, GivenAnswers], segments: Sequence[Segment]) -> Seen:
    """How much of the video was seen: of each segment, what its first answer has seen."""
    covered = [
        next((stored.answer.covered_s for stored in given[one.index].first.values()), 0.0)
        for one in segments
        if one.index in given
    ]
    return Seen(sum(covered), sum(one.expected_s for one in segments))
