"""`eval`: compare models and prompt sets on videos whose right answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated

import typer

from nightreel.cli.console import Json, command_settings, err, plain, print_json, print_line, print_table
from nightreel.cli.shares import share_cell
from nightreel.evaluation.asking import Candidate, ask_candidate, require_prompts
from nightreel.evaluation.decided import decided_labels
from nightreel.evaluation.labels import Label, read_labels
from nightreel.evaluation.page import render_page
from nightreel.evaluation.report import CandidateReport, Difference, Report, Score, make_report
from nightreel.prompts.loading import load_prompt_sets
from nightreel.stages.database import open_database
from nightreel.storage import open_storage
from nightreel.units import counted

_MOST_CHANGES = 20
_MOST_FAILURES = 10


def evaluate(
    labels: Annotated[
        Path | None,
        typer.Argument(help="File of right answers: CSV, or JSON Lines if it ends in .jsonl. Left out: --decisions."),
    ] = None,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="Take what people decided about yes/no prompts as right answers.")
    ] = False,
    videos: Annotated[
        str | None,
        typer.Option(
            help="Directory or URL of the labelled videos. Default: the directory of the file, or NIGHTREEL_SOURCE."
        ),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", help="Model to ask, as NIGHTREEL_MODEL; repeatable.")
    ] = None,
    prompts: Annotated[
        list[str] | None,
        typer.Option(help="Prompt set to ask, or several joined by commas; repeat it to compare prompt sets."),
    ] = None,
    plan: Annotated[str | None, typer.Option(help="Sampling plan: uniform:N, fps:RATE:CAP or keyframes:CAP.")] = None,
    page: Annotated[Path | None, typer.Option(help="File to write the report to, as a page for a browser.")] = None,
    as_json: Json = False,
) -> None:
    """Ask each model with each prompt set about labelled videos, and compare their answers; store nothing."""
    if (labels is None) != decisions:
        raise typer.BadParameter("expected either a file of right answers or --decisions")
    known = None if labels is None else read_labels(labels)
    candidates = _candidates(models or [None], prompts or [None], plan)
    place = videos or (str(labels.parent) if labels is not None else "")
    if known is None:
        place, known = _decided(candidates, videos)
    require_prompts(candidates, known)
    report = make_report([ask_candidate(one, known, videos=place, on_video=_show) for one in candidates])
    if page is not None:
        page.write_text(render_page(report), encoding="utf-8")
        err.print(f"page: {page}", markup=False, soft_wrap=True)
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)
    if any(len(one.cost.failures) == one.cost.videos for one in report.candidates):
        raise typer.Exit(1)


def _decided(candidates: Sequence[Candidate], videos: str | None) -> tuple[str, list[Label]]:
    """Where the decided videos are, and what people decided about the prompts that all candidates ask."""
    settings = command_settings(source=videos)
    url = open_storage(settings.source, settings).url
    asked = [{prompt.name for prompt in one.prompts.prompts} for one in candidates]
    with open_database(settings) as database, database.begin() as connection:
        return url, decided_labels(connection, url, prompts=set.intersection(*asked))


def _candidates(models: Sequence[str | None], sets: Sequence[str | None], plan: str | None) -> list[Candidate]:
    """Each model with each prompt set; None: that of the settings. Their names say in what they differ."""
    candidates = []
    for model, prompts in product(models, sets):
        settings = command_settings(model=model, plan=plan)
        names = prompts.split(",") if prompts else settings.prompt_sets
        differs = [settings.model] if len(models) > 1 or len(sets) == 1 else []
        if len(sets) > 1:
            differs.append(",".join(names))
        loaded = load_prompt_sets(names, coverage=settings.min_coverage)
        candidates.append(Candidate(name=" with ".join(differs), settings=settings, prompts=loaded))
    return candidates


def _show(candidate: str, file: str, number: int, of: int) -> None:
    err.print(f"{candidate}: {number} of {of}: {plain(file)}", markup=False, soft_wrap=True)


def _print(report: Report) -> None:
    print_line(f"{counted(report.labels, 'label')} of {counted(report.videos, 'video')}")
    for candidate in report.candidates:
        _print_candidate(candidate)
    for difference in report.differences:
        _print_difference(difference)


def _print_candidate(candidate: CandidateReport) -> None:
    cost = candidate.cost
    print_line()
    print_line(candidate.name, style="bold")
    print_table(
        ("asked", "labels", "unknown", "errors", "accuracy", "precision", "recall", "calibration error"),
        [_row(score) for score in candidate.scores],
    )
    speed = f", {cost.seconds / cost.video_s:.2f} s per second of video" if cost.video_s else ""
    print_line(f"{cost.seconds:.1f} s{speed}; {cost.prompt_tokens:,} tokens read, {cost.generated_tokens:,} written")
    if cost.failures:
        print_line(f"{counted(len(cost.failures), 'video')} failed:", style="red")
    for file, why in list(cost.failures.items())[:_MOST_FAILURES]:
        print_line(f"  {plain(file)}: {plain(why)}", style="red")


def _row(score: Score) -> tuple[str, ...]:
    error = "" if score.calibration_error is None else f"{score.calibration_error:.3f}"
    return (
        plain(score.asked),
        str(score.labels),
        str(score.unknown),
        str(score.errors),
        share_cell(score.accuracy),
        share_cell(score.precision),
        share_cell(score.recall),
        error,
    )


def _print_difference(difference: Difference) -> None:
    comparison = difference.comparison
    print_line()
    print_line(f"{difference.second} beside {difference.first}", style="bold")
    print_line(
        f"only {difference.first} is right: {comparison.only_first}; only {difference.second} is right: "
        f"{comparison.only_second}; p = {comparison.p_value:.4f}"
    )
    shown = difference.changes[:_MOST_CHANGES]
    if shown:
        print_table(
            ("video", "asked", "right answer", "first", "second", "better"),
            [
                (plain(c.file), plain(c.asked), plain(c.answer), plain(c.first), plain(c.second), c.better)
                for c in shown
            ],
        )
    if len(difference.changes) > len(shown):
        print_line(f"and {len(difference.changes) - len(shown)} more: --json or --page shows all")


def register(app: typer.Typer) -> None:
    app.command("eval")(evaluate)
