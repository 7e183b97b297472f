"""`ask`: answer one question about one video immediately."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nightreel.asking import AskedSegment, ask_video
from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.demo import DISCLAIMER
from nightreel.domain import Answer, AnswerState, Prompt, PromptKind
from nightreel.errors import NightreelError, SettingsError
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
    prompt = Prompt(name="question", kind=kind, text=question, choices=tuple(choice or ()))
    replies = [
        (reply, answer)
        for reply in ask_video(video, [prompt], settings)
        for answer in (reply.answers if reply.failure is None else [_error(prompt, reply.failure)])
    ]
    if as_json:
        print_json([_values(reply, answer) for reply, answer in replies])
        return
    if settings.model == DEMO:
        print_line(DISCLAIMER, style="yellow")
    print_table(
        ("seconds", "answer", "p", "frames at"),
        [
            (
                f"{reply.segment.start_s:.1f}-{reply.segment.end_s:.1f}",
                plain(answer.text if answer.state is AnswerState.ANSWERED else f"{answer.state}: {answer.reason}"),
                "" if answer.p is None else f"{answer.p:.3f}",
                " ".join(f"{pts:.2f}" for pts in reply.pts_s),
            )
            for reply, answer in replies
        ],
    )


def _values(reply: AskedSegment, answer: Answer) -> dict[str, Any]:
    return {
        "start_s": reply.segment.start_s,
        "end_s": reply.segment.end_s,
        "state": answer.state,
        "answer": answer.text,
        "p": answer.p,
        "reason": answer.reason,
        "frame_times_s": list(reply.pts_s),
        "covered_s": reply.covered_s,
        "expected_s": reply.segment.expected_s,
    }


def _error(prompt: Prompt, failure: NightreelError) -> Answer:
    return Answer(prompt_hash=prompt.hash, state=AnswerState.ERROR, reason=str(failure))


def register(app: typer.Typer) -> None:
    app.command()(ask)
