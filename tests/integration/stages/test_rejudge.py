"""A change of policy changes stored verdicts, and nothing else: no model, no file and no feature is needed."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest
from fixtures.judged import yes_no
from fixtures.work import Work, stored
from fixtures.work_answers import analyse, answered, window
from sqlalchemy import text

from nightreel.database.current_recipes import make_current
from nightreel.database.policies import apply_policy, policies_in_force
from nightreel.domain import (
    Answer,
    Band,
    Claim,
    Prompt,
    PromptKind,
    PromptSet,
)
from nightreel.errors import SettingsError
from nightreel.stages import rejudge
from nightreel.stages.policy_changes import changes_between, find_two
from nightreel.stages.preview import preview
from nightreel.stages.rejudge import apply_changes
from nightreel.stages.show import show_current

GUN = Prompt.of(
    name="gun", kind=PromptKind.YES_NO, text="A gun?", flags=("yes",), severity=3, set_name="test", band=Band(0.5, 0.5)
)
WHY = Prompt.of(name="why", kind=PromptKind.TEXT, text="Why?", when=(("gun", "yes"),), set_name="test")
TAGS = Prompt.of(
    name="tags", kind=PromptKind.TAGS, text="Is there a", choices=("knife", "fire"), flags=("fire",), set_name="test"
)
PROMPTS = PromptSet("test", (GUN, WHY, TAGS))


@pytest.fixture
def work(open_work) -> Work:
    return open_work(prompts=PROMPTS)


def gun(p: float) -> Answer:
    return yes_no(GUN.question, p)


def tags(knife: float, fire: float) -> Answer:
    return Answer(question_hash=TAGS.question.hash, scores={"knife": knife, "fire": fire}, mass={"knife": 1, "fire": 1})


def why(words: str) -> Answer:
    return Answer(question_hash=WHY.question.hash, text=words)


def analyse_segments(work: Work, claim: Claim, *segments: tuple[Answer, ...]) -> None:
    """Write the answers of segments of 30 s, and end the analysis."""
    items = [answered(claim, window(index), *answers) for index, answers in enumerate(segments)]
    analyse(work, claim, *items, expected_s=30.0 * len(items))


def analyse_all(work: Work, *videos: tuple[tuple[Answer, ...], ...]) -> None:
    work.discover(*(stored(f"{number:03}.mp4") for number in range(len(videos))))
    for claim, segments in zip(work.claim(segments=1000), videos, strict=True):
        analyse_segments(work, claim, *segments)


def move(work: Work, prompt: Prompt, **policy) -> None:
    with work.database.begin() as connection:
        changed = replace(prompt.policy, **policy)
        apply_policy(connection, work.recipe.prompt_ids[prompt.name], changed, made_by="lead")


def read(work: Work, query: str) -> list:
    with work.database.begin() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def verdicts(work: Work, prompt: str = "gun") -> list:
    return read(
        work,
        f"SELECT right(uri, 7), start_s, state, answer, flagged FROM reporting.answers WHERE prompt = '{prompt}'"
        " ORDER BY 1, 2",
    )


def test_a_threshold_moves_and_segments_and_videos_follow(work):
    analyse_all(work, ((gun(0.3),), (gun(0.1),)), ((gun(0.45),),))
    assert read(work, "SELECT DISTINCT answer FROM reporting.video_answers WHERE prompt = 'gun'") == [("no",)]
    move(work, GUN, band=Band(0.4, 0.4))
    done = apply_changes(work.database)
    assert (done.judged, done.changed) == (1, 1), "only the answer between the two thresholds is read"
    assert [row[3] for row in verdicts(work)] == ["no", "no", "yes"]
    rolled = "SELECT answer, flagged, severity, max_p FROM reporting.video_answers WHERE prompt = 'gun' ORDER BY uri"
    assert read(work, rolled) == [("no", False, None, None), ("yes", True, 3, 0.45)]
    assert apply_changes(work.database).judged == 0


def test_one_unsure_tag_hides_no_other_and_each_tag_has_its_own_threshold(work):
    analyse_all(work, ((gun(0.1), tags(0.52, 0.9)),))
    move(work, TAGS, band=Band(0.45, 0.55))
    apply_changes(work.database)
    assert [row[2:] for row in verdicts(work, "tags")] == [("answered", "fire", True)]
    move(work, TAGS, band=Band(0.45, 0.55), bands=(("knife", Band(0.3, 0.3)),))
    apply_changes(work.database)
    assert [row[2:] for row in verdicts(work, "tags")] == [("answered", "knife, fire", True)]


def test_re_judging_continues_where_it_was_cut_off(work, monkeypatch):
    monkeypatch.setattr(rejudge, "_BATCH", 3)
    analyse_all(work, *(((gun(0.3 + number / 100),),) for number in range(20)))
    move(work, GUN, band=Band(0.3, 0.3))

    def cut_off(_, progress):
        if progress.judged >= 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_changes(work.database, on_progress=cut_off)
    assert Counter(row[3] for row in verdicts(work)) == {"yes": 9, "no": 11}
    assert apply_changes(work.database).judged == 11, "nothing is judged twice"
    assert {row[3] for row in verdicts(work)} == {"yes"}


def test_a_policy_that_is_replaced_before_it_was_applied_leaves_nothing_of_itself(work, monkeypatch):
    monkeypatch.setattr(rejudge, "_BATCH", 2)
    analyse_all(work, *(((gun(number / 10),),) for number in range(10)))
    move(work, GUN, band=Band(0.1, 0.1))

    def cut_off(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_changes(work.database, on_progress=cut_off)
    move(work, GUN, band=Band(0.75, 0.75))
    apply_changes(work.database)
    assert [row[3] for row in verdicts(work)] == ["no"] * 8 + ["yes"] * 2


def test_follow_ups_that_become_due_are_asked_by_the_next_run_and_others_stay_marked(work):
    analyse_all(work, ((gun(0.6), why("a pistol")),), ((gun(0.3),),))
    with work.database.begin() as connection:
        make_current(connection, work.recipe.id, source="s3://bucket", set_names=["test"], made_by="test", instead=True)
    assert work.claim() == []
    move(work, GUN, band=Band(0.2, 0.2))
    assert apply_changes(work.database).reopened == 1
    (claim,) = work.claim()
    assert claim.video.uri.endswith("001.mp4"), "the one whose follow-up was not due before"
    analyse_segments(work, claim, (gun(0.3), why("a toy")))
    move(work, GUN, band=Band(0.9, 0.9))
    apply_changes(work.database)
    due = "SELECT answer, due FROM reporting.answers WHERE prompt = 'why' ORDER BY uri"
    assert read(work, due) == [("a pistol", False), ("a toy", False)]
    assert read(work, "SELECT * FROM reporting.video_answers WHERE prompt = 'why'") == []
    move(work, GUN, band=Band(0.2, 0.2))
    assert apply_changes(work.database).reopened == 0, "they have their answers"
    assert read(work, due) == [("a pistol", True), ("a toy", True)]


def test_two_prompts_with_one_question_have_one_answer_and_two_verdicts(open_work):
    strict = replace(GUN, name="strict", policy=replace(GUN.policy, band=Band(0.9, 0.9)))
    work = open_work(prompts=PromptSet("test", (GUN, strict)))
    analyse_all(work, ((gun(0.7),),))
    assert read(work, "SELECT count(*) FROM nightreel.answers") == [(1,)]
    assert {row[3] for row in verdicts(work)} == {"yes"}
    assert {row[3] for row in verdicts(work, "strict")} == {"no"}


def test_a_file_that_has_not_changed_does_not_undo_an_applied_policy(open_work):
    def in_force(work: Work) -> Band:
        with work.database.begin() as connection:
            (found,) = policies_in_force(connection, [work.recipe.prompt_ids["gun"]]).values()
        return found.policy.band

    def run(low: float) -> Work:
        changed = replace(GUN, policy=replace(GUN.policy, band=Band(low, low)))
        return open_work(prompts=PromptSet("test", (changed,)))

    work = run(0.5)
    move(work, GUN, band=Band(0.3, 0.3))
    assert in_force(run(0.5)) == Band(0.3, 0.3), "the file is as it was read before"
    assert in_force(run(0.4)) == Band(0.4, 0.4), "the file changed"
    assert in_force(run(0.5)) == Band(0.5, 0.5), "and changed back"
    assert work.recipe.prompts.prompts[0].policy.band == Band(0.5, 0.5)


def test_a_preview_says_what_apply_does(work):
    chance = random.Random(7)
    analyse_all(
        work,
        *(
            tuple((gun(chance.random()), tags(chance.random(), chance.random())) for _ in range(chance.randint(1, 3)))
            for _ in range(30)
        ),
    )
    changes = [
        (GUN, {"band": Band(0.4, 0.7)}),
        (TAGS, {"bands": (("fire", Band(0.2, 0.3)),)}),
        (GUN, {"band": Band(0.4, 0.7), "min_mass": 0.95}),
    ]
    for prompt, policy in changes:
        changed = replace(prompt, policy=replace(prompt.policy, **policy))
        (said,) = preview(work.database, PromptSet("test", (changed,)))
        before = (said_now(work, "answers"), said_now(work, "video_answers"))
        move(work, prompt, **policy)
        apply_changes(work.database)
        after = (said_now(work, "answers"), said_now(work, "video_answers"))
        for counts, old, new in zip((said.segments, said.videos), before, after, strict=True):
            moved = Counter((old[key], new[key]) for key in old if old[key] != new[key] and key[1] == prompt.name)
            assert counts == moved
        assert said.segments
        assert len(said.examples) == min(10, sum(said.segments.values()))


def said_now(work: Work, view: str) -> dict[tuple, str]:
    """What the rows of a view say, in the words of a preview."""
    key = "answer_id" if view == "answers" else "video_id"
    said = {}
    for row_id, prompt, state, answer, labels, flagged, severity in read(
        work, f"SELECT {key}, prompt, state, answer, labels, flagged, severity FROM reporting.{view}"
    ):
        unsure = ", ".join(tag for tag in TAGS.question.choices if (labels or {}).get(tag) == "unknown")
        words = (answer or "none") if state == "answered" else state
        words += f" (unsure: {unsure})" if unsure else ""
        said[row_id, prompt] = words + (f", flagged {severity or ''}".rstrip() if flagged else "")
    return said


def test_going_back_to_an_earlier_question_shows_its_answers_again(open_work):
    source = {"source": "s3://bucket", "set_names": ["test"], "made_by": "night", "instead": True}

    def use(work: Work) -> None:
        with work.database.begin() as connection:
            make_current(connection, work.recipe.id, **source)
        show_current(work.database)

    first = open_work(prompts=PromptSet("test", (GUN,)))
    use(first)
    analyse_all(first, ((gun(0.9),),), ((gun(0.2),),))
    reworded = replace(GUN, question=replace(GUN.question, text="Is a gun shown?"))
    second = open_work(prompts=PromptSet("test", (reworded,)))
    use(second)
    outdated = "SELECT answer, outdated FROM reporting.answers ORDER BY uri"
    assert read(first, outdated) == [("yes", "question"), ("no", "question")], "shown until they are asked again"
    second.discover(stored("000.mp4"), stored("001.mp4"))
    claim = second.claim()[0]
    analyse_segments(second, claim, (replace(gun(0.1), question_hash=reworded.question.hash),))
    assert read(first, outdated) == [("no", None), ("no", "question")]
    use(first)
    assert read(first, outdated) == [("yes", None), ("no", None)], "the flagged video is back, and nothing was asked"
    assert read(first, "SELECT flagged FROM reporting.video_answers ORDER BY uri") == [(True,), (False,)]
    assert read(first, "SELECT count(*) FROM reporting.answers_all") == [(3,)]
    changes = f"SELECT answer_a, answer_b FROM reporting.changes({first.recipe.id}, {second.recipe.id})"
    assert read(first, changes) == [("yes", "no")], "of the video that both were asked about"


def test_a_video_never_shows_two_plans_and_another_model_is_marked(open_work):
    source = {"source": "s3://bucket", "set_names": ["test"], "made_by": "night", "instead": True}
    first = open_work(prompts=PromptSet("test", (GUN,)))
    with first.database.begin() as connection:
        make_current(connection, first.recipe.id, **source)
    analyse_all(first, ((gun(0.9),), (gun(0.2),)))
    other = open_work(prompts=PromptSet("test", (GUN,)), model="b" * 64)
    other.discover(stored("000.mp4"))
    (claim,) = other.claim()
    analyse_segments(other, claim, (gun(0.3),))
    shown = "SELECT start_s, answer, outdated FROM reporting.answers ORDER BY start_s"
    assert read(first, shown) == [(0.0, "yes", None), (30.0, "no", None)], "another run changes nothing on show"
    with first.database.begin() as connection:
        make_current(connection, other.recipe.id, **source)
    show_current(first.database)
    assert read(first, shown) == [(0.0, "no", None), (30.0, "no", "model")], "what it lacks is marked"
    changes = f"SELECT start_s, answer_a, answer_b FROM reporting.changes({first.recipe.id}, {other.recipe.id})"
    assert read(first, changes) == [(0.0, "yes", "no")]


def test_two_versions_are_compared_by_what_they_make_of_the_stored_answers(work, owner_url):
    """The verdicts of the first version are replaced: only the answers are left of it."""
    p_of = {"low.mp4": 0.1, "middle.mp4": 0.6, "high.mp4": 0.9, "secret.mp4": 0.6}
    work.discover(*map(stored, p_of))
    for claim in work.claim(segments=100):
        p = p_of[claim.video.uri.rsplit("/", 1)[1]]
        analyse_segments(work, claim, (gun(p), tags(0.1, 0.1)), (gun(0.05), tags(0.1, 0.1)))
    move_band(work, 0.7, 0.7)
    move_band(work, 0.95, 0.95)
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.videos SET restricted = true WHERE uri LIKE '%secret%'"))
        first, second, third = connection.execute(
            text(
                "SELECT policy.id FROM nightreel.policies AS policy JOIN nightreel.prompts AS prompt "
                "ON prompt.id = policy.prompt_id WHERE prompt.name = 'gun' ORDER BY policy.id"
            )
        ).scalars()
        (of_tags,) = connection.execute(
            text(
                "SELECT policy.id FROM nightreel.policies AS policy JOIN nightreel.prompts AS prompt "
                "ON prompt.id = policy.prompt_id WHERE prompt.name = 'tags'"
            )
        ).scalars()
    before = tables(work)

    def changed(old, new, **options):
        found = changes_between(work.database, *find_two(work.database, old, new), **options)
        return sorted((one.uri.rsplit("/", 1)[1], one.flag, one.before, one.after) for one in found)

    assert changed(first, second) == [("middle.mp4", "flag.cleared", "yes, flagged 3", "no")]
    assert changed(second, first) == [("middle.mp4", "flag.raised", "no", "yes, flagged 3")]
    assert [one[:2] for one in changed(first, third)] == [("high.mp4", "flag.cleared"), ("middle.mp4", "flag.cleared")]
    assert [one[0] for one in changed(first, second, restricted=True)] == ["middle.mp4", "secret.mp4"]
    assert changed(third, third) == []
    assert tables(work) == before
    with pytest.raises(SettingsError, match="expected two of one prompt"):
        find_two(work.database, first, of_tags)
    with pytest.raises(SettingsError, match="no policy 999"):
        find_two(work.database, first, 999)


def move_band(work: Work, no_below: float, yes_from: float) -> None:
    with work.database.begin() as connection:
        apply_policy(
            connection,
            work.recipe.prompt_ids["gun"],
            replace(GUN.policy, band=Band(no_below, yes_from)),
            made_by="test",
        )
    apply_changes(work.database)


def tables(work: Work) -> list[tuple]:
    with work.database.begin() as connection:
        return [
            tuple(row)
            for name in ("verdicts", "video_verdicts", "policies")
            for row in connection.execute(text(f"SELECT * FROM nightreel.{name} ORDER BY 1, 2"))
        ]
