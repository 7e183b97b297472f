"""`policy`: show what answers mean, preview a change of it, apply it. No model is asked."""

from __future__ import annotations

import getpass
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from nightreel.cli.console import Json, command_settings, err, plain, print_json, print_line, print_table
from nightreel.database.policies import apply_policy, history, policies_in_force
from nightreel.database.prompt_sets import forget_meaning, kept_meanings
from nightreel.database.rejudging import Change, Progress, find_prompts
from nightreel.domain import Policy, Prompt, PromptSet
from nightreel.errors import SettingsError
from nightreel.logs import file_name
from nightreel.prompts.loading import load_prompt_sets, shipped_sets
from nightreel.settings import Settings
from nightreel.stages.database import open_database
from nightreel.stages.policy_changes import changes_between, find_two
from nightreel.stages.preview import PromptPreview, differences, preview
from nightreel.stages.rejudge import apply_changes
from nightreel.units import counted

Files = Annotated[list[str], typer.Argument(metavar="SET...", help="Prompt sets: names or YAML files.")]
Set = Annotated[str | None, typer.Argument(metavar="[SET]", help="Only this prompt set.")]
Name = Annotated[str | None, typer.Argument(metavar="[PROMPT]", help="Only this prompt.")]


def print_progress(change: Change, progress: Progress) -> None:
    """Show how far the stored answers are judged."""
    err.print(
        f"{plain(change.set_name)}/{plain(change.name)}: {progress.judged:,} answers judged, "
        f"{progress.changed:,} verdicts changed",
        markup=False,
        highlight=False,
    )


def show(set_name: Set = None, prompt: Name = None, as_json: Json = False) -> None:
    """Show the policies in force."""
    with open_database(command_settings()) as database, database.begin() as connection:
        versions = history(connection, set_name=set_name, prompt=prompt)
    newest: dict[tuple[str, str], Any] = {}
    for version in versions:
        newest.setdefault((version.set_name, version.prompt), version)
    _print_versions(newest.values(), as_json=as_json)


def list_history(set_name: Set = None, prompt: Name = None, as_json: Json = False) -> None:
    """Show all policies that were ever in force, the newest first."""
    with open_database(command_settings()) as database, database.begin() as connection:
        versions = history(connection, set_name=set_name, prompt=prompt)
    _print_versions(versions, as_json=as_json)


def diff(sets: Files, as_json: Json = False) -> None:
    """Show how the policies of prompt sets differ from those in force."""
    settings = command_settings()
    with open_database(settings) as database, database.begin() as connection:
        prompts = _load(connection, sets, settings)
        known = find_prompts(connection, prompts.prompts)
        policies = policies_in_force(connection, [row.id for row in known.values()])
    found = {
        prompt: differences(policies[row.id].policy, prompt.policy)
        for prompt in prompts.prompts
        if (row := known.get((prompt.set_name, prompt.name)))
    }
    if as_json:
        print_json([_names(prompt) | {"differences": own} for prompt, own in found.items()])
        return
    rows = [
        (prompt.set_name, prompt.name, key, _short(old), _short(new))
        for prompt, own in found.items()
        for key, (old, new) in own.items()
    ]
    print_table(("set", "prompt", "key", "in force", "new"), rows)
    if not rows:
        print_line("no difference")
    _print_unknown([prompt for prompt in prompts.prompts if (prompt.set_name, prompt.name) not in known])


def show_preview(
    sets: Files,
    since: Annotated[datetime | None, typer.Option(help="Only answers given at or after this time (UTC).")] = None,
    as_json: Json = False,
) -> None:
    """Show what the policies of prompt sets would change, without asking any model."""
    settings = command_settings()
    with open_database(settings) as database:
        with database.begin() as connection:
            prompts = _load(connection, sets, settings)
        found = preview(database, prompts, since=since.replace(tzinfo=since.tzinfo or UTC) if since else None)
    if as_json:
        print_json([_values(one) for one in found])
        return
    changed = [one for one in found if one.differences]
    for one in changed:
        _print_preview(one)
    if not changed:
        print_line("no policy differs from the one in force")
    _print_unknown([one.prompt for one in found if not one.asked])


