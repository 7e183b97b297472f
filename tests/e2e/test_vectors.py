"""Vectors of a real run: made with its answers, shared by copies, filled in later, never in place of an answer."""

import shutil

import pytest
from typer.testing import CliRunner

from nightreel.cli.app import app
from nightreel.demo.descriptions import Language, describe
from nightreel.demo.scenes import draw_scene
from nightreel.errors import PermanentError
from nightreel.models.embedding.dual import DualEncoder
from nightreel.reasons import Reason
from nightreel.search import SearchBy, SearchQuery, search
from nightreel.settings import load_settings
from nightreel.stages.fill_vectors import fill_vectors
from nightreel.stages.text_encoder import TextEncoder

VECTORS = "SELECT count(*) FROM nightreel.vectors"


@pytest.fixture
def seeing(with_pgvector, make_pipeline, clips):
    """A pipeline whose runs make vectors."""
    return make_pipeline(clips, NIGHTREEL_EMBEDDING_MODEL="demo")


@pytest.fixture
def blind(monkeypatch):
    """An encoder that fails until `undo`."""

    def fail(self, segments):
        raise PermanentError(Reason.UNSUPPORTED_MODEL, "it fails")

    monkeypatch.setattr(DualEncoder, "segments", fail)
    return monkeypatch


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def fill(pipeline):
    return fill_vectors(load_settings(), pipeline.database, device="cpu")


def found(pipeline, words: str) -> str:
    """The name of the video that is nearest to a text."""
    with pipeline.database.begin() as connection:
        vector = TextEncoder(load_settings()).vector(connection, words)
        page = search(connection, SearchQuery(text=words, by=SearchBy.MEANING), vector=vector)
    return page.hits[0].uri.rsplit("/", 1)[1]


def test_a_run_makes_the_vectors_by_which_its_clips_are_found_in_both_languages(seeing):
    summary = seeing.analyze()
    assert summary.videos == {"done": 3}
    assert summary.work["embedded_segments"] == seeing.value(VECTORS) == 3
    for language in Language:
        for seed in (1, 2, 3):
            assert found(seeing, describe(draw_scene(seed), language)) == f"{seed}.mp4"
    assert seeing.analyze().work == {}


def test_the_terminal_finds_by_meaning_and_by_example(seeing):
    seeing.analyze()
    said = run("search", describe(draw_scene(3), Language.ENGLISH), "--by", "meaning", "--limit", "1")
    assert "3.mp4" in said
    assert "the 3 segments nearest by meaning" in said
    alike = run("search", "--like", "3.mp4:0")
    assert "1.mp4" in alike
    assert "3.mp4" not in alike
    assert "with a vector\t3" in run("vectors")
    assert "0 segments got a vector, 0 had none" in run("vectors", "fill")


def test_copies_share_the_vector_and_nothing_is_computed_for_them(seeing, clips):
    seeing.analyze()
    shutil.copy(clips / "1.mp4", clips / "1-copy.mp4")
    summary = seeing.analyze()
    assert summary.videos == {"reused": 1}
    assert "embedded_segments" not in summary.work
    assert seeing.value(VECTORS) == 4


def test_an_encoder_that_fails_costs_no_answer_and_a_fill_makes_the_vectors(seeing, blind):
    summary = seeing.analyze()
    assert summary.videos == {"done": 3}
    assert summary.work["segments_without_vector"] == 3
    assert seeing.value(VECTORS) == 0
    blind.undo()
    counts = fill(seeing)
    assert (counts.missing, counts.filled, counts.without_frames) == (3, 3, 0)
    assert found(seeing, describe(draw_scene(2), Language.ENGLISH)) == "2.mp4"
    assert fill(seeing).missing == 0


def test_a_fill_decodes_videos_whose_thumbnail_is_gone_or_damaged(seeing, blind, clips):
    seeing.analyze()
    blind.undo()
    (first, second, third) = sorted((seeing.work_dir / "features").rglob("*.jpg"))
    first.unlink()
    second.write_bytes(b"no picture")
    third.unlink()
    (clips / "3.mp4").unlink()
    counts = fill(seeing)
    assert (counts.filled, counts.without_frames, seeing.value(VECTORS)) == (2, 1, 2)
    assert found(seeing, describe(draw_scene(1), Language.CHINESE)) == "1.mp4"


def test_without_pgvector_a_run_answers_all_and_makes_no_vectors(make_pipeline, clips):
    pipeline = make_pipeline(clips, NIGHTREEL_EMBEDDING_MODEL="demo")
    summary = pipeline.analyze()
    assert summary.videos == {"done": 3}
    assert not {"embedded_segments", "segments_without_vector"} & set(summary.work)
