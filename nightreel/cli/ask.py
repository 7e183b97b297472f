"""`ask`: answer one question about one video or image immediately."""

from __future__ import annotations

from typing import Annotated

import typer

from nightreel.asking import ask_file, prompt_of, values_of, verdicts_on
from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.demo import DISCLAIMER
from nightreel.domain import PromptKind, VerdictState
from nightreel.models.loading import DEMO


def ask(
    video: Annotated[str, typer.Argument(help="Video or image: a file, or URI of an object.")],
    question: Annotated[str, typer.Argument(help="Question to ask about each segment.")],
    kind: Annotated[PromptKind, typer.Option(help="Type of the answer.")] = PromptKind.TEXT,
    choice: Annotated[
        list[str] | None, typer.Option(help="Allowed answer, for --kind choice and tags; repeatable.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Directory or hub id of a video LLM.")] = None,
    plan: Annotated[str | None, typer.Option(help="Sampling plan: uniform:N, fps:RATE:CAP or keyframes:CAP.")] = None,
    as_json: Json = False,
) -> None:
    """Ask one question about one video or image; store nothing."""
    settings = command_settings(model=model, plan=plan)
    prompt = prompt_of(question, kind=kind, choices=choice or (), settings=settings)
    replies = list(ask_file(video, [prompt], settings))
    if as_json:
        print_json([value for reply in replies for value in values_of(reply)])
        return
    if settings.checkpoint == DEMO:
        print_line(DISCLAIMER, style="yellow")
    print_table(
        ("seconds", "answer", "p", "frames at"),
        [
            (
                f"{reply.segment.start_s:.1f}-{reply.segment.end_s:.1f}" if reply.segment.duration_s else "image",
                plain(verdict.text if verdict.state is VerdictState.ANSWERED else f"{verdict.state}: {verdict.reason}"),
                "" if p is None else f"{p:.3f}",
                " ".join(f"{pts:.2f}" for pts in reply.pts_s),
            )
            for reply in replies
            for verdict, p in verdicts_on(reply)
        ],
    )


def register(app: typer.Typer) -> None:
    app.command()(ask)
