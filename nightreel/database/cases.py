"""Makes and changes cases: sorts what people should see of a content into the queues in force.

The transaction that writes a verdict on a video calls `sort_into_cases`, so a case exists exactly if there is something
to judge. It never touches a decision. A case whose findings are all gone stays, with its history.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from nightreel.database import schema
from nightreel.database.case_rows import NewEvent, add_events, facts_of, lock_cases
from nightreel.database.queues import QueuesInForce, queues_in_force
from nightreel.database.statements import statement
from nightreel.domain import PromptKind
from nightreel.domain.cases import CaseFacts, CaseState
from nightreel.domain.findings import Finding, blind_finding, category_of, labels_found
from nightreel.domain.policies import Policy

OPENED = "opened"
CHANGED = "changed"
Place = tuple[int, str]
"""(queue id, content)."""


def sort_into_cases(
    connection: Connection, video_ids: Collection[int], *, prompt_ids: Collection[int] | None = None
) -> None:
    """Bring the cases of these videos' contents in line with the verdicts on all copies of them.

    Args:
        prompt_ids: the prompts whose verdicts may have changed; None: all.
    """
    contents = _contents_of(connection, video_ids)
    if not contents:
        return
    found = _found(connection, contents, prompt_ids)
    if not found and not _stored(connection, contents, prompt_ids):
        return
    queues = queues_in_force(connection, lock="share")
    if queues is None:
        return
    while True:
        _add_cases(connection, {place for place, _ in _sorted(found, queues)})
        # Two runs may write verdicts on one content at the same time. The second one waits here, and then sees all.
        cases = lock_cases(connection, _case_ids(connection, contents))
        found = _found(connection, contents, prompt_ids)
        ids = {(case.queue_id, case.content): case.id for case in cases.values()}
        wanted = _sorted(found, queues)
        if all(place in ids for place, _ in wanted):
            break
    stored = _stored(connection, contents, prompt_ids)
    _write(connection, cases, [(ids[place], finding) for place, finding in wanted], stored=stored)


def _contents_of(connection: Connection, video_ids: Collection[int]) -> dict[str, int]:
    """The contents of videos, each with one of them. Those of before its hash was known count too."""
    videos = schema.videos.c
    rows = connection.execute(
        select(videos.id, videos.content_sha256).where(videos.id == func.any(sorted(video_ids)))
    ).all()
    return {f"video:{row.id}": row.id for row in rows} | {
        row.content_sha256: row.id for row in rows if row.content_sha256
    }


def _found(
    connection: Connection, contents: Mapping[str, int], prompt_ids: Collection[int] | None
) -> list[tuple[str, Finding]]:
    """What people should see of these contents: each label once, from the copy with the worst verdict, then audits."""
    parameters = {
        "contents": sorted(contents),
        "video_ids": sorted(set(contents.values())),
        "prompt_ids": None if prompt_ids is None else sorted(prompt_ids),
    }
    found: dict[tuple[str, int, str], Finding] = {}
    for row in connection.execute(statement("found_for_people"), parameters):
        for finding in _findings(row):
            found.setdefault((row.content, *finding.label), finding)
    for row in connection.execute(statement("sampled_for_people"), parameters):
        finding = _sampled(row)
        found.setdefault((row.content, *finding.label), finding)
    return [(content, finding) for (content, _, _), finding in sorted(found.items(), key=lambda item: item[0])]


def _findings(row: Row[Any]) -> Iterable[Finding]:
    policy = Policy.from_json(row.policy)
    evidence = {
        "answer_ids": row.answer_ids or [],
        "model_ids": row.model_ids or [],
        "p": row.p,
        "first_s": row.first_s,
        "ranges": row.ranges or [],
    }
    labels = labels_found(
        PromptKind(row.kind),
        policy,
        state=row.state,
        flagged=row.flagged,
        severity=row.severity,
        labels=row.labels or {},
    )
    for tag, what, severity in labels:
        yield Finding(
            prompt_id=row.prompt_id,
            tag=tag,
            prompt_set=row.set_name,
            prompt=row.name,
            category=category_of(row.name, policy),
            found=what,
            severity=severity,
            lane=row.lane,
            reason=row.reason,
            policy_id=row.policy_id,
            video_id=row.video_id,
            evidence=evidence,
        )


def _sampled(row: Row[Any]) -> Finding:
    """A label that an audit asks about. It looks like one that is not known, whatever the machine says of it."""
    return blind_finding(
        Policy.from_json(row.policy),
        prompt_id=row.prompt_id,
        tag=row.tag,
        prompt_set=row.set_name,
        prompt=row.name,
        policy_id=row.policy_id,
        video_id=row.video_id,
        evidence={
            "answer_ids": row.answer_ids,
            "model_ids": row.model_ids,
            "p": None,
            "first_s": row.start_s,
            "ranges": [] if row.end_s is None else [[row.start_s, row.end_s]],
        },
    )


def _sorted(found: Iterable[tuple[str, Finding]], queues: QueuesInForce) -> list[tuple[Place, Finding]]:
    return [((queues.ids[queues.queues.queue_of(finding).name], content), finding) for content, finding in found]


def _add_cases(connection: Connection, places: Collection[Place]) -> None:
    if places:
        rows = [{"queue_id": queue_id, "content": content} for queue_id, content in sorted(places)]
        connection.execute(insert(schema.cases).values(rows).on_conflict_do_nothing())


def _case_ids(connection: Connection, contents: Collection[str]) -> list[int]:
    cases = schema.cases.c
    return list(connection.execute(select(cases.id).where(cases.content == func.any(sorted(contents)))).scalars())


def _stored(
    connection: Connection, contents: Collection[str], prompt_ids: Collection[int] | None
) -> Sequence[Row[Any]]:
    """The stored findings of these contents."""
    findings, cases = schema.findings, schema.cases
    query = select(findings).join(cases, cases.c.id == findings.c.case_id)
    query = query.where(cases.c.content == func.any(sorted(contents)))
    if prompt_ids is not None:
        query = query.where(findings.c.prompt_id == func.any(sorted(prompt_ids)))
    return connection.execute(query).all()


def _write(
    connection: Connection,
    cases: Mapping[int, Row[Any]],
    found: Sequence[tuple[int, Finding]],
    *,
    stored: Sequence[Row[Any]],
) -> None:
    """Write the findings that differ from the stored ones, then severity, version and state of their cases."""
    wanted = {(case_id, *finding.label): _columns(finding) for case_id, finding in found}
    known = {(row.case_id, row.prompt_id, row.tag): row for row in stored}
    gone = known.keys() - wanted.keys()
    new = {key: values for key, values in wanted.items() if key not in known or _differs(known[key], values)}
    if not gone and not new:
        return
    table = schema.findings
    if gone:
        keys = tuple_(table.c.case_id, table.c.prompt_id, table.c.tag)
        connection.execute(delete(table).where(keys.in_(sorted(gone))))
    if new:
        rows = [
            {"case_id": case_id, "prompt_id": prompt_id, "tag": tag, **values}
            for (case_id, prompt_id, tag), values in new.items()
        ]
        adding = insert(table)
        changes = {name: adding.excluded[name] for name in next(iter(new.values()))}
        connection.execute(
            adding.on_conflict_do_update(index_elements=("case_id", "prompt_id", "tag"), set_=changes), rows
        )
    _follow(connection, [cases[case_id] for case_id in sorted({key[0] for key in (*gone, *new)})])


def _columns(finding: Finding) -> dict[str, Any]:
    names = ("category", "found", "severity", "lane", "reason", "policy_id", "video_id")
    return {name: getattr(finding, name) for name in names} | {"evidence": dict(finding.evidence)}


def _differs(row: Row[Any], values: Mapping[str, Any]) -> bool:
    return any(getattr(row, name) != value for name, value in values.items())


def _follow(connection: Connection, cases: Sequence[Row[Any]]) -> None:
    """Bring severity, version and state of cases in line with their findings, and record it."""
    table, findings = schema.cases, schema.findings.c
    worst = (
        select(func.coalesce(func.max(func.coalesce(findings.severity, 0)), 0))
        .where(findings.case_id == table.c.id)
        .scalar_subquery()
    )
    changed = update(table).where(table.c.id == func.any([case.id for case in cases]))
    connection.execute(changed.values(severity=worst, version=table.c.version + 1, changed_at=func.now()))
    facts = facts_of(connection, cases)
    add_events(connection, [_event(case, facts[case.id]) for case in cases])


def _event(case: Row[Any], facts: CaseFacts) -> NewEvent:
    is_new = case.state == CaseState.EMPTY and facts.state is CaseState.OPEN
    counts = {"findings": len(facts.found), "to_decide": len(facts.to_decide)}
    return NewEvent(case_id=case.id, kind=OPENED if is_new else CHANGED, state=facts.state, detail=counts)
