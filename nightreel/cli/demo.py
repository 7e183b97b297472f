"""`demo`: run the whole pipeline on a dozen generated clips, and compare its answers with the correct ones."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from nightreel.cli.analyze import print_summary, run
from nightreel.cli.audit import print_misses, print_reliability
from nightreel.cli.console import command_settings, plain, print_line, print_table
from nightreel.console.server import DEMO_LINK, DEMO_USER
from nightreel.database import reports
from nightreel.database.connection import Database
from nightreel.database.users import add_user
from nightreel.demo.grading import FilmGrade, Grade, grade_answers, grade_films, share_right
from nightreel.demo.reviewing import PROMPT, PROMPT_SET, review_night
from nightreel.demo.videos import LONG_CLIP, demo_clips, make_demo_videos
from nightreel.domain import PromptKind
from nightreel.domain.users import Role
from nightreel.models.loading import DEMO
from nightreel.options import AnalyzeOptions, settings_for
from nightreel.private import private_opener
from nightreel.prompts.loading import load_prompt_sets
from nightreel.services import open_services
from nightreel.settings import Settings
from nightreel.stages.database import open_database
from nightreel.units import counted

if TYPE_CHECKING:
    from nightreel.demo.poster import Panel
    from nightreel.media.sandbox import DecoderPool

_PROMPTS = ("demo", "demo_moderation", "demo_tagging")
_SENTENCES = (PromptKind.CAPTION, PromptKind.TEXT, PromptKind.OBJECT)
_CHUNK_SEGMENTS = 4  # so small that a dozen clips show several chunks in flight
_POSTER_MOMENTS = (0.06, 0.5, 0.94)  # of a segment


def demo() -> None:
    """Generate a dozen clips, analyse them, and compare answers with the truth. A second run finds nothing new."""
    settings = command_settings()
    videos = make_demo_videos(settings.work_dir.resolve() / "demo" / "videos")
    print_line(f"videos: {videos}")
    if settings.checkpoint != DEMO:
        print_line(f"{settings.model} was not trained on these clips: expect wrong answers", style="yellow")
    is_new = settings.database_url is None and not (settings.work_dir / "postgres").exists()
    with ExitStack() as stack:
        endpoints = stack.enter_context(open_services(settings))
        print_line(f"services started for this demo: {', '.join(endpoints.started) or 'none'}")
        options = AnalyzeOptions(source=str(videos), chunk_segments=_CHUNK_SEGMENTS, prompts=_PROMPTS)
        summary = run(options, settings_for(options, settings))
        database = stack.enter_context(open_database(settings))
        if is_new:
            _add_demo_user(database, settings)
        with database.begin() as connection:
            rows = [dict(row) for row in reports.answers(connection, uri=f"{summary.source}/", limit=10_000)]
            films = [dict(row) for row in reports.whole_video_answers(connection, uri=f"{summary.source}/")]
            failed = reports.failures(connection, uri=f"{summary.source}/")
        prompts = load_prompt_sets(_PROMPTS).prompts
        grades = grade_answers(rows, demo_clips(), prompts)
        of_films = grade_films(films, demo_clips(), prompts)
        segments = [
            list(own) for _, own in groupby(sorted(grades, key=_segment), key=lambda grade: _segment(grade)[:2])
        ]
        if segments:
            _show(segments, rows)
        print_table(
            ("failed", "reason", "detail"),
            [(plain(row["uri"].rsplit("/", 1)[-1]), row["reason"], plain(row["detail"])) for row in failed],
        )
        print_line()
        if segments:
            _show_timeline([own for own in segments if own[0].clip == LONG_CLIP])
            _show_film([one for one in of_films if one.clip == LONG_CLIP])
            _show_share(grades, of_films)
            print_line(f"all clips in one picture: {_save_poster(segments, videos, settings)}")
            _show_review(database, summary.source, grades)
        print_line()
        print_summary(summary)
    _show_next_steps()


def _add_demo_user(database: Database, settings: Settings) -> None:
    """Let `nightreel console` sign a person in to this database, which the demo made."""
    with database.begin() as connection:
        add_user(connection, DEMO_USER, role=Role.LEAD, pseudonym="demo-lead")
    path = settings.work_dir / DEMO_LINK
    with open(path, "w", opener=private_opener):
        pass


def _show_review(database: Database, source: str, grades: Sequence[Grade]) -> None:
    """Let scripted reviewers work off the night, and show what their decisions say of the machine."""
    warnings = [one for one in grades if (one.prompt.set_name, one.prompt.name) == (PROMPT_SET, PROMPT)]
    truth: dict[str, bool] = {}
    for one in warnings:
        truth[one.clip] = truth.get(one.clip, False) or one.truth == "yes"
    found = review_night(database, source=source, truth=truth)
    if found is None:
        return
    print_line()
    print_line(
        f"three scripted reviewers: {counted(found.cases, 'case')}, {counted(found.decisions, 'decision')}, "
        f"{counted(found.disagreements, 'disagreement')}, {found.undone} undone; three cases wait for you",
        style="bold",
    )
    print_misses([found.audit])
    if found.calibration is not None:
        print_reliability(found.calibration)


def _segment(grade: Grade) -> tuple[str, float, str]:
    return grade.clip, grade.start_s, grade.prompt.name


def _show(segments: Sequence[Sequence[Grade]], rows: Sequence[Mapping[str, Any]]) -> None:
    reused = {row["uri"].rsplit("/", 1)[-1] for row in rows if row["reused_from"]}
    to_review = {(row["uri"].rsplit("/", 1)[-1], row["start_s"]) for row in rows if row["needs_review"]}
    _show_captions(segments, reused=reused, to_review=to_review)
    graded = {one.prompt.name for own in segments for one in own}
    asked = [
        prompt.name
        for prompt in load_prompt_sets(_PROMPTS).prompts
        if prompt.question.kind not in _SENTENCES and prompt.name in graded
    ]
    _show_answers(segments, asked)


def _show_captions(segments: Sequence[Sequence[Grade]], *, reused: set[str], to_review: set[tuple[str, float]]) -> None:
    print_table(
        ("video", "seconds", "caption", "correct", "to review", ""),
        [
            (
                plain(own[0].clip),
                _seconds(own[0]),
                plain(_said(own, "scene")),
                "yes" if _right(own, "scene") else f"no: {_truth(own, 'scene')}",
                "warning" if (own[0].clip, own[0].start_s) in to_review else "nothing",
                "reused" if own[0].clip in reused else "",
            )
            for own in segments
        ],
    )
    print_line()


def _show_answers(segments: Sequence[Sequence[Grade]], prompts: Sequence[str]) -> None:
    """One column per prompt; the correct answer follows a wrong one."""
    print_table(
        ("video", "seconds", *prompts),
        [
            (
                plain(own[0].clip),
                _seconds(own[0]),
                *(
                    plain(_said(own, prompt) or "none")
                    + ("" if _right(own, prompt) else f" (correct: {_truth(own, prompt) or 'none'})")
                    for prompt in prompts
                ),
            )
            for own in segments
        ],
    )
    print_line()


def _show_timeline(segments: Sequence[Sequence[Grade]]) -> None:
    print_line(f"{LONG_CLIP}, scene by scene:", style="bold")
    for own in segments:
        print_line(f"  {_seconds(own[0]):>7} s  {plain(_said(own, 'scene'))}")
        if why := _said(own, "why"):
            print_line(f"{'':11}flagged: {plain(why)}", style="red")
    print_line()


def _show_film(films: Sequence[FilmGrade]) -> None:
    print_line(f"{LONG_CLIP} as a whole, over the captions of its scenes:", style="bold")
    for one in films:
        print_line(f"  {one.prompt.name:13}  {plain(one.said or 'none')}")
    print_line()


def _show_share(grades: Sequence[Grade], films: Sequence[FilmGrade]) -> None:
    captions = [one for one in grades if one.prompt.name == "scene"]
    answers = [one for one in grades if one.prompt.name != "scene"]
    print_line(
        f"correct: {_share(captions)} captions, {_share(answers)} answers, {_share(films)} about whole videos "
        f"({share_right([*grades, *films]):.1%} together)",
        style="bold",
    )


def _share(grades: Sequence[Grade | FilmGrade]) -> str:
    return f"{sum(one.right for one in grades)} of {len(grades)}"


def _save_poster(segments: Sequence[Sequence[Grade]], videos: Path, settings: Settings) -> Path:
    from nightreel.demo.poster import draw_poster
    from nightreel.media.sandbox import DecoderPool

    poster = videos.parent / "contact-sheet.png"
    with DecoderPool.from_settings(settings) as pool:
        draw_poster([_panel(own, videos, pool) for own in segments]).save(poster)
    return poster


def _panel(own: Sequence[Grade], videos: Path, pool: DecoderPool) -> Panel:
    from nightreel.demo.poster import Panel

    first = own[0]
    path = videos / first.clip
    moments_s = [first.start_s + share * (first.end_s - first.start_s) for share in _POSTER_MOMENTS]
    batch = pool.decode_moments(path, probe=pool.probe(path), moments_s=moments_s)
    why = _said(own, "why")
    return Panel(
        title=f"{first.clip}  {_seconds(first)} s",
        frames=list(batch.frames_thwc),
        caption=_said(own, "scene"),
        alert=f"to review: {why}" if why else "",
    )


def _said(own: Sequence[Grade], prompt: str) -> str:
    return "".join(one.said for one in own if one.prompt.name == prompt)


def _truth(own: Sequence[Grade], prompt: str) -> str:
    return "".join(one.truth for one in own if one.prompt.name == prompt)


def _right(own: Sequence[Grade], prompt: str) -> bool:
    return all(one.right for one in own if one.prompt.name == prompt)


def _seconds(grade: Grade) -> str:
    return f"{grade.start_s:.0f}-{grade.end_s:.0f}"


def _show_next_steps() -> None:
    print_line()
    print_line(f"next steps{_activation()}:")
    for command, what in (
        ("nightreel console", "see it in a browser: find clips, look at flags, judge three cases"),
        ("nightreel answers --review", "show the answers that need review"),
        ("nightreel up && nightreel status", "keep Postgres and the Prefect UI running, and show their URLs"),
        ("nightreel analyze DIRECTORY", "analyse your own videos; set NIGHTREEL_MODEL to a video LLM"),
        ("nightreel doctor", "check this machine"),
    ):
        print_line(f"  {command:34}{what}")


def _activation() -> str:
    """How the commands are found; empty outside of a virtual environment, as in a container."""
    if sys.prefix == sys.base_prefix:
        return ""
    environment = Path(sys.prefix)
    if environment.is_relative_to(Path.cwd()):
        environment = environment.relative_to(Path.cwd())
    return f", after `. {shlex.quote(str(environment / 'bin' / 'activate'))}`"


def register(app: typer.Typer) -> None:
    app.command()(demo)
