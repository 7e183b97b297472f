"""Re-judge: bring stored verdicts up to date with the policies in force. No model is asked.

It works in batches, one transaction each, and continues where it was cut off. Several processes may do it at the same
time: they take the batches in turn. A follow-up or a second look that becomes due puts the analysis of its video back
to pending, and the next run asks it. One that is no longer due keeps its answer, marked.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, Row

from nightreel.database.answers import answer_of
from nightreel.database.connection import Database
from nightreel.database.documents import index_videos
from nightreel.database.judged_answers import (
    answers_of,
    answers_of_videos,
    reopen_analyses,
    set_due,
    verdicts_of,
    videos_of,
    videos_with_segments,
)
from nightreel.database.policies import mark_applied, policies_in_force
from nightreel.database.rejudging import (
    Change,
    Pass,
    Progress,
    lock_progress,
    passes_of,
    pending_changes,
    prompts_of_set,
    record_progress,
)
from nightreel.database.verdicts import (
    NewVerdict,
    choose_shown,
    roll_up_videos,
    segment_columns,
    verdict_of,
    write_verdicts,
)
from nightreel.database.whole_answers import videos_asked_whole
from nightreel.domain import Prompt, PromptSet, Verdict, VerdictState, judge

logger = logging.getLogger(__name__)

_BATCH = 2000
_VIDEOS = 500

OnProgress = Callable[[Change, Progress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejudged:
    """What re-judging did: verdicts judged and changed, and analyses that follow-ups put back to pending."""

    judged: int = 0
    changed: int = 0
    reopened: int = 0


def log_progress(change: Change, progress: Progress) -> None:
    logger.info(
        "policy of prompt %r of set %r: %d answers judged again, %d verdicts changed",
        change.name,
        change.set_name,
        progress.judged,
        progress.changed,
    )


def apply_changes(database: Database, *, on_progress: OnProgress = lambda *_: None) -> Rejudged:
    """Judge the stored answers that policies in force can touch, and were not judged by them yet.

    Args:
        on_progress: called after each batch.
    """
    with database.begin() as connection:
        changes = pending_changes(connection)
    total = Rejudged()
    for change in changes:
        passes = passes_of(change)
        while True:
            with database.begin() as connection:
                progress = lock_progress(connection, change.policy.id)
                if progress is None:
                    break
                if progress.passes == len(passes):
                    mark_applied(connection, change.policy.id)
                    break
                after, reopened = _batch(connection, change, passes[progress.passes], progress)
                record_progress(connection, change.policy.id, after)
            total = Rejudged(
                judged=total.judged + after.judged - progress.judged,
                changed=total.changed + after.changed - progress.changed,
                reopened=total.reopened + reopened,
            )
            on_progress(change, after)
    return total


def _batch(connection: Connection, change: Change, one: Pass, progress: Progress) -> tuple[Progress, int]:
    """Judge the next batch of a pass. Returns how far the change is applied then, and the reopened analyses."""
    match one.kind:
        case "all":
            return _all_of_videos(connection, change, progress)
        case "videos":
            if change.of_whole_videos:
                videos = videos_asked_whole(connection, change.questions, after=progress.id, limit=_VIDEOS)
            else:
                videos = videos_of(connection, _followed(connection, change), after=progress.id, limit=_VIDEOS)
            return _next(progress, videos), _follow(connection, change, videos)
    rows = answers_of(connection, one, prompt_id=change.prompt_id, after=(progress.p, progress.id), limit=_BATCH)
    changed = _judge(connection, change, rows)
    reopened = _follow(connection, change, {row.video_id for row in changed})
    after = replace(progress, judged=progress.judged + len(rows), changed=progress.changed + len(changed))
    if len(rows) < _BATCH:
        return replace(after, passes=progress.passes + 1, p=-1.0, id=0), reopened
    return replace(after, p=rows[-1].p if one.kind == "range" else -1.0, id=rows[-1].answer_id), reopened


def _all_of_videos(connection: Connection, change: Change, progress: Progress) -> tuple[Progress, int]:
    """Judge all answers of the next videos. Verdicts that are made for the first time are shown by `stages.show`."""
    videos = videos_with_segments(connection, after=progress.id, limit=_VIDEOS)
    is_first = not change.earlier
    rows = answers_of_videos(
        connection, videos, prompt_id=change.prompt_id, question_ids=change.questions, new=is_first
    )
    changed = _judge(connection, change, rows)
    reopened = 0 if is_first else _follow(connection, change, {row.video_id for row in rows})
    judged = replace(progress, judged=progress.judged + len(rows), changed=progress.changed + len(changed))
    return _next(judged, videos), reopened


def _next(progress: Progress, videos: Sequence[int]) -> Progress:
    if len(videos) < _VIDEOS:
        return replace(progress, passes=progress.passes + 1, p=-1.0, id=0)
    return replace(progress, id=videos[-1])


def _judge(connection: Connection, change: Change, rows: Sequence[Row[Any]]) -> list[Row[Any]]:
    """Judge answers, and write the verdicts that differ from the stored ones. Returns the rows of these."""
    policy = change.policy.policy
    look = policy.look_again.key if policy.look_again else ""
    verdicts = {
        row.answer_id: judge(
            change.questions[row.question_id], answer_of(row, change.questions[row.question_id].hash).answer, policy
        )
        for row in rows
    }
    look_again = {_asked(row) for row in rows if verdicts[row.answer_id].look_again}
    changed, new = [], []
    for row in rows:
        kind, verdict = change.questions[row.question_id].kind, verdicts[row.answer_id]
        is_new = row.verdict_state is None
        if is_new and row.look not in ("", look):
            continue
        if not is_new and segment_columns(verdict, kind, policy.lane) == _stored_columns(row):
            continue
        changed.append(row)
        new.append(
            NewVerdict(
                answer_id=row.answer_id,
                prompt_id=change.prompt_id,
                policy_id=change.policy.id,
                kind=kind,
                lane=policy.lane,
                verdict=verdict,
                due=_asked(row) in look_again if is_new and row.look else row.due is not False,
            )
        )
    write_verdicts(connection, new)
    return changed


def _asked(row: Row[Any]) -> tuple[int, int, int]:
    """What a first and a second look at a segment have in common."""
    return row.segment_id, row.question_id, row.model_id


def _followed(connection: Connection, change: Change) -> set[int]:
    """The prompts whose videos a change of conditions or of the roll-up concerns: its own, and its conditions."""
    conditions = {name for name, _ in change.policy.policy.when}
    prompts = prompts_of_set(connection, change.set_name)
    return {key for key, prompt in prompts.items() if prompt.name in conditions} | {change.prompt_id}


def _follow(connection: Connection, change: Change, video_ids: Collection[int]) -> int:
    """Roll these videos up again, and find the follow-ups that are due or no longer due. Returns reopened analyses."""
    if not video_ids:
        return 0
    prompts = prompts_of_set(connection, change.set_name)
    rolled = {change.name}
    reopened = 0
    looks = [policy.look_again for policy in (*change.earlier, *(prompt.policy for prompt in prompts.values()))]
    if any(looks) or any(prompt.policy.when for prompt in prompts.values()):
        marks, lacking = _due_again(connection, change, prompts, video_ids)
        for is_due, keys in marks.items():
            set_due(connection, keys, due=is_due)
            rolled |= {prompts[prompt_id].name for _, prompt_id in keys}
        for prompt_id, videos in lacking.items():
            reopened += reopen_analyses(connection, videos, [prompt_id])
            rolled.add(prompts[prompt_id].name)
        if any(looks):
            choose_shown(connection, video_ids, [change.set_name])
    roll_up_videos(
        connection,
        video_ids,
        PromptSet(change.set_name, tuple(prompts.values())),
        prompt_ids={prompt.name: prompt_id for prompt_id, prompt in prompts.items()},
        policies=policies_in_force(connection, prompts),
        only=rolled,
    )
    index_videos(connection, video_ids)
    return reopened


def _due_again(
    connection: Connection, change: Change, prompts: Mapping[int, Prompt], video_ids: Collection[int]
) -> tuple[dict[bool, set[tuple[int, int]]], dict[int, set[int]]]:
    """Which verdicts become due or cease to be, by (answer id, prompt id); and the videos that lack what is due now.

    They lack a follow-up, or a second look for the changed prompt.
    """
    ids = {prompt.name: prompt_id for prompt_id, prompt in prompts.items()}
    prompt_set = PromptSet("", tuple(prompts.values()))
    segments: dict[tuple[int, int], list[Row[Any]]] = defaultdict(list)
    for row in verdicts_of(connection, video_ids, prompts):
        segments[row.segment_id, row.model_id].append(row)
    marks: dict[bool, set[tuple[int, int]]] = {True: set(), False: set()}
    lacking: dict[int, set[int]] = defaultdict(set)
    for rows in segments.values():
        decisive = _decisive(rows, prompts)
        verdicts = {prompts[prompt_id].name: verdict_of(row) for prompt_id, row in decisive.items()}
        due = prompt_set.due(verdicts)
        for row in rows:
            is_due = due[prompts[row.prompt_id].name] is not False and (
                not row.look or row is decisive.get(row.prompt_id)
            )
            if row.due != is_due:
                marks[is_due].add((row.answer_id, row.prompt_id))
        missing = _newly_due(prompt_set, verdicts, due)
        missing += [prompt.name for prompt in prompt_set.to_look_again(verdicts) if prompt.name == change.name]
        for name in missing:
            lacking[ids[name]].add(rows[0].video_id)
    return marks, lacking


def _decisive(rows: Sequence[Row[Any]], prompts: Mapping[int, Prompt]) -> dict[int, Row[Any]]:
    """The newest first look of a segment for each prompt, or its second look if the policy wants one."""
    found = {row.prompt_id: row for row in rows if not row.look}
    first = dict(found)
    for row in rows:
        look = prompts[row.prompt_id].policy.look_again
        before = first.get(row.prompt_id)
        if (
            before is not None
            and look is not None
            and row.look == look.key
            and row.question_id == before.question_id
            and before.look_again
            and row.state != VerdictState.ERROR
        ):
            found[row.prompt_id] = row
    return found


def _newly_due(prompts: PromptSet, verdicts: dict[str, Verdict], due: dict[str, bool | None]) -> list[str]:
    """The follow-ups whose condition holds and that have no verdict yet."""
    return [
        prompt.name
        for prompt in prompts.prompts
        if prompt.policy.when and due[prompt.name] and prompt.name not in verdicts
    ]


def _stored_columns(row: Row[Any]) -> dict[str, Any]:
    return {
        "state": row.verdict_state,
        "text": row.verdict_text,
        "value": row.value,
        "reason": row.verdict_reason,
        "labels": row.labels,
        "severity": row.severity,
        "lane": row.lane,
        "flagged": row.flagged,
        "needs_review": row.needs_review,
        "look_again": row.look_again,
        "start_s": row.found_start_s,
        "end_s": row.found_end_s,
    }
