"""Whether the probabilities of a prompt are true, by what people decided, and how many answers have which."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from nightreel.database.policies import policies_in_force
from nightreel.database.rejudging import prompts_of_set
from nightreel.database.reports import prompt_set_names
from nightreel.database.statements import statement
from nightreel.domain import Level, Prompt, PromptKind
from nightreel.domain.users import User
from nightreel.review.access import require_lead
from nightreel.review.auditing import Audit, judged_items, read_audits
from nightreel.statistics.calibration import Judged, Reliability, reliability

BINS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What the calibration plot of a prompt shows.

    Args:
        judged: labels that people confirmed or rejected. table: None if there are none.
        audit_id: the open audit that they are of, weighted by what they stand for; None: all that people decided.
        answers: on show, by p in `BINS` ranges of equal width.
    """

    prompt_id: int
    policy_id: int
    prompt: Prompt
    judged: int
    audit_id: int | None
    table: Reliability | None
    answers: tuple[int, ...]


def calibratable(connection: Connection) -> dict[int, Prompt]:
    """The prompts that a threshold decides, by id: of kind yes_no, about segments."""
    found: dict[int, Prompt] = {}
    for name in sorted(prompt_set_names(connection)):
        found |= {
            prompt_id: prompt
            for prompt_id, prompt in prompts_of_set(connection, name).items()
            if prompt.question.kind is PromptKind.YES_NO and prompt.question.level is not Level.VIDEO
        }
    return found


def read_calibration(connection: Connection, user: User, prompt_id: int, prompt: Prompt) -> Calibrated:
    """What people decided about a prompt of `calibratable`.

    Raises:
        NotAllowedError: the person is no lead.
    """
    require_lead(user, "the calibration of a prompt")
    audit = _open_audit(connection, prompt)
    if audit is None:
        rows = connection.execute(statement("judged_labels"), {"prompt_id": prompt_id})
        items = [Judged(p=row.p, positive=row.positive) for row in rows]
    else:
        items = judged_items(connection, audit)
    counts = [0] * BINS
    for row in connection.execute(statement("probabilities"), {"prompt_id": prompt_id, "bins": BINS}):
        counts[row.bin] = row.answers
    return Calibrated(
        prompt_id=prompt_id,
        policy_id=policies_in_force(connection, [prompt_id])[prompt_id].id,
        prompt=prompt,
        judged=len(items),
        audit_id=audit.audit_id if audit else None,
        table=reliability(items),
        answers=tuple(counts),
    )


def _open_audit(connection: Connection, prompt: Prompt) -> Audit | None:
    """The newest open audit of what a prompt misses, if people judged some of it."""
    named = (prompt.set_name, prompt.name)
    audits = [one for one in read_audits(connection) if (one.prompt_set, one.prompt) == named and one.misses]
    return max(audits, key=lambda audit: audit.audit_id, default=None)
