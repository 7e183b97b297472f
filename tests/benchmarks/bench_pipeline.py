"""Whole runs beside the plain script that a user would write instead. `make bench-pipeline`.

Both sides have the same clips (640x360, 4 s), frames, questions and model (random weights, some million parameters).
Postgres and the Prefect server run before either side starts, as on a machine with nightly runs. A run's own start
(imports, checks, model) counts on both sides. Each of our runs starts with an empty database and cache.
"""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import psycopg
from benchmarks import reask_rows
from benchmarks.harness import Measurement, Report, Row, Side, compare, in_subprocess, take_turns, use_prefect
from benchmarks.pipeline_sides import PROMPTS, Answers
from fixtures.noise_model import ensure_noise_model
from fixtures.postgres import running_postgres
from sqlalchemy import make_url

from nightreel.database.connection import Database
from nightreel.database.migrations import upgrade
from nightreel.demo.clips import Clip, write_clip
from nightreel.demo.scenes import draw_scene
from nightreel.services import open_services
from nightreel.settings import load_settings

_CLIPS = 200
_FEW = 64  # enough to fill the window of chunks in flight, as in a long night
# Known clips that one more prompt is asked about: goals with and without imports, as shares of the plain script.
_KNOWN = {100: (1.0, 0.6), 1000: (0.25, None)}
_NEW_PROMPT = 'name: new\nprompts:\n  - {name: night, kind: yes_no, text: "Is it night?"}\n'
_SAME = 0.95  # of the yes/no answers
_databases = itertools.count()


def main(rounds: int = 5, clips: int = _CLIPS) -> None:
    report = Report("pipeline", versions=("prefect", "torch", "transformers", "decord", "av", "sqlalchemy"))
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        many, few = _make_clips(root / "many", clips), _make_clips(root / "few", _FEW)
        model = ensure_noise_model(root / "models")
        prompts, new = root / "bench.yaml", root / "new.yaml"
        prompts.write_text(PROMPTS)
        new.write_text(_NEW_PROMPT)
        ours = {
            "NIGHTREEL_WORK_DIR": str(root / "work"),
            "NIGHTREEL_MODEL": str(model),
            "PIXELTABLE_HOME": str(root / "pixeltable"),
        }
        with (
            environment(**ours),
            running_postgres(root / "postgres", {}) as server,
            open_services(load_settings(), postgres=False) as services,
        ):
            use_prefect(services)
            url = server.admin_url.render_as_string(hide_password=False)
            fresh = _FreshPlace(root, url)
            script = [str(model), url.replace("+psycopg", "")]

            runs = take_turns(
                {
                    "ours": fresh(in_subprocess("benchmarks.pipeline_sides:ours", str(many), [str(prompts)])),
                    "plain": in_subprocess("benchmarks.pipeline_sides:plain", str(many), [str(prompts)], *script),
                },
                rounds=rounds,
                agree=_agree,
            )
            same = min(_share(a.value["answers"], b.value["answers"]) for a, b in zip(*runs.values(), strict=True))
            note = f"{same:.0%} of all answers identical: ours shrinks frames while decoding, plain does afterwards"
            title = f"{clips} clips x 6 prompts, whole run"
            report.add(compare(title, runs, other="plain", metric="wall_s", at_most=1 / 2, note=note))
            report.add(compare(f"{title}: CPU", runs, other="plain", metric="cpu_s"))
            report.add(_overhead(runs["ours"]))

            runs = take_turns(
                {
                    "ours": fresh(in_subprocess("benchmarks.pipeline_sides:ours", str(many), [str(prompts)])),
                    "few": fresh(in_subprocess("benchmarks.pipeline_sides:ours", str(few), [str(prompts)])),
                },
                rounds=rounds,
            )
            title = f"peak memory, {clips} beside {_FEW} clips"
            report.add(compare(title, runs, other="few", metric="peak_rss_mib", at_most=1.1, at_least=0.9))

            for count, goals in _KNOWN.items():
                known = _make_clips(root / f"known-{count}", count)
                fresh(in_subprocess("benchmarks.pipeline_sides:ours", str(known), [str(prompts)]))()
                reask_rows.add_rows(
                    report,
                    known,
                    prompts=prompts,
                    new=new,
                    again=partial(_again, place=fresh),
                    plain=script,
                    rounds=rounds,
                    agree=_agree,
                    goals=goals,
                )
    report.finish()


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set these variables in the block; restore the whole environment at its end."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _make_clips(directory: Path, count: int) -> Path:
    directory.mkdir()
    scenes = (draw_scene(seed) for seed in itertools.count())
    different = (scene for scene in scenes if scene.things)  # empty scenes are identical and would be analysed once
    for index, scene in enumerate(itertools.islice(different, count)):
        write_clip(directory / f"{index:04}.mp4", Clip.of((scene, 4.0)), width=640, height=360)
    return directory


