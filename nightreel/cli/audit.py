"""`audit`: how far the machine and the people can be trusted. `audit_golden` has the golden items."""

from __future__ import annotations

import getpass
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from nightreel.cli import audit_golden
from nightreel.cli.console import Json, command_settings, err, plain, print_json, print_line, print_table
from nightreel.cli.shares import share_cell
from nightreel.database.prompt_sets import kept_meanings
from nightreel.errors import SettingsError
from nightreel.review.agreement import read_accuracy, read_agreement
from nightreel.review.auditing import Audit, judged_items, newest_misses, read_audits
from nightreel.review.threshold_change import change_threshold
from nightreel.stages.audit import AuditWish, draw_audits
from nightreel.stages.database import open_database
from nightreel.statistics.calibration import Reliability, for_precision, for_recall, reliability
from nightreel.statistics.intervals import Interval
from nightreel.units import counted

Set = Annotated[str | None, typer.Option("--set", help="Only labels of this prompt set.")]
PromptName = Annotated[str | None, typer.Option("--prompt", help="Only labels of this prompt.")]
Sample = Annotated[
    int | None, typer.Option(min=1, max=10_000, help="Most items of each label; default: NIGHTREEL_AUDIT_SAMPLE.")
]
Under = Annotated[str | None, typer.Option(help="Only videos whose key starts with this.")]
By = Annotated[str | None, typer.Option("--by", help="Who draws it.")]
Label = Annotated[str, typer.Argument(metavar="LABEL", help="Prompt, SET/PROMPT, or PROMPT: TAG.")]
Wish = Annotated[float | None, typer.Option(min=0, max=1, help="0 to 1.")]


def show(
    context: typer.Context,
    ended: Annotated[bool, typer.Option("--ended", help="Show audits that ended, too.")] = False,
    as_json: Json = False,
) -> None:
    """Show what the machine missed, as far as people judged the audits; draw audits, and more."""
    if context.invoked_subcommand:
        return
    with open_database(command_settings()) as database, database.begin() as connection:
        audits = read_audits(connection, ended=ended)
    if as_json:
        print_json([one.to_json() for one in audits])
        return
    print_misses([one for one in audits if one.first_recipe_id is None])
    if not audits:
        print_line("none: `nightreel audit draw` draws a sample of what the machine calls no")
    shadows = [one for one in audits if one.first_recipe_id is not None]
    if shadows:
        print_line()
        print_table(
            ("audit", "label", "recipes", "disagreements", "drawn", "judged", "first is right", "second is right", "p"),
            [_shadow_row(one) for one in shadows],
        )


def print_misses(audits: Sequence[Audit]) -> None:
    """Print what audits say of the machine's "no", as far as people judged them."""
    print_table(
        ("audit", "label", "items", "drawn", "judged", "missed", "prevalence", "recall", "policy"),
        [_row(one) for one in audits],
    )


def print_reliability(found: Reliability) -> None:
    """Print a reliability table and its calibration error."""
    print_table(
        ("p", "judged", "mean p", "confirmed"),
        [
            (f"{one.low:.1f}-{one.high:.1f}", one.count, f"{one.mean_p:.3f}", share_cell(one.positive))
            for one in found.bins
        ],
    )
    print_line(f"expected calibration error: {found.error:.3f}")


def draw(
    prompt_set: Set = None,
    prompt: PromptName = None,
    sample: Sample = None,
    under: Under = None,
    made_by: By = None,
) -> None:
    """Draw a random sample of what the machine calls no into the queues. It ends the audit of the same label."""
    _draw(prompt_set, prompt, sample, under, made_by, recipes=None)


def shadow(
    first: Annotated[int, typer.Argument(help="Number of a recipe: `nightreel recipes` lists them.")],
    second: Annotated[int, typer.Argument(help="Number of another one, which flagged nothing.")],
    prompt_set: Set = None,
    prompt: PromptName = None,
    sample: Sample = None,
    under: Under = None,
    made_by: By = None,
) -> None:
    """Draw the videos on which two recipes disagree into the queues, in both directions."""
    _draw(prompt_set, prompt, sample, under, made_by, recipes=(first, second))


def calibration(label: Label, as_json: Json = False) -> None:
    """Show whether the probabilities of a label are true, by what people decided of its audit."""
    with open_database(command_settings()) as database, database.begin() as connection:
        audit = newest_misses(read_audits(connection), label)
        found = reliability(judged_items(connection, audit))
    if as_json:
        print_json({"audit_id": audit.audit_id, "label": audit.name} | (asdict(found) if found else {"bins": []}))
        return
    if found is None:
        print_line(f"nobody has judged an item of {plain(audit.name)} yet")
        return
    print_reliability(found)


