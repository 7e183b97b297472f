"""`review`: work a queue at the terminal. `review_leads` has what leads do."""

from __future__ import annotations

import getpass
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer
from sqlalchemy import Connection

from nightreel.cli import review_leads
from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.database.users import find_user
from nightreel.domain.cases import Ruling
from nightreel.domain.users import User
from nightreel.errors import SettingsError
from nightreel.review import deciding, desk, history, showing, undoing, viewing
from nightreel.review.deciding import NewRuling
from nightreel.review.showing import ShownCase, ShownFinding
from nightreel.stages.database import open_database
from nightreel.suggestions import refusal
from nightreel.units import counted, human_seconds

ALL = "all"
Case = Annotated[int, typer.Argument(help="Number of the case.", min=1, max=2**63 - 1)]
Me = Annotated[str | None, typer.Option("--as", help="Who you are: a name of `nightreel users list`.")]
QueueName = Annotated[str, typer.Argument(help="Name of a queue.")]
Labels = Annotated[list[str] | None, typer.Option(help="A label as it is shown, or SET/LABEL, or `all`. Repeatable.")]


@contextmanager
def working(name: str | None) -> Iterator[tuple[Connection, User]]:
    """A transaction, and the person who works in it; None: the user of this terminal."""
    who = name or getpass.getuser()
    with open_database(command_settings()) as database, database.begin() as connection:
        user = find_user(connection, who)
        if user is None:
            raise SettingsError(f"there is no user {who!r}: `nightreel users add` makes one, --as names another one")
        yield connection, user


def _see(connection: Connection, user: User, case_id: int) -> ShownCase:
    """A case, noted in the log of what people saw."""
    case = showing.show_case(connection, user, case_id)
    viewing.note_case(connection, user, case)
    return case


def list_queues(me: Me = None, as_json: Json = False) -> None:
    """Show your queues and how many cases wait."""
    with working(me) as (connection, user):
        found = showing.show_queues(connection, user)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    columns = ("open", "second", "escalated", "appealed", "taken", "held", "mine")
    print_table(("queue", *columns), [(one.name, *(getattr(one, name) for name in columns)) for one in found])


def take_next(queue: QueueName, me: Me = None, as_json: Json = False) -> None:
    """Take the next case of a queue, or show the one that you have."""
    with working(me) as (connection, user):
        case_id = desk.take_next(connection, user, queue)
        if case_id is None:
            print_line(desk.why_nothing(connection, user, queue))
            return
        case = _see(connection, user, case_id)
    _print_case(case, as_json=as_json)


def take(case_id: Case, me: Me = None, as_json: Json = False) -> None:
    """Take this case."""
    with working(me) as (connection, user):
        desk.take_case(connection, user, case_id)
        case = _see(connection, user, case_id)
    _print_case(case, as_json=as_json)


def show(case_id: Case, me: Me = None, as_json: Json = False) -> None:
    """Show a case."""
    with working(me) as (connection, user):
        case = _see(connection, user, case_id)
    _print_case(case, as_json=as_json)


def decide(
    case_id: Case,
    confirm: Labels = None,
    reject: Labels = None,
    unsure: Labels = None,
    escalate: Labels = None,
    note: Annotated[str, typer.Option(help="Why.")] = "",
    start_s: Annotated[float | None, typer.Option("--from", help="First second that it is about.")] = None,
    end_s: Annotated[float | None, typer.Option("--to", help="Last second that it is about.")] = None,
    seen: Annotated[
        int | None, typer.Option(help="Version that you looked at. Left out: decide whatever there is now.")
    ] = None,
    me: Me = None,
) -> None:
    """Decide all labels of a case that wait: confirm (the label is right), reject (it is wrong), unsure or escalate.

    A case that nobody has is taken for it.
    """
    given = {
        Ruling.CONFIRM: confirm or [],
        Ruling.REJECT: reject or [],
        Ruling.UNSURE: unsure or [],
        Ruling.ESCALATE: escalate or [],
    }
    with working(me) as (connection, user):
        case = showing.show_case(connection, user, case_id)
        if not case.mine:
            desk.take_case(connection, user, case_id)
        waiting = [finding for finding in case.findings if finding.to_decide]
        rulings = [
            NewRuling(
                prompt_id=finding.prompt_id, tag=finding.tag, ruling=ruling, start_s=start_s, end_s=end_s, note=note
            )
            for ruling, labels in given.items()
            for finding in _named(labels, waiting)
        ]
        done = deciding.decide(
            connection, user, case_id, version=case.version if seen is None else seen, rulings=rulings
        )
    print_line(f"case {case_id} is {done.state}: {counted(done.decisions, 'decision')}")
    print_line(f"to undo: nightreel review undo {done.batch_id}")


