"""Judge: store the verdicts on answers, and what they say about their videos. The write stage calls it per chunk.

Each function works in the caller's transaction. Repeating it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from sqlalchemy import Connection

from nightreel.database.answers import StoredAnswer
from nightreel.database.policies import InForce
from nightreel.database.recipes import Recipe
from nightreel.database.verdicts import NewVerdict, choose_shown, known_verdicts, roll_up_videos, write_verdicts
from nightreel.domain import PromptSet, Verdict, VerdictState

Given = Mapping[int, Mapping[int, Mapping[str, StoredAnswer]]]
"""Answers by video id, segment index and question hash: `database.answers.answers_given`."""
Judged = dict[int, dict[int, dict[str, Verdict]]]
"""Verdicts by video id, segment index and prompt name."""


def judged(answers: Mapping[str, StoredAnswer], prompts: PromptSet) -> dict[str, Verdict]:
    """The verdicts on the answers of one segment, by prompt name."""
    return prompts.judge({key: stored.answer for key, stored in answers.items()})


def judge_answers(connection: Connection, given: Given, recipe: Recipe, policies: Mapping[int, InForce]) -> Judged:
    """The verdicts on these answers, without errors. Those that are new or differ in policy are written.

    Args:
        given: with errors.
        policies: in force, locked, by prompt id.
    """
    prompts = recipe.under(policies)
    found: Judged = {}
    wanted: list[NewVerdict] = []
    for video_id, segments in given.items():
        found[video_id] = {}
        for index, answers in segments.items():
            verdicts = judged(answers, prompts)
            usable = {name: one for name, one in verdicts.items() if one.state is not VerdictState.ERROR}
            found[video_id][index] = usable
            due = prompts.due(usable)
            for prompt in prompts.prompts:
                if prompt.name in verdicts:
                    prompt_id = recipe.prompt_ids[prompt.name]
                    wanted.append(
                        NewVerdict(
                            answer_id=answers[prompt.question.hash].id,
                            prompt_id=prompt_id,
                            policy_id=policies[prompt_id].id,
                            kind=prompt.question.kind,
                            lane=prompt.policy.lane,
                            verdict=verdicts[prompt.name],
                            due=due[prompt.name] is not False,
                        )
                    )
    known = known_verdicts(connection, {new.answer_id for new in wanted})
    write_verdicts(
        connection,
        [new for new in wanted if known.get((new.answer_id, new.prompt_id)) != (new.policy_id, new.due)],
    )
    return found


def show_videos(
    connection: Connection,
    recipe: Recipe,
    policies: Mapping[int, InForce],
    *,
    video_ids: Collection[int],
    ended: Collection[int],
) -> None:
    """Choose the verdicts on show of these videos, and roll up those whose analyses have ended."""
    prompts = recipe.under(policies).prompts
    choose_shown(connection, video_ids, {prompt.set_name for prompt in prompts})
    roll_up_videos(connection, ended, prompts, prompt_ids=recipe.prompt_ids, policies=policies)
