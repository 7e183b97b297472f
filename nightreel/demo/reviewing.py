"""Three scripted reviewers work off the cases of the demo's night, with its audit. They leave three to the console.

Two of them disagree about one clip, which a third one settles, and one decision is undone. They know what is in the
clips, and decide as people do: through `nightreel.review`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, text

from nightreel.database.connection import Database
from nightreel.database.users import add_user, find_user
from nightreel.domain.cases import CaseState, Ruling
from nightreel.domain.users import Role, User
from nightreel.review.auditing import Audit, judged_items, read_audits
from nightreel.review.deciding import Decided, NewRuling, decide
from nightreel.review.desk import take_case
from nightreel.review.showing import ShownCase, show_case
from nightreel.review.undoing import undo
from nightreel.stages.audit import AuditWish, draw_audits
from nightreel.statistics.calibration import Reliability, reliability

PROMPT_SET, PROMPT = "demo_moderation", "warning"
_SAMPLE = 100
_REVIEWERS = {"demo-ann": Role.REVIEWER, "demo-bob": Role.REVIEWER, "demo-lea": Role.LEAD}
_WHO_DECIDES = {CaseState.OPEN: "demo-ann", CaseState.SECOND: "demo-bob", CaseState.ESCALATED: "demo-lea"}
_LEFT_FLAGGED, _LEFT_OTHERS = 1, 2
_OPEN = text(
    "SELECT case_id FROM ("
    "SELECT case_id, severity > 0 AS is_flagged, "
    "row_number() OVER (PARTITION BY severity > 0 ORDER BY case_id DESC) AS place "
    "FROM reporting.cases WHERE state = 'open' AND starts_with(uri, :source || '/')"
    ") AS one WHERE place > CASE WHEN is_flagged THEN :flagged ELSE :others END ORDER BY case_id"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NightReview:
    """What the reviewers did, and what their decisions say.

    Args:
        calibration: None if nothing is judged.
    """

    cases: int
    decisions: int
    disagreements: int
    undone: int
    audit: Audit
    calibration: Reliability | None


def review_night(database: Database, *, source: str, truth: Mapping[str, bool]) -> NightReview | None:
    """Draw an audit of the warning signs, if there is none, and work off the open cases of the demo's clips but three.

    Args:
        source: URL of the clips. truth: whether a clip shows a warning sign, by the name of its file.

    Returns:
        None if the clips have no answers about warning signs.
    """
    audit = _audit(database, source)
    if audit is None:
        return None
    with database.begin() as connection:
        people = {name: _person(connection, name, role) for name, role in _REVIEWERS.items()}
        left = {"source": source, "flagged": _LEFT_FLAGGED, "others": _LEFT_OTHERS}
        case_ids = list(connection.execute(_OPEN, left).scalars())
    decisions = disagreements = undone = 0
    for case_id in case_ids:
        state = CaseState.OPEN
        while state in _WHO_DECIDES:
            with database.begin() as connection:
                disagrees = state is CaseState.SECOND and not disagreements
                person = people[_WHO_DECIDES[state]]
                done = _decide(connection, person, case_id, truth, disagrees=disagrees)
                if not undone:
                    undo(connection, person, done.batch_id)
                    done, undone = _decide(connection, person, case_id, truth), 1
            disagreements += disagrees
            decisions += done.decisions
            state = done.state
    with database.begin() as connection:
        audit = _open_audit(connection) or audit
        found = reliability(judged_items(connection, audit))
    return NightReview(
        cases=len(case_ids),
        decisions=decisions,
        disagreements=disagreements,
        undone=undone,
        audit=audit,
        calibration=found,
    )


def _audit(database: Database, source: str) -> Audit | None:
    with database.begin() as connection:
        found = _open_audit(connection)
    if found is not None:
        return found
    wish = AuditWish(sample=_SAMPLE, made_by="demo", under=f"{source}/", prompt_set=PROMPT_SET, prompt=PROMPT)
    for _ in draw_audits(database, wish):
        pass
    with database.begin() as connection:
        return _open_audit(connection)


def _open_audit(connection: Connection) -> Audit | None:
    audits = read_audits(connection)
    return next((one for one in audits if (one.prompt_set, one.prompt) == (PROMPT_SET, PROMPT)), None)


def _person(connection: Connection, name: str, role: Role) -> User:
    person = find_user(connection, name) or add_user(connection, name, role=role)
    assert person is not None, "it is added where it is not found"
    return person


def _decide(
    connection: Connection, person: User, case_id: int, truth: Mapping[str, bool], *, disagrees: bool = False
) -> Decided:
    take_case(connection, person, case_id)
    case = show_case(connection, person, case_id)
    ruling = Ruling.CONFIRM if _shows_warning(case, truth) is not disagrees else Ruling.REJECT
    rulings = [NewRuling(prompt_id=one.prompt_id, tag=one.tag, ruling=ruling) for one in case.findings if one.to_decide]
    return decide(connection, person, case_id, version=case.version, rulings=rulings)


def _shows_warning(case: ShownCase, truth: Mapping[str, bool]) -> bool:
    return any(truth.get(uri.rsplit("/", 1)[-1], False) for _, uri in case.videos)
