"""`ask`: answer one question about one video immediately."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nightreel.asking import AskedSegment, ask_video
from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.demo import DISCLAIMER
from nightreel.domain import MIN_COVERAGE, Prompt, PromptKind, Verdict, VerdictState, probability
from nightreel.errors import SettingsError
from nightreel.models.loading import DEMO


def ask(
    video: Annotated[str, typer.Argument(help="File, or URI of an object.")],
    question: Annotated[str, typer.Argument(help="Question to ask about each segment.")],
    kind: Annotated[PromptKind, typer.Option(help="Type of the answer.")] = PromptKind.TEXT,
    choice: Annotated[
        list[str] | None, typer.Option(help="Allowed answer, for --kind choice and tags; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Directory or hub id of a video LLM.")] = None,
    plan: Annotated[str | None, typer.Option(help="Sampling plan: uniform:N, fps:RATE:CAP or keyframes:CAP.")] = None,
    as_json: Json = False,
) -> None:
    """Ask one question about one video; store nothing."""
    if bool(choice) != (kind in (PromptKind.CHOICE, PromptKind.TAGS)):
        raise SettingsError(f"--kind {kind}: --kind choice and tags require --choice, other kinds do not accept it")
    settings = command_settings(model=model, plan=plan)
    coverage = MIN_COVERAGE if settings.min_coverage is None else settings.min_coverage
    prompt = Prompt.of(name="question", kind=kind, text=question, choices=tuple(choice or ()), coverage=coverage)
    replies = [(reply, verdict, p) for reply in ask_video(video, [prompt], settings) for verdict, p in _verdicts(reply)]
    if as_json:
        print_json([_values(*one) for one in replies])
        return
    if settings.model == DEMO:
        print_line(DISCLAIMER, style="yellow")
    print_table(
        ("seconds", "answer", "p", "frames at"),
        [
            (
                f"{reply.segment.start_s:.1f}-{reply.segment.end_s:.1f}",
                plain(verdict.text if verdict.state is VerdictState.ANSWERED else f"{verdict.state}: {verdict.reason}"),
                "" if p is None else f"{p:.3f}",
                " ".join(f"{pts:.2f}" for pts in reply.pts_s),
            )
            for reply, verdict, p in replies
        ],
    )


def _values(reply: AskedSegment, verdict: Verdict, p: float | None) -> dict[str, Any]:
    return {
        "start_s": reply.segment.start_s,
        "end_s": reply.segment.end_s,
        "state": verdict.state,
        "answer": verdict.text,
        "p": p,
        "reason": verdict.reason,
        "frame_times_s": list(reply.pts_s),
        "covered_s": reply.covered_s,
        "expected_s": reply.segment.expected_s,
    }


def _verdicts(reply: AskedSegment) -> list[tuple[Verdict, float | None]]:
    """The verdicts on a segment with their probabilities; an error if it failed."""
    if reply.failure is not None:
        return [(Verdict(state=VerdictState.ERROR, reason=str(reply.failure)), None)]
    return [(one.verdict, probability(one.prompt.question, one.answer)) for one in reply.answers]


def register(app: typer.Typer) -> None:
    app.command()(ask)
