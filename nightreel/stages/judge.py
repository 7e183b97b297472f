"""Judge: store the verdicts on answers, and what they say about their videos. The write stage calls it per chunk.

Each function works in the caller's transaction. Repeating it changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from sqlalchemy import Connection

from nightreel.database.answers import GivenAnswers, StoredAnswer
from nightreel.database.policies import InForce
from nightreel.database.recipes import Recipe
from nightreel.database.verdicts import NewVerdict, choose_shown, known_verdicts, roll_up_videos, write_verdicts
from nightreel.domain import AnswerState, Prompt, Verdict, VerdictState, judge

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
            verdicts = answers.verdicts(prompts)
            usable = {name: one for name, one in verdicts.items() if one.state is not VerdictState.ERROR}
            found[video_id][index] = usable
            due = prompts.due(usable)
            for prompt in prompts.prompts:
                policy = policies[recipe.prompt_ids[prompt.name]]
                wanted += _verdicts(prompt, answers, policy, recipe, is_due=due[prompt.name] is not False)
    known = known_verdicts(connection, {new.answer_id for new in wanted})
    write_verdicts(
        connection,
        [new for new in wanted if known.get((new.answer_id, new.prompt_id)) != (new.policy_id, new.due)],
    )
    return found


def _verdicts(
    prompt: Prompt, answers: GivenAnswers, policy: InForce, recipe: Recipe, *, is_due: bool
) -> Iterator[NewVerdict]:
    """The verdicts on the first answer to a prompt, and on that of its second look."""

    def new(stored: StoredAnswer, verdict: Verdict, *, due: bool) -> NewVerdict:
        return NewVerdict(
            answer_id=stored.id,
            prompt_id=recipe.prompt_ids[prompt.name],
            policy_id=policy.id,
            kind=prompt.question.kind,
            lane=prompt.policy.lane,
            verdict=verdict,
            due=due,
        )

    question, look = prompt.question, prompt.policy.look_again
    first = answers.first.get(question.hash)
    if first is None:
        return
    verdict = judge(question, first.answer, prompt.policy)
    yield new(first, verdict, due=is_due)
    second = answers.looks.get((question.hash, look.key)) if look else None
    if second is not None:
        is_usable = second.answer.state is not AnswerState.ERROR
        wanted = is_due and verdict.look_again and is_usable
        yield new(second, judge(question, second.answer, prompt.policy), due=wanted)


def show_videos(
    connection: Connection,
    recipe: Recipe,
    policies: Mapping[int, InForce],
    *,
    video_ids: Collection[int],
    ended: Collection[int],
) -> None:
    """Choose the verdicts on show of these videos, and roll up those whose analyses have ended."""
    prompts = recipe.under(policies)
    choose_shown(connection, video_ids, {prompt.set_name for prompt in prompts.prompts})
    roll_up_videos(connection, ended, prompts, prompt_ids=recipe.prompt_ids, policies=policies)
