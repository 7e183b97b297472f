"""Changes of policy: which are not applied to all stored answers yet, what each can touch, and how far it is applied.

A change is applied in passes: over each range of p that it can touch, over answers without p, over those with bounds,
over videos. `judged_answers` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, or_, select, tuple_, update

from nightreel.database import schema
from nightreel.database.policies import InForce
from nightreel.domain import EVERYTHING, Level, Policy, Prompt, Question, Touched, touched


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A policy that came into force, and those by which stored answers may still be judged.

    Args:
        earlier: the last one that was applied, and those after it; empty: no answer is judged yet.
        questions: all questions that the prompt has ever asked, by the id of their row.
    """

    prompt_id: int
    set_name: str
    name: str
    policy: InForce
    earlier: tuple[Policy, ...]
    questions: dict[int, Question]

    @property
    def touches(self) -> dict[int, Touched]:
        """What may differ, by the id of a question about segments."""
        found = {}
        for question_id, question in self.questions.items():
            if question.level is Level.VIDEO:
                continue
            parts = [touched(question, old, self.policy.policy) for old in self.earlier or (None,)]
            found[question_id] = Touched.any_of(parts)
        return found

    @property
    def of_whole_videos(self) -> bool:
        """Whether the prompt has asked about whole videos: their answers have no verdicts but those on videos."""
        return any(question.level is Level.VIDEO for question in self.questions.values())

    @property
    def conditions_changed(self) -> bool:
        return any(old.when != self.policy.policy.when for old in self.earlier)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass over answers of a question; or over videos: all their answers, or only their roll-up."""

    kind: Literal["all", "range", "unscored", "bounded", "videos"]
    question_id: int = 0
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a change is applied: `passes` are finished, and the one after them is at (`p`, `id`)."""

    passes: int = 0
    p: float = -1.0
    id: int = 0
    judged: int = 0
    changed: int = 0


def passes_of(change: Change) -> list[Pass]:
    """The passes of a change, in their order."""
    found: list[Pass] = []
    whole = [Pass(kind="videos")] if change.of_whole_videos else []
    touches = change.touches
    if EVERYTHING in touches.values():
        return [Pass(kind="all"), *whole]
    for question_id, what in sorted(touches.items()):
        found += [Pass(kind="range", question_id=question_id, low=low, high=high) for low, high in what.ranges]
        if what.unscored:
            found.append(Pass(kind="unscored", question_id=question_id))
        if what.bounded:
            found.append(Pass(kind="bounded", question_id=question_id))
    if whole or change.conditions_changed or any(what.videos for what in touches.values()):
        found.append(Pass(kind="videos"))
    return found


def pending_changes(connection: Connection) -> list[Change]:
    """The policies in force by which not all stored answers are judged yet."""
    prompts, policies = schema.prompts, schema.policies
    rows = connection.execute(
        select(
            prompts.c.id, prompts.c.set_name, prompts.c.name, policies.c.id.label("policy_id"), policies.c.definition
        )
        .join(policies, policies.c.id == prompts.c.policy_id)
        .where(policies.c.applied_at.is_(None))
        .order_by(prompts.c.id)
    ).all()
    return [
        Change(
            prompt_id=row.id,
            set_name=row.set_name,
            name=row.name,
            policy=InForce(row.policy_id, Policy.from_json(row.definition)),
            earlier=_earlier(connection, row.id, row.policy_id),
            questions=questions_of(connection, row.id),
        )
        for row in rows
    ]


def _earlier(connection: Connection, prompt_id: int, policy_id: int) -> tuple[Policy, ...]:
    policies = schema.policies
    rows = connection.execute(
        select(policies.c.definition, policies.c.applied_at)
        .where(policies.c.prompt_id == prompt_id, policies.c.id < policy_id, policies.c.origin != "upgrade")
        .order_by(policies.c.id.desc())
    )
    found = []
    for row in rows:
        found.append(Policy.from_json(row.definition))
        if row.applied_at is not None:
            break
    return tuple(found)


def questions_of(connection: Connection, prompt_id: int) -> dict[int, Question]:
    """All questions that a prompt has ever asked, by the id of their row."""
    questions, asked, prompts = schema.questions, schema.recipe_prompts, schema.prompts
    used = select(asked.c.question_id).where(asked.c.prompt_id == prompt_id)
    current = select(prompts.c.question_id).where(prompts.c.id == prompt_id)
    rows = connection.execute(
        select(questions.c.id, questions.c.definition).where(or_(questions.c.id.in_(used), questions.c.id.in_(current)))
    )
    return {row.id: Question.from_json(row.definition) for row in rows}


def lock_progress(connection: Connection, policy_id: int) -> Progress | None:
    """How far a policy is applied, locked until the transaction ends; None if all of it is, or it is not in force."""
    policies, prompts = schema.policies, schema.prompts
    row = connection.execute(
        select(policies.c.progress)
        .join(prompts, prompts.c.policy_id == policies.c.id)
        .where(policies.c.id == policy_id, policies.c.applied_at.is_(None))
        .with_for_update(of=policies)
    ).first()
    return None if row is None else Progress(**(row.progress or {}))


def record_progress(connection: Connection, policy_id: int, progress: Progress) -> None:
    policies = schema.policies
    connection.execute(update(policies).where(policies.c.id == policy_id).values(progress=asdict(progress)))


def find_prompts(connection: Connection, prompts: Sequence[Prompt]) -> dict[tuple[str, str], Row[Any]]:
    """The rows of these prompts, with `question_hash`, by set and name; without those that no run has asked."""
    table, questions = schema.prompts, schema.questions
    rows = connection.execute(
        select(table, questions.c.hash.label("question_hash"))
        .join(questions, questions.c.id == table.c.question_id)
        .where(tuple_(table.c.set_name, table.c.name).in_([(one.set_name, one.name) for one in prompts]))
    )
    return {(row.set_name, row.name): row for row in rows}


def prompts_of_set(connection: Connection, set_name: str) -> dict[int, Prompt]:
    """The prompts of a set as they are now, by the id of their row."""
    prompts, policies, questions = schema.prompts, schema.policies, schema.questions
    rows = connection.execute(
        select(prompts.c.id, prompts.c.name, policies.c.definition, questions.c.definition.label("question"))
        .join(policies, policies.c.id == prompts.c.policy_id)
        .join(questions, questions.c.id == prompts.c.question_id)
        .where(prompts.c.set_name == set_name)
        .order_by(prompts.c.id)
    )
    return {
        row.id: Prompt(
            name=row.name,
            set_name=set_name,
            question=Question.from_json(row.question),
            policy=Policy.from_json(row.definition),
        )
        for row in rows
    }
