"""`prompts`: show the prompt sets, their prompts, and the files that they come from. Starts no service."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.domain import Prompt
from nightreel.prompts.loading import find_prompt_file, load_prompt_sets, shipped_sets
from nightreel.settings import origin


def prompts(
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Name or YAML file; default: NIGHTREEL_PROMPTS.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the prompt sets in use, their prompts, and where they come from."""
    settings = command_settings()
    names = [name.strip() for item in sets or settings.prompts for name in item.split(",") if name.strip()]
    found = [(name, find_prompt_file(name), load_prompt_sets([name])) for name in names]
    unused = [name for name in shipped_sets() if name not in names]
    if as_json:
        told = [
            {"set": group.name, "file": str(path), "prompts": [_values(prompt) for prompt in group.prompts]}
            for _, path, group in found
        ]
        print_json({"sets": told, "other_sets": unused, "chosen_by": "argument" if sets else origin("prompts")})
        return
    print_line(f"chosen by {'this command' if sets else origin('prompts')}: {plain(', '.join(names))}")
    for name, path, group in found:
        print_line()
        print_line(f"{plain(group.name)}: {plain(path)}{' (shipped)' if name in shipped_sets() else ''}", style="bold")
        print_table(
            ("prompt", "kind", "text", "answers", "flag", "when"),
            [
                (
                    prompt.name,
                    prompt.question.kind,
                    prompt.question.text,
                    ", ".join(prompt.question.choices),
                    ", ".join(prompt.policy.flags),
                    _when(prompt),
                )
                for prompt in group.prompts
            ],
        )
    if unused:
        print_line()
        print_line(f"other shipped sets: {', '.join(unused)}; `nightreel prompts SET` shows one")


def _when(prompt: Prompt) -> str:
    return ", ".join(f"{name} is {answer}" for name, answer in prompt.policy.when)


def _values(prompt: Prompt) -> dict[str, Any]:
    return {
        "name": prompt.name,
        "question": prompt.question.to_json(),
        "policy": prompt.policy.to_json(),
    }


def register(app: typer.Typer) -> None:
    app.command()(prompts)
