"""The verdicts on answers and on videos: rows of their own, made by `domain.judging` and `domain.rolling`.

One answer has as many verdicts as prompts ask its question. Which of them is on show for a segment is chosen by
`choose_shown`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, literal, select
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.cases import sort_into_cases
from nightreel.database.flag_changes import record_flag_changes
from nightreel.database.policies import InForce
from nightreel.database.results import storable
from nightreel.database.statements import statement
from nightreel.database.whole_answers import shown_whole_answers
from nightreel.domain import (
    Level,
    Prompt,
    PromptKind,
    PromptSet,
    SegmentVerdict,
    Verdict,
    VerdictState,
    judge,
    probability,
    roll_up,
)

_TEXTS = (PromptKind.CAPTION, PromptKind.TEXT)
_BATCH = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVerdict:
    """A verdict to write. `due`: whether the condition of its prompt holds."""

    answer_id: int
    prompt_id: int
    policy_id: int
    kind: PromptKind
    lane: str | None
    verdict: Verdict
    due: bool = True


def known_verdicts(connection: Connection, answer_ids: Collection[int]) -> dict[tuple[int, int], tuple[int, bool]]:
    """The policy and `due` of the verdicts on these answers, by (answer id, prompt id); without errors."""
    verdicts = schema.verdicts
    rows = connection.execute(
        select(verdicts.c.answer_id, verdicts.c.prompt_id, verdicts.c.policy_id, verdicts.c.due).where(
            verdicts.c.answer_id == func.any(list(answer_ids)), verdicts.c.state != VerdictState.ERROR
        )
    )
    return {(row.answer_id, row.prompt_id): (row.policy_id, row.due) for row in rows}


def write_verdicts(connection: Connection, verdicts: Iterable[NewVerdict]) -> None:
    """Write verdicts, or replace those of the same answer and prompt."""
    rows = [
        {
            "answer_id": new.answer_id,
            "prompt_id": new.prompt_id,
            "policy_id": new.policy_id,
            "due": new.due,
            **segment_columns(new.verdict, new.kind, new.lane),
        }
        for new in sorted(verdicts, key=lambda new: (new.answer_id, new.prompt_id))
    ]
    if not rows:
        return
    new = insert(schema.verdicts)
    keys = ("answer_id", "prompt_id")
    changes = {name: new.excluded[name] for name in rows[0] if name not in keys} | {"judged_at": func.now()}
    for start in range(0, len(rows), _BATCH):
        connection.execute(new.on_conflict_do_update(index_elements=keys, set_=changes), rows[start : start + _BATCH])


def choose_shown(connection: Connection, video_ids: Collection[int], set_names: Collection[str]) -> set[int]:
    """Choose, for these videos and prompt sets, which verdict of each segment is on show (`choose_shown.sql`).

    Returns:
        The videos for which something changed.
    """
    rows = connection.execute(
        statement("choose_shown"), {"video_ids": sorted(video_ids), "set_names": sorted(set_names)}
    )
    return set(rows.scalars())


def roll_up_videos(
    connection: Connection,
    video_ids: Collection[int],
    prompts: PromptSet,
    *,
    prompt_ids: Mapping[str, int],
    policies: Mapping[int, InForce],
    only: Collection[str] | None = None,
) -> None:
    """Write the verdicts on videos: from those on show of their segments, and on the answers about whole videos.

    A video without any loses its own.

    Changes of flags become events for webhooks. What people should see becomes cases.

    Args:
        prompts: with the policies in force. prompt_ids: by prompt name. policies: by prompt id.
        only: write those of these prompts; None: of all.
    """
    wanted = [prompt for prompt in prompts.prompts if only is None or prompt.name in only]
    prompts = prompts.with_conditions({prompt.name for prompt in wanted})
    table = schema.video_verdicts
    told = (table.c.video_id, table.c.prompt_id, table.c.state, table.c.flagged, table.c.severity)
    before = connection.execute(
        table.delete()
        .where(
            table.c.video_id == func.any(sorted(video_ids)),
            table.c.prompt_id == func.any(sorted(prompt_ids[prompt.name] for prompt in wanted)),
        )
        .returning(*told)
    ).all()
    rows = [
        *_rolled_up(connection, video_ids, prompts, wanted, prompt_ids=prompt_ids, policies=policies),
        *_of_whole_videos(connection, video_ids, wanted, prompt_ids=prompt_ids, policies=policies),
    ]
    after = connection.execute(insert(table).on_conflict_do_nothing().returning(*told), rows).all() if rows else []
    inserted = {(row.video_id, row.prompt_id) for row in after}
    kept = {(row["video_id"], row["prompt_id"]) for row in rows} - inserted
    record_flag_changes(connection, before, after, kept=kept)
    sort_into_cases(connection, video_ids, prompt_ids=[prompt_ids[prompt.name] for prompt in wanted])


def _rolled_up(
    connection: Connection,
    video_ids: Collection[int],
    prompts: PromptSet,
    wanted: Sequence[Prompt],
    *,
    prompt_ids: Mapping[str, int],
    policies: Mapping[int, InForce],
) -> Iterator[dict[str, Any]]:
    """The rows of verdicts that are rolled up from those on show of the segments."""
    for video_id, shown in sorted(_shown_by_video(connection, video_ids, prompts, prompt_ids=prompt_ids).items()):
        for prompt in wanted:
            own = [row for row in shown.rows[prompt.name] if row.due]
            if not own:
                continue
            rolled = roll_up(
                prompt.question,
                prompt.policy,
                [SegmentVerdict(row.start_s, row.end_s, verdict_of(row), row.scores) for row in own],
                missing=shown.missing[prompt.name],
                covered_s=own[0].covered_s or 0.0,
                expected_s=own[0].expected_s,
            )
            prompt_id = prompt_ids[prompt.name]
            yield {
                "video_id": video_id,
                "prompt_id": prompt_id,
                "policy_id": policies[prompt_id].id,
                **columns_of(rolled.verdict, None, prompt.policy.lane),
                "max_p": rolled.max_p,
                "first_flagged_s": rolled.first_flagged_s,
                "segments": rolled.segments,
                "unknown": rolled.unknown,
                "errors": rolled.errors,
                "missing": rolled.missing,
                "covered_s": own[0].covered_s,
                "expected_s": own[0].expected_s,
                "whole_answer_id": None,
            }


def _of_whole_videos(
    connection: Connection,
    video_ids: Collection[int],
    wanted: Sequence[Prompt],
    *,
    prompt_ids: Mapping[str, int],
    policies: Mapping[int, InForce],
) -> Iterator[dict[str, Any]]:
    """The rows of verdicts on answers about whole videos: nothing is rolled up."""
    prompts = {prompt_ids[prompt.name]: prompt for prompt in wanted if prompt.question.level is Level.VIDEO}
    for (video_id, prompt_id), shown in sorted(shown_whole_answers(connection, video_ids, prompts).items()):
        prompt = prompts[prompt_id]
        verdict = judge(prompt.question, shown.answer, prompt.policy)
        is_found = verdict.state is VerdictState.ANSWERED and verdict.value is not False
        yield {
            "video_id": video_id,
            "prompt_id": prompt_id,
            "policy_id": policies[prompt_id].id,
            **columns_of(verdict, None, prompt.policy.lane),
            "max_p": probability(prompt.question, shown.answer) if is_found else None,
            "first_flagged_s": None,
            "segments": shown.segments,
            "unknown": 0,
            "errors": 0,
            "missing": 0,
            "covered_s": shown.answer.covered_s,
            "expected_s": shown.answer.expected_s,
            "whole_answer_id": shown.id,
        }


def shown_verdicts(
    connection: Connection, video_ids: Collection[int], prompt_ids: Collection[int]
) -> Sequence[Row[Any]]:
    """The verdicts on show of these videos for prompts, by video and in the order of time (`shown_verdicts.sql`)."""
    parameters = {"video_ids": sorted(video_ids), "prompt_ids": sorted(prompt_ids)}
    return connection.execute(statement("shown_verdicts"), parameters).all()


@dataclass(frozen=True, slots=True)
class ShownVerdicts:
    """The verdicts on show of one video.

    Args:
        rows: by prompt name. missing: by prompt name, the segments that have no verdict and should: a follow-up should
            if its condition holds or is undecided.
    """

    rows: Mapping[str, Sequence[Row[Any]]]
    missing: Mapping[str, int]


def _shown_by_video(
    connection: Connection, video_ids: Collection[int], prompts: PromptSet, *, prompt_ids: Mapping[str, int]
) -> dict[int, ShownVerdicts]:
    """The verdicts on show of these videos for prompts, by video id.

    Args:
        prompts: with the conditions of their follow-ups.
    """
    names = {prompt_ids[prompt.name]: prompt.name for prompt in prompts.prompts}
    by_video: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in shown_verdicts(connection, video_ids, names):
        by_video[row.video_id].append(row)
    is_conditional = any(prompt.policy.when for prompt in prompts.prompts)
    found = {}
    for video_id, rows in by_video.items():
        by_prompt: dict[str, list[Row[Any]]] = {name: [] for name in names.values()}
        for row in rows:
            by_prompt[names[row.prompt_id]].append(row)
        seen = {row.segment for row in rows}
        total = max(len(seen), *(row.segments for row in rows))
        if is_conditional:
            missing = _missing(rows, prompts, names, unseen=total - len(seen))
        else:
            missing = {name: total - len(own) for name, own in by_prompt.items()}
        found[video_id] = ShownVerdicts(by_prompt, missing)
    return found


def _missing(rows: Sequence[Row[Any]], prompts: PromptSet, names: Mapping[int, str], *, unseen: int) -> dict[str, int]:
    by_segment: dict[int, dict[str, Verdict]] = defaultdict(dict)
    for row in rows:
        by_segment[row.segment][names[row.prompt_id]] = verdict_of(row)
    missing = dict.fromkeys(names.values(), unseen)
    for verdicts in by_segment.values():
        for prompt in prompts.missing(verdicts):
            missing[prompt.name] += 1
    return missing


def known_video_verdicts(
    connection: Connection, video_ids: Collection[int], prompt_id: int
) -> dict[int, tuple[Verdict, int]]:
    """The stored verdicts on videos for a prompt, with the number of segments without a verdict, by video id."""
    table = schema.video_verdicts
    rows = connection.execute(
        select(
            table,
            literal(None).label("answer_text"),
            literal(False).label("look_again"),
            literal(None).label("found_start_s"),
            literal(None).label("found_end_s"),
        ).where(table.c.video_id == func.any(sorted(video_ids)), table.c.prompt_id == prompt_id)
    )
    return {row.video_id: (verdict_of(row), row.missing) for row in rows}


def verdict_of(row: Row[Any]) -> Verdict:
    """The verdict of a row. The text of a caption is that of its answer, `answer_text`."""
    return made_verdict(row, state=row.state, text=row.text, reason=row.reason, answer_text=row.answer_text)


def made_verdict(
    row: Row[Any], *, state: str, text: str | None, reason: str | None, answer_text: str | None
) -> Verdict:
    """The verdict of a row whose other columns have their own names. The text of a caption is that of its answer."""
    answered = state == VerdictState.ANSWERED
    said = text if text is not None else answer_text if answered else None
    return Verdict(
        state=VerdictState(state),
        value=said if answered and row.value is None else row.value,
        text=said,
        flagged=row.flagged,
        severity=row.severity,
        labels=row.labels or {},
        reason=reason,
        needs_review=row.needs_review,
        look_again=row.look_again,
        start_s=row.found_start_s,
        end_s=row.found_end_s,
    )


def columns_of(verdict: Verdict, kind: PromptKind | None, lane: str | None) -> dict[str, Any]:
    """The columns of a verdict. A text that its answer has is not stored again."""
    is_stored = kind in _TEXTS
    return {
        "state": verdict.state,
        "text": None if is_stored else storable(verdict.text),
        "value": None if is_stored else storable(verdict.value),
        "reason": storable(verdict.reason),
        "labels": dict(verdict.labels) or None,
        "severity": verdict.severity,
        "lane": lane,
        "flagged": verdict.flagged,
        "needs_review": verdict.needs_review,
    }


def segment_columns(verdict: Verdict, kind: PromptKind, lane: str | None) -> dict[str, Any]:
    """The columns of a verdict on a segment."""
    return columns_of(verdict, kind, lane) | {
        "look_again": verdict.look_again,
        "start_s": verdict.start_s,
        "end_s": verdict.end_s,
    }
