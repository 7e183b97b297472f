"""A case as the person who works on it sees it. A second person does not see what the first one decided."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, select, text

from nightreel.database import schema
from nightreel.database.case_rows import facts_of
from nightreel.database.statements import statement
from nightreel.domain.cases import CaseFacts, CaseState
from nightreel.domain.findings import Found, Label
from nightreel.domain.users import User
from nightreel.review.access import CaseInQueue, find_queues, look_at_case

_MOST_VIDEOS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFinding:
    """A label with what is behind it.

    Args:
        to_decide: it waits for a decision now.
        reason, p: None where `found` is unknown: audits and golden items look like that, too.
        policy_text: what counts and what does not.
        ranges: seconds of the video; first_s: the first of them.
    """

    prompt_id: int
    prompt_set: str
    prompt: str
    tag: str
    category: str
    found: str
    severity: int | None
    lane: str | None
    reason: str | None
    p: float | None
    first_s: float | None
    ranges: Sequence[Sequence[float]]
    policy_id: int
    policy_text: str
    answer_ids: Sequence[int]
    model_ids: Sequence[int]
    video_id: int
    to_decide: bool

    @property
    def label(self) -> Label:
        return self.prompt_id, self.tag

    @property
    def name(self) -> str:
        return label_name(self.prompt, self.tag)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCase:
    """A case.

    Args:
        version: to name when a decision is made, so that nobody decides about what they did not see.
        videos: the copies of its content, at most 100, as (video id, uri); copies: how many there are.
        mine: the person has it now. seconds_left: how long.
    """

    case_id: int
    queue: str
    state: CaseState
    version: int
    severity: int
    content: str
    videos: Sequence[tuple[int, str]]
    copies: int
    findings: Sequence[ShownFinding]
    mine: bool
    taken_until: datetime | None
    seconds_left: float | None
    hold_until: datetime | None
    assigned_to: str | None


def show_case(connection: Connection, user: User, case_id: int) -> ShownCase:
    """Show a case to a person who may see it.

    Raises:
        NotFoundError: there is none with this number, or not for this person.
    """
    case = look_at_case(connection, user, case_id)
    row = case.row
    videos = connection.execute(
        text(
            "SELECT video_id, uri, count(*) OVER () AS copies FROM nightreel.case_videos WHERE case_id = :case_id "
            "ORDER BY video_id LIMIT :most"
        ),
        {"case_id": case_id, "most": _MOST_VIDEOS},
    ).all()
    kept_for = select(schema.users.c.pseudonym).where(schema.users.c.id == row.assigned_to)
    return ShownCase(
        case_id=case_id,
        queue=case.queue.name,
        state=CaseState(row.state),
        version=row.version,
        severity=row.severity,
        content=_content(connection, row),
        videos=[(one.video_id, one.uri) for one in videos],
        copies=videos[0].copies if videos else 0,
        findings=list(shown_findings(connection, case, facts_of(connection, [row])[case_id]).values()),
        mine=bool(row.is_taken and row.taken_by == user.id),
        taken_until=row.taken_until if row.is_taken else None,
        seconds_left=float(row.left_s) if row.is_taken else None,
        hold_until=row.hold_until,
        assigned_to=connection.execute(kept_for).scalar() if row.assigned_to else None,
    )


def _content(connection: Connection, case: Row[Any]) -> str:
    """The content of a case; of a golden item, as if it were any other case."""
    if case.golden_id is None:
        return str(case.content)
    items = schema.golden_items.c
    return str(connection.execute(select(items.content).where(items.id == case.golden_id)).scalar_one())


def shown_findings(connection: Connection, case: CaseInQueue, facts: CaseFacts) -> dict[Label, ShownFinding]:
    """The findings of a case, the worst first.

    A label that an appeal is about, and that is not found any more, is as it was on show when it was decided.
    """
    found = findings_of_cases(connection, [case.id], to_decide=facts.to_decide).get(case.id, {})
    decisions = schema.decisions.c
    gone = [decision.id for decision in facts.decisions if decision.label in facts.to_decide - found.keys()]
    if not gone:
        return found
    rows = connection.execute(select(decisions.shown).where(decisions.id == func.any(gone)).order_by(decisions.id))
    earlier = [ShownFinding(**shown, policy_text="", to_decide=True) for shown in rows.scalars()]
    return found | {finding.label: finding for finding in earlier}


def findings_of_cases(
    connection: Connection, case_ids: Collection[int], *, to_decide: Collection[Label] = ()
) -> dict[int, dict[Label, ShownFinding]]:
    """The findings of cases, by case id, the worst first."""
    found: dict[int, dict[Label, ShownFinding]] = defaultdict(dict)
    for row in connection.execute(statement("case_findings"), {"case_ids": sorted(case_ids)}):
        finding = _finding(row, to_decide)
        found[row.case_id][finding.label] = finding
    return found


def shown_values(finding: ShownFinding) -> dict[str, Any]:
    """What a decision keeps of a finding."""
    left_out = ("to_decide", "policy_text")
    return {name: value for name, value in asdict(finding).items() if name not in left_out}


def _finding(row: Row[Any], to_decide: Collection[Label]) -> ShownFinding:
    """A finding as people see it. What is not known looks like what an audit asks: without reason and probability."""
    evidence: Mapping[str, Any] = row.evidence
    is_known = row.found != Found.UNKNOWN
    return ShownFinding(
        prompt_id=row.prompt_id,
        prompt_set=row.prompt_set,
        prompt=row.prompt,
        tag=row.tag,
        category=row.category,
        found=row.found,
        severity=row.severity,
        lane=row.lane,
        reason=row.reason if is_known else None,
        p=evidence["p"] if is_known else None,
        policy_id=row.policy_id,
        policy_text=row.policy_text or "",
        video_id=row.video_id,
        to_decide=(row.prompt_id, row.tag) in to_decide,
        **{name: evidence[name] for name in ("first_s", "ranges", "answer_ids", "model_ids")},
    )


def label_name(prompt: str, tag: str) -> str:
    """A label in words.

    >>> label_name("violence", ""), label_name("violence_kinds", "blood")
    ('violence', 'violence_kinds: blood')
    """
    return f"{prompt}: {tag}" if tag else prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownQueue:
    """A queue that a person works. `mine`: cases that the person has now; `oldest_at`: the oldest that nobody has."""

    name: str
    open: int
    second: int
    escalated: int
    appealed: int
    taken: int
    held: int
    mine: int
    oldest_at: datetime | None


def show_queues(connection: Connection, user: User) -> list[ShownQueue]:
    """The queues that a person works, in their order, with the number of cases that wait."""
    queues = find_queues(connection)
    counts = {row.queue_id: row for row in connection.execute(statement("queue_counts"), {"user_id": user.id})}
    names = ("open", "second", "escalated", "appealed", "taken", "held", "mine")
    return [
        ShownQueue(
            name=queue.name,
            oldest_at=row.oldest_at if row else None,
            **{name: getattr(row, name) if row else 0 for name in names},
        )
        for queue in queues.queues.queues
        if queue.is_worked_by(user)
        for row in [counts.get(queues.ids[queue.name])]
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseOfMine:
    """A case that a person has now."""

    case_id: int
    queue: str
    severity: int
    taken_until: datetime


def show_mine(connection: Connection, user: User) -> list[CaseOfMine]:
    """The cases that a person has now, the oldest lock first."""
    cases, queues = schema.cases, schema.queues
    query = (
        select(cases.c.id.label("case_id"), queues.c.name.label("queue"), cases.c.severity, cases.c.taken_until)
        .join(queues, queues.c.id == cases.c.queue_id)
        .where(cases.c.taken_by == user.id, cases.c.taken_until > func.clock_timestamp())
        .order_by(cases.c.taken_until)
    )
    return [CaseOfMine(**row._mapping) for row in connection.execute(query)]