def undo(
    batch: Annotated[
        UUID | None, typer.Argument(help="What `decide` or `bulk` printed. Left out: your last decision.")
    ] = None,
    me: Me = None,
) -> None:
    """Undo decisions that were made together."""
    with working(me) as (connection, user):
        done = undoing.undo(connection, user, batch or undoing.last_batch(connection, user))
    kept = f"; {counted(done.kept, 'decision')} stay: later ones rest on them" if done.kept else ""
    print_line(f"undone: {counted(done.decisions, 'decision')} in {counted(done.cases, 'case')}{kept}")


def extend(case_id: Case, me: Me = None) -> None:
    """Start the time of your case again."""
    with working(me) as (connection, user):
        desk.extend(connection, user, case_id)
        left_s = showing.show_case(connection, user, case_id).seconds_left
    print_line(f"case {case_id}: {human_seconds(left_s or 0)} left")


def release(case_id: Case, me: Me = None) -> None:
    """Give a case back."""
    with working(me) as (connection, user):
        desk.release(connection, user, case_id)
    print_line(f"case {case_id} waits for the next person")


def skip(case_id: Case, me: Me = None) -> None:
    """Give a case back, and do not get it again."""
    with working(me) as (connection, user):
        desk.skip(connection, user, case_id)
    print_line(f"case {case_id} waits for another person")


def hold(
    case_id: Case,
    until: Annotated[datetime, typer.Option(help="Until then nobody gets it from the queue (UTC).")],
    me: Me = None,
) -> None:
    """Give a case back, and let nobody get it from the queue before a time."""
    with working(me) as (connection, user):
        desk.hold(connection, user, case_id, until=until)
    print_line(f"case {case_id} is on hold until {until:%Y-%m-%d %H:%M} UTC")


def assign(
    case_id: Case,
    to: Annotated[str | None, typer.Option(help="Name of the person; left out: nobody.")] = None,
    me: Me = None,
) -> None:
    """Keep a case for one person. Leads may, and everybody for the case that they have."""
    with working(me) as (connection, user):
        person = find_user(connection, to) if to else None
        if to and person is None:
            raise SettingsError(f"there is no user {to!r}: `nightreel users list` shows all")
        desk.assign(connection, user, case_id, to=person)
    print_line(f"case {case_id} is for {plain(to) if to else 'everybody'}")


def appeal(
    case_id: Case, reason: Annotated[str, typer.Option(help="Why it should be looked at again.")], me: Me = None
) -> None:
    """Reopen a closed case: a lead who has not decided in it decides again."""
    with working(me) as (connection, user):
        deciding.appeal(connection, user, case_id, reason=reason)
    print_line(f"case {case_id} waits for a lead")


def show_history(case_id: Case, me: Me = None, as_json: Json = False) -> None:
    """Show all that happened to a case."""
    with working(me) as (connection, user):
        found = history.read_history(connection, user, case_id)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    rows = [
        (f"{one.at:%Y-%m-%d %H:%M:%S}", one.what, one.who, one.label, one.state, one.note or _words(one.detail))
        for one in found
    ]
    print_table(("at", "what", "who", "label", "state", "more"), rows)


def _words(detail: dict[str, object]) -> str:
    return ", ".join(f"{name} {value}" for name, value in detail.items() if name != "decision_id")


def _named(labels: Sequence[str], waiting: Sequence[ShownFinding]) -> Iterator[ShownFinding]:
    known = sorted({finding.name for finding in waiting})
    for label in labels:
        found = [one for one in waiting if label in (ALL, one.name, f"{one.prompt_set}/{one.name}")]
        if not found:
            raise SettingsError(refusal(f"{label!r} is no label of this case that waits", label, known))
        yield from found


def _print_case(case: ShownCase, *, as_json: bool) -> None:
    if as_json:
        print_json(asdict(case))
        return
    left = f", {human_seconds(case.seconds_left)} left" if case.mine and case.seconds_left else ""
    print_line(f"case {case.case_id}, version {case.version}, queue {case.queue}: {case.state}{left}", style="bold")
    for _, uri in case.videos:
        print_line(f"  {plain(uri)}")
    if case.copies > len(case.videos):
        print_line(f"  and {case.copies - len(case.videos):,} more with the same bytes")
    rows = [
        (
            finding.name,
            finding.found,
            finding.severity,
            None if finding.p is None else f"{finding.p:.2f}",
            ", ".join(f"{start:g}-{end:g}" for start, end in finding.ranges),
            finding.reason,
            "yes" if finding.to_decide else "no",
        )
        for finding in case.findings
    ]
    print_table(("label", "found", "severity", "p", "seconds", "reason", "to decide"), rows)


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Judge what is flagged, unsure or failed.", no_args_is_help=True)
    group.command("queues")(list_queues)
    group.command("next")(take_next)
    for command in (take, show, decide, undo, extend, release, skip, hold, assign, appeal):
        group.command()(command)
    group.command("history")(show_history)
    group.command("bulk")(review_leads.bulk)
    group.command("apply")(review_leads.apply)
    app.add_typer(group, name="review")
