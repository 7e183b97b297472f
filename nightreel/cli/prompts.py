"""`prompts`: show the prompt sets, their prompts, and the files that they come from. Starts no service.

A database that an earlier version filled may keep the earlier meaning of a shipped set's name. It is asked if it runs.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.database.prompt_sets import RENAMED
from nightreel.domain import Prompt
from nightreel.prompts.loading import find_prompt_file, load_prompt_sets, shipped_sets
from nightreel.services.prompt_meanings import meanings_here
from nightreel.settings import origin


def prompts(
    sets: Annotated[
        list[str] | None, typer.Argument(metavar="[SET]...", help="Name or YAML file; default: NIGHTREEL_PROMPTS.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show the prompt sets in use, their prompts, and where they come from."""
    settings = command_settings()
    names = [name.strip() for item in sets or settings.prompt_sets for name in item.split(",") if name.strip()]
    means, problem = meanings_here(settings, names)
    used = [means.get(name, name) for name in names]
    found = [(name, find_prompt_file(name), load_prompt_sets([name])) for name in used]
    unused = [name for name in shipped_sets() if name not in (*names, *used)]
    if as_json:
        told = [
            {"set": group.name, "file": str(path), "prompts": [_values(prompt) for prompt in group.prompts]}
            for _, path, group in found
        ]
        chosen_by = "argument" if sets else origin("prompts")
        meanings = None if problem else means
        print_json({"sets": told, "other_sets": unused, "chosen_by": chosen_by, "kept_meanings": meanings})
        return
    print_line(f"chosen by {'this command' if sets else origin('prompts')}: {plain(', '.join(names))}")
    for name, meant in means.items():
        print_line(
            f"{plain(name)} means {plain(meant)} in this database: `nightreel policy adopt {plain(name)}` lets it mean "
            f"{plain(find_prompt_file(name))}"
        )
    if problem:
        asked = ", ".join(name for name in names if name in RENAMED)
        print_line(f"it is not known what {asked} means in the database: {plain(problem)}")
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
