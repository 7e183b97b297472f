"""Preview: what a change of policy would do to the verdicts on show. It asks no model and changes nothing."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row

from nightreel.database.answers import answer_of
from nightreel.database.connection import Database
from nightreel.database.judged_answers import (
    answers_of,
    answers_of_videos,
    stored_verdict,
    videos_of,
    videos_with_segments,
)
from nightreel.database.policies import InForce, policies_in_force
from nightreel.database.rejudging import Change, Pass, find_prompts, passes_of, questions_of
from nightreel.database.verdicts import known_video_verdicts, shown_verdicts, verdict_of
from nightreel.database.whole_answers import shown_whole_answers
from nightreel.domain import (
    UNSURE,
    Level,
    Policy,
    Prompt,
    PromptSet,
    Question,
    SegmentVerdict,
    Verdict,
    VerdictState,
    judge,
    roll_up,
)

_BATCH = 5000
_VIDEOS = 500
_EXAMPLES = 10


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Example:
    """A verdict that would change. `distance`: how far p is from the nearest limit that moved."""

    distance: float
    uri: str
    start_s: float
    end_s: float
    p: float | None = field(compare=False)
    before: str = field(compare=False)
    after: str = field(compare=False)
    video_id: int = field(compare=False)


@dataclass(slots=True, kw_only=True)
class PromptPreview:
    """What would change for one prompt.

    Args:
        asked: whether its question is asked already; if not, its policy comes into force with the first run.
        differences: of the policy in force and the new one, by key.
        judged: answers that were read. segments, videos: verdicts that would change, by (before, after).
        examples: those nearest to a limit.
    """

    prompt: Prompt
    asked: bool
    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    judged: int = 0
    segments: Counter[tuple[str, str]] = field(default_factory=Counter)
    videos: Counter[tuple[str, str]] = field(default_factory=Counter)
    examples: list[Example] = field(default_factory=list)


def preview(
    database: Database, prompts: PromptSet, *, since: datetime | None = None, restricted: bool = True
) -> list[PromptPreview]:
    """What the policies of these prompts would change.

    Args:
        since: count only answers that were given since then.
        restricted: name restricted videos as examples; they are counted anyway.
    """
    with database.begin() as connection:
        known = find_prompts(connection, prompts.prompts)
        policies = policies_in_force(connection, [row.id for row in known.values()])
    found = []
    for prompt in prompts.prompts:
        row = known.get((prompt.set_name, prompt.name))
        asked = row is not None and row.question_hash == prompt.question.hash
        one = PromptPreview(prompt=prompt, asked=asked)
        found.append(one)
        if row is None:
            continue
        old = policies[row.id].policy
        one.differences = differences(old, prompt.policy)
        if one.differences:
            with database.begin() as connection:
                _Preview(connection, one, row.id, old, since, restricted=restricted).run()
    return found


def differences(old: Policy, new: Policy) -> dict[str, tuple[Any, Any]]:
    """The keys of two policies whose values differ, with both values."""
    before, after = old.to_json(), new.to_json()
    return {key: (before[key], after[key]) for key in after if before[key] != after[key]}


def said(verdict: Verdict) -> str:
    """A verdict in a few words: its answer and its unsure tags, or "unknown"; its flag and severity."""
    unsure = ", ".join(tag for tag, label in verdict.labels.items() if label == UNSURE)
    answer = (verdict.text or "none") if verdict.state is VerdictState.ANSWERED else str(verdict.state)
    severity = "" if verdict.severity is None else f" {verdict.severity}"
    return answer + (f" (unsure: {unsure})" if unsure else "") + (f", flagged{severity}" if verdict.flagged else "")


def roll_up_shown(
    question: Question, policy: Policy, rows: Sequence[Row[Any]], *, judged: Mapping[int, Verdict], missing: int
) -> Verdict:
    """The verdict on a video.

    Args:
        rows: of `shown_verdicts`, those of this video. judged: verdicts that replace theirs, by answer id.
        missing: segments without a verdict.
    """
    return roll_up(
        question,
        policy,
        [
            SegmentVerdict(row.start_s, row.end_s, judged.get(row.answer_id) or verdict_of(row), row.scores)
            for row in rows
        ],
        missing=missing,
        covered_s=rows[0].covered_s or 0.0,
        expected_s=rows[0].expected_s,
    ).verdict


class _Preview:
    def __init__(
        self,
        connection: Connection,
        found: PromptPreview,
        prompt_id: int,
        old: Policy,
        since: datetime | None,
        *,
        restricted: bool,
    ) -> None:
        self._connection = connection
        self._found = found
        self._prompt_id = prompt_id
        self._old = old
        self._since = since
        self._restricted = restricted
        self._change = Change(
            prompt_id=prompt_id,
            set_name=found.prompt.set_name,
            name=found.prompt.name,
            policy=InForce(0, found.prompt.policy),
            earlier=(old,),
            questions=questions_of(connection, prompt_id),
        )
        self._touches = self._change.touches
        self._examples: list[tuple[float, int, Example]] = []
        self._after: dict[int, Verdict] = {}  # verdicts that change, by answer id

    def run(self) -> None:
        videos: set[int] = set()
        seen: set[int] = set()
        for one in passes_of(self._change):
            match one.kind:
                case "all":
                    self._judge_videos()
                case "videos":
                    videos.update(self._all_videos())
                case _:
                    for row in self._answers(one):
                        if row.answer_id not in seen and self._judge(row):
                            videos.add(row.video_id)
                        if one.kind == "bounded" or row.bounds:
                            seen.add(row.answer_id)
        self._found.examples = [example for *_, example in sorted(self._examples, reverse=True)]
        ids = sorted(videos)
        for start in range(0, len(ids), _VIDEOS):
            self._roll_up(ids[start : start + _VIDEOS])

    def _judge_videos(self) -> None:
        """Judge all answers, some videos at a time, so that memory stays flat."""
        last = 0
        while ids := videos_with_segments(self._connection, after=last, limit=_VIDEOS):
            rows = answers_of_videos(
                self._connection,
                ids,
                prompt_id=self._prompt_id,
                question_ids=self._change.questions,
                since=self._since,
            )
            for row in rows:
                self._judge(row)
            self._roll_up(ids)
            self._after.clear()
            last = ids[-1]

    def _answers(self, one: Pass) -> Iterator[Row[Any]]:
        after = (-1.0, 0)
        while True:
            rows = answers_of(
                self._connection, one, prompt_id=self._prompt_id, after=after, limit=_BATCH, since=self._since
            )
            yield from rows
            if len(rows) < _BATCH:
                return
            after = (-1.0 if rows[-1].p is None else rows[-1].p, rows[-1].answer_id)

    def _all_videos(self) -> Iterator[int]:
        after = 0
        while ids := videos_of(self._connection, [self._prompt_id], after=after, limit=_VIDEOS):
            yield from ids
            after = ids[-1]

    def _judge(self, row: Row[Any]) -> bool:
        """Count an answer on show. Returns whether its verdict changes."""
        if not row.shown:
            return False
        self._found.judged += 1
        question = self._change.questions[row.question_id]
        if not self._touches[row.question_id].includes(row.p, bounded=bool(row.bounds)):
            return False
        before = stored_verdict(row)
        after = judge(question, answer_of(row, question.hash).answer, self._found.prompt.policy)
        if before == after:
            return False
        self._after[row.answer_id] = after
        if said(before) == said(after):
            return True
        self._found.segments[said(before), said(after)] += 1
        if row.restricted and not self._restricted:
            return True
        limits = {limit for policy in (self._old, self._found.prompt.policy) for limit in _limits(policy)}
        distance = 1.0 if row.p is None else min(abs(row.p - limit) for limit in limits)
        example = Example(
            distance=distance,
            uri=row.uri,
            start_s=row.start_s,
            end_s=row.end_s,
            p=row.p,
            before=said(before),
            after=said(after),
            video_id=row.video_id,
        )
        push = heapq.heappush if len(self._examples) < _EXAMPLES else heapq.heappushpop
        push(self._examples, (-distance, -row.answer_id, example))
        return True

    def _roll_up(self, video_ids: Sequence[int]) -> None:
        if self._found.prompt.question.level is Level.VIDEO:
            self._judge_whole(video_ids)
            return
        rows = [row for row in shown_verdicts(self._connection, video_ids, [self._prompt_id]) if row.due]
        known = known_video_verdicts(self._connection, video_ids, self._prompt_id)
        prompt = self._found.prompt
        for video_id, group in groupby(rows, key=lambda row: row.video_id):
            if video_id not in known:
                continue
            before, missing = known[video_id]
            after = roll_up_shown(prompt.question, prompt.policy, list(group), judged=self._after, missing=missing)
            if said(before) != said(after):
                self._found.videos[said(before), said(after)] += 1

    def _judge_whole(self, video_ids: Sequence[int]) -> None:
        prompt = self._found.prompt
        known = known_video_verdicts(self._connection, video_ids, self._prompt_id)
        shown = shown_whole_answers(self._connection, video_ids, {self._prompt_id: prompt})
        for (video_id, _), one in shown.items():
            self._found.judged += 1
            before, after = known.get(video_id), judge(prompt.question, one.answer, prompt.policy)
            if before and said(before[0]) != said(after):
                self._found.videos[said(before[0]), said(after)] += 1


def _limits(policy: Policy) -> list[float]:
    return [limit for band in (policy.band, *dict(policy.bands).values()) for limit in band]
