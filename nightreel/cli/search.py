"""`search`: find the moments whose captions, texts or tags have words, or whose frames show what they mean."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer
from rich.text import Text

from nightreel.cli.console import Json, command_settings, plain, print_json, print_line, print_table
from nightreel.cli.filters import check_prompt, find_segment
from nightreel.errors import SettingsError
from nightreel.logs import file_name
from nightreel.search import SearchBy, SearchFilters, SearchHit, SearchPage, SearchQuery
from nightreel.search import search as find
from nightreel.stages.database import open_database
from nightreel.stages.text_encoder import TextEncoder
from nightreel.units import counted

_TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]


def search(
    words: Annotated[
        str | None, typer.Argument(help='Words, all wanted: red van, "in a row", van OR truck, -night, bicyc*.')
    ] = None,
    by: Annotated[
        SearchBy, typer.Option(help="Compare the text with words of answers, by its meaning with the frames, or both.")
    ] = SearchBy.WORDS,
    like: Annotated[
        str | None, typer.Option(help="Find what looks like this segment: part of a video's key, or key:segment.")
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", "-p", help="Only segments with a verdict for it.")] = None,
    verdict: Annotated[
        str | None, typer.Option(help="Only with this verdict: yes, no, a tag, a choice, flagged, unknown.")
    ] = None,
    severity: Annotated[int | None, typer.Option(min=1, max=4, help="Only with this severity or worse.")] = None,
    min_p: Annotated[float | None, typer.Option(min=0, max=1, help="Only with this probability or more.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=_TIMES, help="Only objects modified since (UTC).")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_TIMES, help="Only objects modified before (UTC).")] = None,
    under: Annotated[str | None, typer.Option(help="Only videos whose key starts with this.")] = None,
    min_duration: Annotated[float | None, typer.Option(min=0, help="Only videos of this length or more, s.")] = None,
    max_duration: Annotated[float | None, typer.Option(min=0, help="Only videos of this length or less, s.")] = None,
    from_s: Annotated[
        float | None, typer.Option(min=0, help="Only segments with a part after this second of the video.")
    ] = None,
    to_s: Annotated[
        float | None, typer.Option(min=0, help="Only segments with a part before this second of the video.")
    ] = None,
    model: Annotated[str | None, typer.Option(help="Only answers of the model with this name.")] = None,
    run: Annotated[int | None, typer.Option(min=1, help="Only answers of this run.")] = None,
    restricted: Annotated[
        bool, typer.Option("--restricted", help="Include videos with a verdict in the lane `restricted`.")
    ] = False,
    newest: Annotated[bool, typer.Option("--newest", help="Show the newest videos first, not the best hits.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Show at most this many hits.")] = 20,
    after: Annotated[str | None, typer.Option(help="Show the page after this one: the cursor that it printed.")] = None,
    as_json: Json = False,
) -> None:
    """Find the moments whose captions, texts, tags or choices have words, or whose frames look like a description."""
    if (words is None) == (like is None):
        raise SettingsError("expected WORDS, or --like for a segment instead")
    filters = SearchFilters(
        prompt=prompt,
        verdict=verdict,
        min_severity=severity,
        min_p=min_p,
        since=since,
        until=until,
        under=under,
        min_duration_s=min_duration,
        max_duration_s=max_duration,
        from_s=from_s,
        to_s=to_s,
        model=model,
        run_id=run,
        restricted=restricted,
    )
    settings = command_settings()
    with open_database(settings) as database, database.begin() as connection:
        check_prompt(connection, settings, prompt and prompt.rsplit("/", 1)[-1])
        query = SearchQuery(
            text=words or "",
            by=SearchBy.MEANING if like else by,
            like=find_segment(connection, like) if like else None,
            filters=filters,
            newest=newest,
            limit=limit,
            after=after,
        )
        vector = None
        if words is not None and by is not SearchBy.WORDS:
            vector = TextEncoder(settings).vector(connection, words)
        page = find(connection, query, vector=vector)
    if as_json:
        print_json(asdict(page))
        return
    print_table(("video", "seconds", "prompt", "text"), [_row(hit) for hit in page.hits])
    print_line(_found(page, query.by) if page.hits else "none")
    if page.next:
        print_line(f"(--after {page.next} shows more)")


def _found(page: SearchPage, by: SearchBy) -> str:
    if by is SearchBy.MEANING:
        return f"the {counted(page.count, 'segment')} nearest by meaning, the nearest first"
    return f"{'more than ' if page.count_is_capped else ''}{counted(page.count, 'segment')} found"


def _row(hit: SearchHit) -> tuple[str, str, str, Text]:
    parts = [(plain(part), "bold" if is_marked else "") for part, is_marked in hit.snippet.parts()]
    return file_name(hit.uri), f"{hit.start_s:.0f}-{hit.end_s:.0f}", plain(hit.prompt), Text.assemble(*parts)


def register(app: typer.Typer) -> None:
    app.command()(search)