class _FreshPlace:
    """Makes a side run with an empty database and an empty cache."""

    def __init__(self, root: Path, database_url: str) -> None:
        self._root = root
        self._url = database_url

    def __call__(self, side: Side) -> Side:
        def run() -> Measurement:
            self.empty()
            return side()

        return run

    def empty(self) -> None:
        """A new database. Only a superuser may make one, so both sides are that user."""
        name = f"bench_{next(_databases)}"
        with psycopg.connect(self._url.replace("+psycopg", ""), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        url = make_url(self._url).set(database=name).render_as_string(hide_password=False)
        database = Database(url)
        upgrade(database.engine)
        database.close()
        cache = self._root / "cache" / name
        os.environ |= {"NIGHTREEL_DATABASE_URL": url, "NIGHTREEL_CACHE_URL": cache.as_uri()}

    def forget(self, prompt: str) -> None:
        """Delete the answers to one prompt, so that it is new again."""
        with psycopg.connect(
            os.environ["NIGHTREEL_DATABASE_URL"].replace("+psycopg", ""), autocommit=True
        ) as connection:
            connection.execute(
                "DELETE FROM nightreel.answers USING nightreel.prompts AS prompt"
                " WHERE prompt.question_id = answers.question_id AND prompt.name = %s",
                (prompt,),
            )
            connection.execute(
                "UPDATE nightreel.analyses SET status = 'pending', attempts = 0 WHERE recipe_id IN"
                " (SELECT recipe_id FROM nightreel.recipe_prompts AS asked"
                " JOIN nightreel.prompts AS prompt ON prompt.id = asked.prompt_id WHERE prompt.name = %s)",
                (prompt,),
            )


def _again(side: Side, place: _FreshPlace) -> Side:
    def run() -> Measurement:
        place.forget("night")
        return side()

    return run


def _share(mine: Answers, theirs: Answers, *, words: tuple[str, ...] | None = None) -> float:
    """The share of the plain script's answers that equal ours; with `words`, only among those answers."""
    pairs = [
        (mine[clip].get(name), said)
        for clip, answers in theirs.items()
        for name, said in answers.items()
        if words is None or said in words
    ]
    return sum(a == b for a, b in pairs) / len(pairs)


def _agree(mine: dict, theirs: dict) -> bool:
    """The same clips, and yes/no answers agree. A random model's texts depend on the last bit of a pixel."""
    ours, plain = mine["answers"], theirs["answers"]
    return ours.keys() == plain.keys() and _share(ours, plain, words=("yes", "no")) >= _SAME


def _overhead(runs: Sequence[Measurement]) -> Row:
    """Orchestration and database per segment: the time of the run in which no stage worked on videos."""
    shares = sorted(
        1000 * run.value["summary"]["timings"]["overhead"] / run.value["summary"]["segments"] for run in runs
    )
    found = shares[len(shares) // 2]
    return Row("orchestration and database per segment", found, 25.0, "the goal", "ms", found / 25, "<= 1", found <= 25)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
