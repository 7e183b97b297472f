"""What two versions of a policy say about the stored answers: the verdicts on videos that differ. It asks no model.

Both judge the answers on show, so verdicts of the older version need not be kept. Conditions (`when`) and second looks
count as they stand now.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row

from nightreel.database.answers import answer_of
from nightreel.database.connection import Database
from nightreel.database.flag_changes import EventType, flag_change
from nightreel.database.judged_answers import answers_of_videos, restricted_videos, videos_with_segments
from nightreel.database.policies import PolicyVersion, find_version, policies_in_force
from nightreel.database.rejudging import prompts_of_set, questions_of
from nightreel.database.verdicts import known_video_verdicts, shown_verdicts
from nightreel.domain import Policy, Question, Verdict, judge
from nightreel.errors import SettingsError
from nightreel.stages.preview import roll_up_shown, said

_VIDEOS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoChange:
    """A video on which two versions disagree.

    Args:
        flag: what becomes of its flag; None: it has none by either version, or the same by both.
        before, after: the verdicts, in a few words.
    """

    video_id: int
    uri: str
    flag: EventType | None
    before: str
    after: str


def find_two(database: Database, old_id: int, new_id: int | None = None) -> tuple[PolicyVersion, PolicyVersion]:
    """Two versions of the policy of one prompt, by their ids. The second one is the one in force unless it is given.

    Raises:
        SettingsError: there is no such version, or they are of two prompts.
    """
    with database.begin() as connection:
        old = _find(connection, old_id)
        if new_id is None:
            new_id = policies_in_force(connection, [old.prompt_id])[old.prompt_id].id
        new = _find(connection, new_id)
    if old.prompt_id != new.prompt_id:
        raise SettingsError(
            f"policy {old_id} is of {old.set_name}/{old.prompt}, policy {new_id} of {new.set_name}/{new.prompt}: "
            "expected two of one prompt"
        )
    return old, new


def _find(connection: Connection, policy_id: int) -> PolicyVersion:
    found = find_version(connection, policy_id)
    if found is None:
        raise SettingsError(f"there is no policy {policy_id}: `nightreel policy history` lists them")
    return found


def changes_between(
    database: Database, old: PolicyVersion, new: PolicyVersion, *, restricted: bool = False
) -> Iterator[VideoChange]:
    """The videos on which two versions of one prompt disagree, by id. Reads some videos at a time.

    Args:
        restricted: include videos with a verdict that restricts who may see them.
    """
    with database.begin() as connection:
        questions = questions_of(connection, new.prompt_id)
        question = prompts_of_set(connection, new.set_name)[new.prompt_id].question
        last = 0
        while ids := videos_with_segments(connection, after=last, limit=_VIDEOS):
            hidden = set() if restricted else restricted_videos(connection, ids)
            shown = [video_id for video_id in ids if video_id not in hidden]
            yield from _changes(connection, old, new, shown, question, questions)
            last = ids[-1]


def _changes(
    connection: Connection,
    old: PolicyVersion,
    new: PolicyVersion,
    video_ids: Sequence[int],
    question: Question,
    questions: Mapping[int, Question],
) -> Iterator[VideoChange]:
    """The changes of some videos. `question`: asked now; `questions`: ever asked, by id."""
    answers = answers_of_videos(connection, video_ids, prompt_id=new.prompt_id, question_ids=questions)
    uris = {row.video_id: row.uri for row in answers}
    policies = old.policy, new.policy
    judged = [{row.answer_id: _judged(row, questions, policy) for row in answers if row.shown} for policy in policies]
    known = known_video_verdicts(connection, video_ids, new.prompt_id)
    rows = [row for row in shown_verdicts(connection, video_ids, [new.prompt_id]) if row.due]
    for video_id, group in groupby(rows, key=lambda row: row.video_id):
        if video_id not in known:
            continue
        own, (_, missing) = list(group), known[video_id]
        before, after = (
            roll_up_shown(question, policy, own, judged=verdicts, missing=missing)
            for policy, verdicts in zip(policies, judged, strict=True)
        )
        if said(before) != said(after):
            yield VideoChange(
                video_id=video_id,
                uri=uris[video_id],
                flag=flag_change(before, after),
                before=said(before),
                after=said(after),
            )


def _judged(row: Row[Any], questions: Mapping[int, Question], policy: Policy) -> Verdict:
    question = questions[row.question_id]
    return judge(question, answer_of(row, question.hash).answer, policy)
