"""Judge: store the verdicts on answers, and what they say about their videos. The write stage calls it per chunk.

Each function works in the caller's transaction. Repeating it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import Connection

from nightreel.database.answers import GivenAnswers
from nightreel.database.documents import index_videos
from nightreel.database.policies import InForce
from nightreel.database.recipes import Recipe
from nightreel.database.verdicts import NewVerdict, choose_shown, known_verdicts, roll_up_videos, write_verdicts
from nightreel.domain import BothVerdicts, Prompt, Verdict, VerdictState

Given = Mapping[int, Mapping[int, GivenAnswers]]
"""Answers by video id and segment index: `database.answers.answers_given`."""
Judged = dict[int, dict[int, dict[str, Verdict]]]
"""Verdicts by video id, segment index and prompt name."""


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
            both = answers.both_verdicts(prompts)
            usable = {name: one.decisive for name, one in both.items() if one.decisive.state is not VerdictState.ERROR}
            found[video_id][index] = usable
            due = prompts.due(usable)
            for prompt in prompts.prompts:
                if prompt.name in both:
                    prompt_id = recipe.prompt_ids[prompt.name]
                    wanted += _new_verdicts(
                        prompt,
                        answers,
                        both[prompt.name],
                        prompt_id,
                        policies[prompt_id],
                        due=due[prompt.name] is not False,
                    )
    known = known_verdicts(connection, {new.answer_id for new in wanted})
    write_verdicts(
        connection,
        [new for new in wanted if known.get((new.answer_id, new.prompt_id)) != (new.policy_id, new.due)],
    )
    return found


def _new_verdicts(
    prompt: Prompt, answers: GivenAnswers, both: BothVerdicts, prompt_id: int, policy: InForce, *, due: bool
) -> Iterator[NewVerdict]:
    """The verdicts to store on the first answer to a prompt, and on that of its second look."""
    question, look = prompt.question, prompt.policy.look_again
    given = [(answers.first[question.hash], both.first, due)]
    if both.second is not None and look is not None:
        given.append((answers.looks[question.hash, look.key], both.second, due and both.decisive is both.second))
    for stored, verdict, is_due in given:
        yield NewVerdict(
            answer_id=stored.id,
            prompt_id=prompt_id,
            policy_id=policy.id,
            kind=question.kind,
            lane=prompt.policy.lane,
            verdict=verdict,
            due=is_due,
        )


def show_videos(
    connection: Connection,
    recipe: Recipe,
    policies: Mapping[int, InForce],
    *,
    video_ids: Collection[int],
    ended: Collection[int],
) -> None:
    """Choose the verdicts on show of these videos, roll up those whose analyses have ended, and index their words."""
    prompts = recipe.under(policies)
    choose_shown(connection, video_ids, {prompt.set_name for prompt in prompts.prompts})
    roll_up_videos(connection, ended, prompts, prompt_ids=recipe.prompt_ids, policies=policies)
    index_videos(connection, video_ids)
