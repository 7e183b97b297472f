"""Writes audits: random samples of what the machine says of one label, whose items people are asked about.

An audit keeps its strata, with the number of all their items, and what was drawn of them. `sort_into_cases` makes cases
of the items that people would not see otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any

from sqlalchemy import Connection, Row, func, insert, or_, select, update

from nightreel.database import schema
from nightreel.database.cases import sort_into_cases
from nightreel.database.statements import statement
from nightreel.domain import PromptKind
from nightreel.domain.policies import Policy
from nightreel.statistics.sampling import BOUNDS, allocate

MISSES = "misses"
SHADOW = "shadow"
SHOWN = ("flagged", "unknown", "error")
"""What the machine says of the items that people see anyway."""
PASSED = "answered"
"""What the machine says of the items that it calls "no"."""
ONLY_FIRST = "only_first"
ONLY_SECOND = "only_second"
_BATCH = 5000
_audits, _items, _strata = schema.audits, schema.audit_items, schema.audit_strata


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditedLabel:
    """A label that can be audited: a prompt that can flag, or one of its tags.

    Args:
        tag: empty for prompts of other kinds.
        answer: the one whose probability is read; None: the label has none.
    """

    prompt_id: int
    prompt_set: str
    prompt: str
    tag: str
    policy_id: int
    answer: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAudit:
    """How a sample is drawn.

    Args:
        sample: most items that people would not see otherwise; of a shadow audit, in each direction.
        seed: gives the random order.
        under: only videos whose key starts with this.
        recipes: of a shadow audit, the two that are compared.
    """

    sample: int
    seed: int
    made_by: str
    under: str | None = None
    recipes: tuple[int, int] | None = None

    @property
    def kind(self) -> str:
        return MISSES if self.recipes is None else SHADOW


def auditable_labels(
    connection: Connection, *, prompt_set: str | None = None, prompt: str | None = None
) -> list[AuditedLabel]:
    """The labels of prompts with a flag that have verdicts on videos.

    Args:
        prompt_set, prompt: only of these; None: of all.
    """
    prompts, policies, questions = schema.prompts.c, schema.policies.c, schema.questions.c
    verdicts = schema.video_verdicts.c
    query = (
        select(prompts.id, prompts.set_name, prompts.name, prompts.policy_id, policies.definition, questions.kind)
        .join(schema.policies, policies.id == prompts.policy_id)
        .join(schema.questions, questions.id == prompts.question_id)
        .where(select(verdicts.video_id).where(verdicts.prompt_id == prompts.id).exists())
        .order_by(prompts.set_name, prompts.name)
    )
    if prompt_set is not None:
        query = query.where(prompts.set_name == prompt_set)
    if prompt is not None:
        query = query.where(prompts.name == prompt)
    return [label for row in connection.execute(query) for label in _labels_of(row)]


def newly_audited(connection: Connection, *, days: int) -> set[tuple[int, str]]:
    """The labels, as (prompt id, tag), with an open audit of misses that was drawn within so many days."""
    rows = connection.execute(
        select(_audits.c.prompt_id, _audits.c.tag).where(
            _audits.c.kind == MISSES,
            _audits.c.ended_at.is_(None),
            _audits.c.drawn_at > func.now() - timedelta(days=days),
        )
    )
    return {(row.prompt_id, row.tag) for row in rows}


def _labels_of(row: Row[Any]) -> Iterable[AuditedLabel]:
    flags = Policy.from_json(row.definition).flags
    is_tags = row.kind == PromptKind.TAGS
    for tag in flags if is_tags else [""] if flags else []:
        yield AuditedLabel(
            prompt_id=row.id,
            prompt_set=row.set_name,
            prompt=row.name,
            tag=tag,
            policy_id=row.policy_id,
            answer=tag if is_tags else flags[0] if row.kind == PromptKind.YES_NO else None,
        )


def draw_audit(connection: Connection, label: AuditedLabel, new: NewAudit) -> int | None:
    """Draw an audit of a label, and ask people about its items. It ends the open one of this label and kind.

    Returns:
        Its number; None if there is nothing to draw from.
    """
    drawn = _drawn(connection, label, new)
    if not drawn:
        return None
    ended = _end(connection, label, new.kind)
    first, second = new.recipes or (None, None)
    values = {
        "kind": new.kind,
        "prompt_id": label.prompt_id,
        "tag": label.tag,
        "policy_id": label.policy_id,
        "first_recipe_id": first,
        "second_recipe_id": second,
        "seed": new.seed,
        "made_by": new.made_by,
    }
    audit_id: int = connection.execute(insert(_audits).values(values).returning(_audits.c.id)).scalar_one()
    for number, own in enumerate(drawn):
        head = own[0]
        stratum = {name: getattr(head, name) for name in ("found", "low", "high", "size")}
        connection.execute(insert(_strata).values(audit_id=audit_id, number=number, **stratum))
        for start in range(0, len(own), _BATCH):
            rows = [
                {"audit_id": audit_id, "content": one.content, "stratum": number, "p": one.p}
                for one in own[start : start + _BATCH]
            ]
            connection.execute(insert(_items), rows)
    asked = {one.content for own in drawn if own[0].found not in SHOWN for one in own}
    sort_into_cases(connection, _videos_of(connection, sorted(asked | ended)), prompt_ids=[label.prompt_id])
    return audit_id


def _drawn(connection: Connection, label: AuditedLabel, new: NewAudit) -> list[list[Row[Any]]]:
    """The items of each stratum. Strata that nobody would see otherwise give only their part of the sample."""
    given = {
        "prompt_id": label.prompt_id,
        "tag": label.tag,
        "sample": new.sample,
        "seed": new.seed,
        "under": new.under,
    }
    if new.recipes is not None:
        first, second = new.recipes
        rows = connection.execute(statement("shadow_population"), given | {"first": first, "second": second}).all()
        return _strata_of(rows)
    given |= {"answer": label.answer, "bounds": list(BOUNDS)}
    strata = _strata_of(connection.execute(statement("audit_population"), given).all())
    passed = [own for own in strata if own[0].found == PASSED]
    shares = allocate([own[0].size for own in passed], new.sample)
    return [own for own in strata if own[0].found != PASSED] + [
        own[:count] for own, count in zip(passed, shares, strict=True)
    ]


def _strata_of(rows: Sequence[Row[Any]]) -> list[list[Row[Any]]]:
    return [list(own) for _, own in groupby(rows, key=lambda row: (row.found, row.p is None, row.level))]


def _end(connection: Connection, label: AuditedLabel, kind: str) -> set[str]:
    """End the open audit of a label. Returns the contents whose cases may change."""
    ended = connection.execute(
        update(_audits)
        .where(
            _audits.c.prompt_id == label.prompt_id,
            _audits.c.tag == label.tag,
            _audits.c.kind == kind,
            _audits.c.ended_at.is_(None),
        )
        .values(ended_at=func.now())
        .returning(_audits.c.id)
    ).scalars()
    query = (
        select(_items.c.content)
        .join(_strata, (_strata.c.audit_id == _items.c.audit_id) & (_strata.c.number == _items.c.stratum))
        .where(_items.c.audit_id == func.any(list(ended)), _strata.c.found.not_in(SHOWN))
    )
    return set(connection.execute(query).scalars())


def _videos_of(connection: Connection, contents: Sequence[str]) -> list[int]:
    """The current videos with these contents."""
    videos = schema.videos.c
    unhashed = [int(content.removeprefix("video:")) for content in contents if content.startswith("video:")]
    query = select(videos.id).where(
        videos.replaced_at.is_(None),
        or_(
            videos.content_sha256 == func.any(list(contents)),
            (videos.id == func.any(unhashed)) & videos.content_sha256.is_(None),
        ),
    )
    return list(connection.execute(query).scalars())
