"""Decisions and appeals. A decision is a row that nobody changes; it keeps what was on show when it was made."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, insert

from nightreel.database import schema
from nightreel.database.case_rows import APPEALED, NewEvent, change_case
from nightreel.domain.cases import STAGES, CaseFacts, CaseState, Decision, Ruling, Stage
from nightreel.domain.findings import Label
from nightreel.domain.queues import Queue, SecondReview, draw_of
from nightreel.domain.users import User
from nightreel.errors import SettingsError
from nightreel.review.access import lock_case, require_held, require_may_decide
from nightreel.review.desk import FRESH
from nightreel.review.refusals import ConflictError
from nightreel.review.showing import ShownFinding, shown_findings, shown_values

LONGEST_NOTE = 4000
_UNSTORABLE = re.compile(r"[\0\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRuling:
    """What a person makes of one label.

    Args:
        start_s, end_s: the seconds of the video that it is about; None: all that is on show.
    """

    prompt_id: int
    tag: str = ""
    ruling: Ruling
    start_s: float | None = None
    end_s: float | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if self.start_s is not None or self.end_s is not None:
            start_s, end_s = self.start_s or 0.0, self.end_s if self.end_s is not None else float("inf")
            if self.end_s is None or not 0 <= start_s <= end_s < 1e9:
                raise SettingsError(f"{self.start_s} to {self.end_s} s: expected a first and a last second")
        if len(self.note) > LONGEST_NOTE:
            raise SettingsError(f"a note has {len(self.note):,} characters: expected at most {LONGEST_NOTE:,}")

    @property
    def label(self) -> Label:
        return self.prompt_id, self.tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What a decision did. `batch_id`: to undo it. `queue`: of the case."""

    batch_id: UUID
    state: CaseState
    decisions: int
    queue: str


def decide(connection: Connection, user: User, case_id: int, *, version: int, rulings: Sequence[NewRuling]) -> Decided:
    """Decide all labels of a case that wait for a decision, and give the case back.

    Args:
        version: of the case that the person looked at.

    Raises:
        ConflictError: the person does not have the case now, or it has changed since.
        SettingsError: a label is missing, is not in the case, or is named twice.
    """
    case = lock_case(connection, user, case_id)
    require_held(case, user)
    if case.row.version != version:
        raise ConflictError(f"case {case_id} has changed since you opened it: look at it again")
    facts = require_may_decide(connection, case, user)
    findings = shown_findings(connection, case, facts)
    _require_all(facts, rulings, findings)
    stage = STAGES[facts.state]
    if stage in (Stage.ESCALATION, Stage.APPEAL) and any(one.ruling is Ruling.ESCALATE for one in rulings):
        raise SettingsError("a lead decides here: confirm, reject or unsure")
    batch_id = uuid4()
    queue = case.queue if case.row.golden_id is None else replace(case.queue, second_review=SecondReview())
    after, rows = ruled(facts, rulings, user=user, queue=queue, content=case.row.content, findings=findings)
    shared = {
        "batch_id": batch_id,
        "case_id": case_id,
        "content": case.row.content,
        "user_id": user.id,
        "seconds_spent": float(case.row.spent_s),
        "queue_policy_id": case.queues.id,
    }
    connection.execute(
        insert(schema.decisions),
        [shared | row | {"shown": shown_values(findings[row["prompt_id"], row["tag"]])} for row in rows],
    )
    detail = {"stage": stage, "labels": len(rows)} | _outcome(facts, rulings, stage)
    event = NewEvent(
        case_id=case_id, kind="decided", state=after.state, user_id=user.id, batch_id=batch_id, detail=detail
    )
    change_case(connection, event, FRESH)
    return Decided(batch_id=batch_id, state=after.state, decisions=len(rows), queue=case.queue.name)


def ruled(
    facts: CaseFacts,
    rulings: Iterable[NewRuling],
    *,
    user: User,
    queue: Queue,
    content: str,
    findings: Mapping[Label, ShownFinding],
) -> tuple[CaseFacts, list[dict[str, Any]]]:
    """The facts of a case after rulings, and their rows, without what all rows of the case have in common."""
    stage, draw = STAGES[facts.state], draw_of(content)
    last = max((decision.id for decision in facts.decisions), default=0)
    made = []
    for place, ruling in enumerate(rulings, 1):
        needs_second = False
        if stage is Stage.FIRST:
            finding = findings[ruling.label]
            needs_second = queue.second_review.wants(category=finding.category, severity=finding.severity, draw=draw)
        decision = Decision(
            id=last + place,
            label=ruling.label,
            stage=stage,
            ruling=ruling.ruling,
            user_id=user.id,
            needs_second=needs_second,
            appeal_id=facts.appeal_id if stage is Stage.APPEAL else None,
        )
        made.append((ruling, decision))
    after = CaseFacts(facts.found, (*facts.decisions, *(decision for _, decision in made)), facts.appeal_id)
    rows = [
        {
            "prompt_id": ruling.prompt_id,
            "tag": ruling.tag,
            "stage": stage,
            "ruling": ruling.ruling,
            "start_s": ruling.start_s,
            "end_s": ruling.end_s,
            "note": _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", ruling.note) or None,
            "needs_second": decision.needs_second,
            "appeal_id": decision.appeal_id,
            "settles": after.settles(ruling.label),
        }
        for ruling, decision in made
    ]
    return after, rows


def appeal(connection: Connection, user: User, case_id: int, *, reason: str) -> None:
    """Reopen a closed case. A lead who has not decided in it upholds or overturns what was decided.

    Raises:
        ConflictError: the case is not closed. SettingsError: there is no reason.
    """
    reason = _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", reason.strip())
    if not reason or len(reason) > LONGEST_NOTE:
        raise SettingsError(f"an appeal needs a reason of at most {LONGEST_NOTE:,} characters")
    case = lock_case(connection, user, case_id)
    if case.row.state != CaseState.CLOSED:
        raise ConflictError(f"case {case_id} is {case.row.state}: only a closed case can be reopened")
    event = NewEvent(
        case_id=case_id, kind=APPEALED, state=CaseState.APPEALED, user_id=user.id, detail={"reason": reason}
    )
    change_case(connection, event, FRESH)


def _require_all(facts: CaseFacts, rulings: Sequence[NewRuling], findings: Mapping[Label, ShownFinding]) -> None:
    given = [ruling.label for ruling in rulings]
    if len(set(given)) < len(given):
        raise SettingsError("a label is decided twice")

    if strange := set(given) - facts.to_decide:
        prompt_id, tag = min(strange)
        raise SettingsError(f"prompt {prompt_id} {tag!r}: not a label of this case that waits for a decision")
    if missing := facts.to_decide - set(given):
        names = ", ".join(findings[label].name for label in sorted(missing))
        raise SettingsError(f"{names}: each label needs a decision")


def _outcome(facts: CaseFacts, rulings: Sequence[NewRuling], stage: Stage) -> dict[str, str]:
    """Whether an appeal was upheld: all labels stay as they were decided."""
    if stage is not Stage.APPEAL:
        return {}
    before = {decision.label: decision.ruling for decision in facts.decisions}
    same = all(before.get(ruling.label) is ruling.ruling for ruling in rulings)
    return {"outcome": "upheld" if same else "overturned"}
