"""The policies of prompts: which one is in force, since when, by whom, and how far the stored answers are judged by it.

The newest row of a prompt is in force. A run whose prompt file says something new adds a row; so does a person who
applies a policy. A file that has not changed since it was last read changes nothing: what a person applied stays.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.domain import Policy, Prompt

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy of a prompt. `id`: its row in `policies`."""

    id: int
    policy: Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyVersion:
    """A policy that is or was in force. `applied_at`: when all stored answers were judged by it; None: not yet."""

    id: int
    prompt_id: int
    set_name: str
    prompt: str
    policy: Policy
    origin: str
    made_by: str
    since: datetime
    applied_at: datetime | None


def policies_in_force(connection: Connection, prompt_ids: Collection[int], *, lock: bool = False) -> dict[int, InForce]:
    """The policies of prompts, by prompt id.

    Args:
        lock: keep them in force until the transaction ends, so that verdicts written in it are not outdated.
    """
    prompts, policies = schema.prompts, schema.policies
    query = (
        select(prompts.c.id, policies.c.id.label("policy_id"), policies.c.definition)
        .join(policies, policies.c.id == prompts.c.policy_id)
        .where(prompts.c.id.in_(prompt_ids))
        .order_by(prompts.c.id)
    )
    rows = connection.execute(query.with_for_update(read=True, of=prompts) if lock else query)
    return {row.id: InForce(row.policy_id, Policy.from_json(row.definition)) for row in rows}


def register_policy(connection: Connection, prompt: Prompt, *, question_id: int, made_by: str) -> int:
    """Find or add the row of a prompt, and bring its policy into force if its file has changed. Returns its id."""
    prompts = schema.prompts
    named = (prompts.c.set_name == prompt.set_name, prompts.c.name == prompt.name)
    values = {"set_name": prompt.set_name, "name": prompt.name, "question_id": question_id}
    connection.execute(insert(prompts).values(values).on_conflict_do_nothing())
    row = connection.execute(select(prompts).where(*named)).one()
    if row.question_id != question_id:
        connection.execute(update(prompts).where(prompts.c.id == row.id).values(question_id=question_id))
    wanted = prompt.policy.hash
    newest = _newest(connection, row.id)
    if newest is not None and newest.hash == wanted:
        return int(row.id)
    # Only a change takes the lock, for which writers of verdicts wait.
    connection.execute(select(prompts.c.id).where(prompts.c.id == row.id).with_for_update())
    newest = _newest(connection, row.id)
    read = _newest(connection, row.id, of_files=True)
    if newest is None:
        mark_applied(connection, _bring_into_force(connection, row.id, prompt.policy, origin="file", made_by=made_by))
    elif newest.hash != wanted and (read is None or read.hash != wanted):
        _bring_into_force(connection, row.id, prompt.policy, origin="file", made_by=made_by)
        logger.warning("the policy of prompt %r of set %r has changed", prompt.name, prompt.set_name)
    elif newest.hash != wanted:
        logger.info(
            "prompt %r of set %r: the policy that %s applied on %s is in force, not that of the file",
            prompt.name,
            prompt.set_name,
            newest.made_by,
            f"{newest.since:%Y-%m-%d}",
        )
    return int(row.id)


def apply_policy(connection: Connection, prompt_id: int, policy: Policy, *, made_by: str) -> bool:
    """Bring a policy of a known prompt into force, whatever its file says. Returns whether it is another one."""
    prompts = schema.prompts
    connection.execute(select(prompts.c.id).where(prompts.c.id == prompt_id).with_for_update())
    newest = _newest(connection, prompt_id)
    if newest is not None and newest.hash == policy.hash:
        return False
    _bring_into_force(connection, prompt_id, policy, origin="applied", made_by=made_by)
    return True


def history(connection: Connection, *, set_name: str | None = None, prompt: str | None = None) -> list[PolicyVersion]:
    """The policies of prompts, the newest first."""
    prompts, policies = schema.prompts, schema.policies
    query = _versions()
    if set_name:
        query = query.where(prompts.c.set_name == set_name)
    if prompt:
        query = query.where(prompts.c.name == prompt)
    return [_version(row) for row in connection.execute(query.order_by(policies.c.id.desc()))]


def find_version(connection: Connection, policy_id: int) -> PolicyVersion | None:
    """The policy with this id; None if there is none."""
    row = connection.execute(_versions().where(schema.policies.c.id == policy_id)).one_or_none()
    return None if row is None else _version(row)


def _versions() -> Select[Any]:
    prompts, policies = schema.prompts, schema.policies
    return select(policies, prompts.c.set_name, prompts.c.name).join(prompts, prompts.c.id == policies.c.prompt_id)


def _version(row: Row[Any]) -> PolicyVersion:
    return PolicyVersion(
        id=row.id,
        prompt_id=row.prompt_id,
        set_name=row.set_name,
        prompt=row.name,
        policy=Policy.from_json(row.definition),
        origin=row.origin,
        made_by=row.made_by,
        since=row.since,
        applied_at=row.applied_at,
    )


def _newest(connection: Connection, prompt_id: int, *, of_files: bool = False) -> Row[Any] | None:
    policies = schema.policies
    query = select(policies).where(policies.c.prompt_id == prompt_id)
    if of_files:
        query = query.where(policies.c.origin != "applied")
    return connection.execute(query.order_by(policies.c.id.desc()).limit(1)).first()


def _bring_into_force(connection: Connection, prompt_id: int, policy: Policy, *, origin: str, made_by: str) -> int:
    values = {
        "prompt_id": prompt_id,
        "hash": policy.hash,
        "definition": policy.to_json(),
        "origin": origin,
        "made_by": made_by,
    }
    policy_id = connection.execute(insert(schema.policies).values(values).returning(schema.policies.c.id)).scalar_one()
    connection.execute(update(schema.prompts).where(schema.prompts.c.id == prompt_id).values(policy_id=policy_id))
    return int(policy_id)


def mark_applied(connection: Connection, policy_id: int) -> None:
    """Record that all stored answers are judged by a policy."""
    policies = schema.policies
    connection.execute(update(policies).where(policies.c.id == policy_id).values(applied_at=func.now(), progress=None))
