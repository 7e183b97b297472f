"""Recall of the demo's dual encoder: 200 clips pass through the flow, and each is searched for by its description."""

from __future__ import annotations

from pathlib import Path

from benchmarks.demo_sides import answers_in_postgres
from benchmarks.harness import Report, Row

from nightreel.demo.clips import write_clip
from nightreel.demo.descriptions import Language
from nightreel.demo.gallery import descriptions, draw_gallery
from nightreel.search import SearchBy, SearchFilters, SearchQuery, search
from nightreel.settings import load_settings
from nightreel.stages.database import open_database
from nightreel.stages.text_encoder import TextEncoder

_GOAL = 0.95


def find_gallery(report: Report, directory: Path, size: int) -> None:
    """Add a row for each language.

    Args:
        directory: for the clips.
    """
    clips = draw_gallery(size)
    directory.mkdir(parents=True)
    for name, clip in clips.items():
        write_clip(directory / name, clip)
    answers_in_postgres(directory)
    settings = load_settings()
    encoder = TextEncoder(settings)
    under = f"{directory.resolve().as_uri()}/"
    with open_database(settings) as database:
        for language in Language:
            first = []
            for name, words in zip(clips, descriptions(clips, language), strict=True):
                query = SearchQuery(text=words, by=SearchBy.MEANING, filters=SearchFilters(under=under), limit=10)
                with database.begin() as connection:
                    page = search(connection, query, vector=encoder.vector(connection, words))
                first.append(page.hits[0].uri.endswith(f"/{name}"))
            share = sum(first) / len(first)
            note = f"{sum(first)} of {len(first)} clips, each the first hit for its description"
            report.add(
                Row(f"search by meaning, {language}", 100 * share, 100.0, "all", "%", share, f">= {100 * _GOAL:g} %",
                    share >= _GOAL, note)
            )  # fmt: skip
