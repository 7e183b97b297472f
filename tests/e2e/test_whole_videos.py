"""Questions about whole videos: asked over what was said of the segments when all is said, and again if it changes."""

from __future__ import annotations

import shutil

import pytest
from fixtures.pipeline import Pipeline, make_clip

from nightreel.database.current_recipes import make_current
from nightreel.stages.show import show_current

PROMPTS = """
name: films
prompts:
  - {name: caption, kind: caption, text: "Describe the video.", max_new_tokens: 8}
  - {name: place, kind: choice, text: "Where is it?", choices: [indoors, outdoors]}
  - {name: words, kind: keywords, text: "List.", most: 2, max_new_tokens: 160}
"""
WHOLE = """
  - {name: title, kind: text, level: video, over: [caption], text: "Give it a title.", max_new_tokens: 8}
  - {name: dark, kind: yes_no, level: video, text: "Is it dark?", flag: "yes", severity: 2}
"""


@pytest.fixture
def films(make_pipeline, tmp_path) -> Pipeline:
    """A long video of three segments, a short one, and a copy of that."""
    videos = tmp_path / "videos"
    make_clip(videos / "long.mp4", 1, seconds=6.0)
    make_clip(videos / "short.mp4", 2)
    shutil.copyfile(videos / "short.mp4", videos / "the-same.mp4")
    path = tmp_path / "films.yaml"
    path.write_text(PROMPTS + WHOLE)
    return make_pipeline(videos, NIGHTREEL_PROMPTS=str(path), NIGHTREEL_WINDOW_S="2")


def whole(films: Pipeline) -> dict[tuple[str, str], dict]:
    rows = films.rows("SELECT * FROM reporting.video_answers WHERE level = 'video'")
    return {(row.uri.rsplit("/", 1)[1].removesuffix(".mp4"), row.prompt): row._asdict() for row in rows}


def ids_of(films: Pipeline, name: str, prompts: str) -> list[int]:
    """The answers on show about the segments of a video to these prompts, in the order of time."""
    rows = films.rows(
        f"SELECT coalesce(reused_from, answer_id) AS id FROM reporting.answers WHERE uri LIKE '%/{name}.mp4' "
        f"AND prompt IN ({prompts}) ORDER BY segment, array_position(ARRAY['caption', 'place', 'words'], prompt)"
    )
    return [row.id for row in rows]


def test_a_video_is_asked_as_a_whole_when_its_segments_are_done(films):
    summary = films.analyze()
    assert summary.is_green
    assert films.statuses() == {
        "long.mp4": ("done", None), "short.mp4": ("done", None), "the-same.mp4": ("done", None)
    }  # fmt: skip
    found = whole(films)
    assert found.keys() == {(name, prompt) for name in ("long", "short", "the-same") for prompt in ("title", "dark")}
    assert found["long", "title"]["made_from"] == ids_of(films, "long", "'caption'")
    assert len(found["long", "title"]["made_from"]) == 3
    assert found["long", "dark"]["made_from"] == ids_of(films, "long", "'caption', 'place', 'words'")
    assert found["long", "dark"]["value"] in (True, False)
    assert found["long", "dark"]["segments"] == 3
    assert found["the-same", "title"]["answer"] == found["short", "title"]["answer"]
    copies = films.rows("SELECT reused_from FROM nightreel.whole_answers WHERE reused_from IS NOT NULL")
    assert len(copies) == 2, "the same bytes are not asked twice"
    assert films.value("SELECT count(*) FROM reporting.answers WHERE prompt IN ('title', 'dark')") == 0

    again = films.analyze()
    assert again.headline.startswith("nothing new") or not again.videos, again.headline
    assert films.value("SELECT count(*) FROM nightreel.whole_answers") == 6


def test_a_new_question_about_old_videos_decodes_and_encodes_nothing(films, tmp_path):
    path = tmp_path / "films.yaml"
    path.write_text(PROMPTS)
    films.analyze()
    assert not whole(films)
    answers = films.value("SELECT count(*) FROM nightreel.answers")
    path.write_text(PROMPTS + WHOLE)
    summary = films.analyze()
    assert not whole(films), "the recipe of the first run is still the one on show"
    with films.database.begin() as connection:
        make_current(
            connection, summary.recipe_id, source=summary.source, set_names={"films"}, made_by="test", instead=True
        )
    show_current(films.database)
    assert summary.videos.get("done") + summary.videos.get("reused", 0) == 3
    assert len(whole(films)) == 6
    assert films.value("SELECT count(*) FROM nightreel.answers") == answers, "no segment is asked again"
    counts = films.value("SELECT counts FROM nightreel.runs ORDER BY id DESC LIMIT 1")
    assert not {"fetched", "decoded_segments", "encoded_segments"} & {key for key, count in counts.items() if count}


def test_a_video_is_asked_again_when_what_was_said_changes(films):
    films.analyze()
    before = whole(films)
    (changed, *_) = ids_of(films, "long", "'caption'")
    films.rows(f"UPDATE nightreel.answers SET superseded = true WHERE id = {changed} RETURNING id")
    films.rows("UPDATE nightreel.analyses SET status = 'pending' WHERE uri LIKE '%/long.mp4' RETURNING id")
    films.analyze()
    after = whole(films)
    assert after["short", "title"] == before["short", "title"]
    assert (
        after["long", "title"]["made_from"]
        == ids_of(films, "long", "'caption'")
        != before["long", "title"]["made_from"]
    )
    assert changed not in after["long", "dark"]["made_from"]
    history = films.rows("SELECT superseded FROM nightreel.whole_answers ORDER BY id")
    assert sum(row.superseded for row in history) == 2


def test_a_policy_changes_the_verdict_on_a_whole_video_without_asking(films, tmp_path):
    films.analyze()
    asked = films.rows("SELECT id, answered_at FROM nightreel.whole_answers ORDER BY id")
    p = films.value("SELECT p FROM nightreel.whole_answers WHERE p IS NOT NULL LIMIT 1")
    for limit, flagged in ((0.0, True), (1.0, p >= 1.0)):
        text = (PROMPTS + WHOLE).replace('flag: "yes", severity: 2', f'flag: "yes", severity: 3, threshold: {limit}')
        (tmp_path / "films.yaml").write_text(text)
        films.analyze()
        assert whole(films)["long", "dark"]["flagged"] is flagged
        assert ("long" in str(films.rows("SELECT uri FROM reporting.flags WHERE prompt = 'dark'"))) is flagged
    assert films.rows("SELECT id, answered_at FROM nightreel.whole_answers ORDER BY id") == asked