def compare(
    old: Annotated[int, typer.Argument(metavar="OLD", help="Number of a policy: `policy history` lists them.")],
    new: Annotated[
        int | None,
        typer.Argument(metavar="[NEW]", help="Number of another one of its prompt; without: the one in force."),
    ] = None,
    restricted: Annotated[
        bool, typer.Option("--restricted", help="Include videos with a verdict in the lane `restricted`.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show on which videos two policies of a prompt disagree, without asking any model."""
    with open_database(command_settings()) as database:
        versions = find_two(database, old, new)
        found = list(changes_between(database, *versions, restricted=restricted))
    if as_json:
        print_json([asdict(one) for one in found])
        return
    for key, (before, after) in differences(*(version.policy for version in versions)).items():
        print_line(f"{key}: {_short(before)} -> {_short(after)}")
    print_table(
        ("video", "flag", "before", "after"),
        [
            (
                file_name(one.uri),
                one.flag.removeprefix("flag.") if one.flag else "",
                plain(one.before),
                plain(one.after),
            )
            for one in found
        ],
    )
    counts = Counter(one.flag.removeprefix("flag.") for one in found if one.flag)
    print_line(", ".join([counted(len(found), "video"), *(f"{count} {flag}" for flag, count in counts.items())]))


def apply(sets: Files, made_by: Annotated[str | None, typer.Option("--by", help="Who applies it.")] = None) -> None:
    """Bring the policies of prompt sets into force, and judge the stored answers by them."""
    settings = command_settings()
    who = made_by or getpass.getuser()
    with open_database(settings, to_write=True) as database:
        with database.begin() as connection:
            prompts = _load(connection, sets, settings)
            known = find_prompts(connection, prompts.prompts)
            changed = [
                prompt
                for prompt in prompts.prompts
                if (row := known.get((prompt.set_name, prompt.name)))
                and apply_policy(connection, row.id, prompt.policy, made_by=who)
            ]
        for prompt in changed:
            print_line(f"in force: {plain(prompt.set_name)}/{plain(prompt.name)}")
        done = apply_changes(database, on_progress=print_progress)
    print_line(
        f"{counted(done.judged, 'answer')} judged again, {counted(done.changed, 'verdict')} changed, no model asked"
    )
    if done.reopened:
        print_line(f"{counted(done.reopened, 'video')} pending: the next run asks the follow-ups that are due now")
    _print_unknown([prompt for prompt in prompts.prompts if (prompt.set_name, prompt.name) not in known])


def adopt(name: Annotated[str, typer.Argument(metavar="SET", help="Name of a shipped prompt set.")]) -> None:
    """Let a name mean the prompt set that is shipped now, in a database that kept its earlier meaning."""
    if name not in shipped_sets():
        raise typer.BadParameter(f"{name!r} is not shipped: expected one of {', '.join(shipped_sets())}")
    with open_database(command_settings(), to_write=True) as database, database.begin() as connection:
        changed = forget_meaning(connection, name)
    then = "the next run asks its questions" if changed else "it did before"
    print_line(f"{plain(name)} means the set that is shipped now: {then}")


def _load(connection: Connection, sets: list[str], settings: Settings) -> PromptSet:
    """The prompt sets as this database means their names."""
    names = [name.strip() for item in sets for name in item.split(",") if name.strip()]
    if not names:
        raise SettingsError("no prompt set: pass a name or a YAML file")
    return load_prompt_sets(kept_meanings(connection, names), coverage=settings.min_coverage)


def _print_versions(versions: Iterable[Any], *, as_json: bool) -> None:
    found = list(versions)
    if as_json:
        print_json([asdict(one) | {"policy": one.policy.to_json()} for one in found])
        return
    print_table(
        ("id", "set", "prompt", "policy", "since", "by", "judged"),
        [
            (
                one.id,
                one.set_name,
                one.prompt,
                _summary(one.policy),
                f"{one.since:%Y-%m-%d %H:%M}",
                f"{one.made_by} ({one.origin})",
                "all" if one.applied_at else "not all yet",
            )
            for one in found
        ],
    )
    if not found:
        print_line("none: no run has asked a prompt yet")


def _summary(policy: Policy) -> str:
    """The keys of a policy that are not as by default."""
    return ", ".join(f"{key} {_short(new)}" for key, (_, new) in differences(Policy(), policy).items()) or "default"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return "-".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_short(item)}" for key, item in value.items()) or "none"
    return "none" if value in (None, "") else plain(value, width=80)


def _print_preview(one: PromptPreview) -> None:
    print_line(f"{plain(one.prompt.set_name)}/{plain(one.prompt.name)}", style="bold")
    for key, (old, new) in one.differences.items():
        print_line(f"  {key}: {_short(old)} -> {_short(new)}")
    print_line(f"  {counted(one.judged, 'answer')} judged again")
    for what, counts in (("segment", one.segments), ("video", one.videos)):
        for (before, after), count in counts.most_common():
            print_line(f"  {counted(count, what)}: {plain(before)} -> {plain(after)}")
    if not one.segments and not one.videos:
        print_line("  no verdict would change")
    for example in one.examples:
        p = "" if example.p is None else f"p {example.p:.3f}, "
        times = f"{example.start_s:.0f}-{example.end_s:.0f} s"
        print_line(f"    {file_name(example.uri)} {times}: {p}{plain(example.before)} -> {plain(example.after)}")


def _print_unknown(prompts: list[Prompt]) -> None:
    for prompt in prompts:
        print_line(
            f"{plain(prompt.set_name)}/{plain(prompt.name)}: no run has asked this question yet: its policy comes into "
            "force with the first one"
        )


def _names(prompt: Prompt) -> dict[str, Any]:
    return {"set": prompt.set_name, "prompt": prompt.name}


def _values(one: PromptPreview) -> dict[str, Any]:
    def changes(counts: Any) -> list[dict[str, Any]]:
        return [{"before": before, "after": after, "count": count} for (before, after), count in counts.most_common()]

    return _names(one.prompt) | {
        "asked": one.asked,
        "differences": one.differences,
        "judged": one.judged,
        "segments": changes(one.segments),
        "videos": changes(one.videos),
        "examples": [asdict(example) for example in one.examples],
    }


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Show, preview and change what answers mean.", no_args_is_help=True)
    group.command("show")(show)
    group.command("diff")(diff)
    group.command("preview")(show_preview)
    group.command("compare")(compare)
    group.command("apply")(apply)
    group.command("history")(list_history)
    group.command("adopt")(adopt)
    app.add_typer(group, name="policy")