def thresholds(
    label: Label,
    precision: Wish = None,
    recall: Wish = None,
    output: Annotated[Path | None, typer.Option(help="File to write the prompt set with the threshold to.")] = None,
    sets: Annotated[str | None, typer.Option("--prompts", help="Prompt sets to look in, joined by commas.")] = None,
) -> None:
    """Find the threshold that gives a wished precision or recall, and print the change of the prompt set."""
    if (precision is None) == (recall is None):
        raise SettingsError("expected either --precision or --recall")
    settings = command_settings()
    with open_database(settings) as database, database.begin() as connection:
        audit = newest_misses(read_audits(connection), label)
        items = judged_items(connection, audit)
        names = kept_meanings(connection, sets.split(",") if sets else settings.prompt_sets)
    wished = for_precision(items, precision) if precision is not None else for_recall(items, recall or 0.0)
    if wished is None:
        raise SettingsError(f"no threshold gives this: {counted(len(items), 'item')} of {audit.name} are judged")
    print_line(
        f"from p = {wished.threshold:.4g} on: precision {share_cell(wished.precision)}, recall "
        f"{share_cell(wished.recall)}, {100 * wished.flagged:.2g} % of all flagged"
    )
    change = change_threshold(audit, wished.threshold, sets=names, begins=recall is not None)
    print_line(change.diff or "the prompt set has this threshold already")
    if output is not None:
        output.write_text(change.after, encoding="utf-8")
        err.print(f"to see what it changes: nightreel policy preview {output}", markup=False, soft_wrap=True)


def agreement(as_json: Json = False) -> None:
    """Show how far two people agree on the same labels (Krippendorff's alpha)."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = read_agreement(connection)
    if as_json:
        print_json([asdict(one) for one in found])
        return
    print_table(
        ("prompt", "judged twice", "agreed", "alpha"),
        [
            (f"{one.prompt_set}/{one.prompt}", one.labels, one.agreed, "" if one.alpha is None else f"{one.alpha:.2f}")
            for one in found
        ],
    )


def reviewers(as_json: Json = False) -> None:
    """Show how often each reviewer is right about golden items."""
    with open_database(command_settings()) as database, database.begin() as connection:
        found = read_accuracy(connection)
    if as_json:
        print_json([one.to_json() for one in found])
        return
    print_table(
        ("reviewer", "prompt", "judged", "correct", "unsure", "accuracy"),
        [
            (
                one.reviewer,
                f"{one.prompt_set}/{one.prompt}",
                one.judged,
                one.correct,
                one.unsure,
                share_cell(one.accuracy),
            )
            for one in found
        ],
    )


def _draw(
    prompt_set: str | None,
    prompt: str | None,
    sample: int | None,
    under: str | None,
    made_by: str | None,
    *,
    recipes: tuple[int, int] | None,
) -> None:
    settings = command_settings()
    wish = AuditWish(
        sample=sample or settings.audit_sample,
        made_by=made_by or getpass.getuser(),
        under=under,
        recipes=recipes,
        prompt_set=prompt_set,
        prompt=prompt,
    )
    drawn: list[int] = []
    with open_database(settings, to_write=True) as database:
        for label, audit_id in draw_audits(database, wish):
            name = plain(f"{label.prompt_set}/{label.prompt}" + (f": {label.tag}" if label.tag else ""))
            err.print(f"{name}: {'nothing to draw' if audit_id is None else f'audit {audit_id}'}", markup=False)
            drawn += [audit_id] if audit_id is not None else []
        with database.begin() as connection:
            found = [one for one in read_audits(connection) if one.audit_id in drawn]
    print_line(f"{counted(len(found), 'audit')}, {counted(sum(one.drawn for one in found), 'item')} drawn")


def _row(audit: Audit) -> tuple[Any, ...]:
    misses = audit.misses
    said = (
        ("", "", "")
        if misses is None
        else (_count(misses.missed), share_cell(misses.prevalence), share_cell(misses.recall))
    )
    policy = "in force" if audit.is_of_policy_in_force else "changed since"
    return (
        audit.audit_id,
        f"{audit.prompt_set}/{audit.name}",
        audit.size,
        audit.drawn,
        audit.judged,
        *said,
        "ended" if audit.ended_at else policy,
    )


def _shadow_row(audit: Audit) -> tuple[Any, ...]:
    found = audit.comparison
    said = ("", "", "") if found is None else (found.only_first, found.only_second, f"{found.p_value:.4f}")
    recipes = f"{audit.first_recipe_id}, {audit.second_recipe_id}"
    return (
        audit.audit_id,
        f"{audit.prompt_set}/{audit.name}",
        recipes,
        audit.size,
        audit.drawn,
        audit.judged,
        *said,
    )


def _count(interval: Interval) -> str:
    return f"{interval.value:.0f} ({math.floor(interval.low)}-{math.ceil(interval.high)})"


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="How far the machine and the people can be trusted.", invoke_without_command=True)
    group.callback()(show)
    for command in (draw, shadow, calibration, thresholds, agreement, reviewers):
        group.command()(command)
    audit_golden.register(group)
    app.add_typer(group, name="audit")
