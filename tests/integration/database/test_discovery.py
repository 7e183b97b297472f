import random
from datetime import UTC, datetime, timedelta

from fixtures.work import MODIFIED, PROMPTS, stored
from sqlalchemy import text

from nightreel.database.claims import Selection
from nightreel.database.discovery import ListingFilter, PageCounts
from nightreel.domain import PromptSet


def test_a_page_seen_twice_adds_nothing(work):
    page = [stored("a.mp4"), stored("b.mp4")]
    assert work.discover(*page) == PageCounts(listed=2, new=2)
    assert work.discover(*page) == PageCounts(listed=2, known=2)
    assert len(work.claim()) == 2


def test_only_an_object_overwritten_under_the_same_key_is_a_new_version(work):
    work.discover(stored("a.mp4", "1"), stored("b.mp4", "1"))
    assert {claim.video.uri for claim in work.claim()} == {"s3://bucket/a.mp4", "s3://bucket/b.mp4"}
    assert work.discover(stored("a.mp4", "2"), stored("b.mp4", "1")) == PageCounts(listed=2, changed=1, known=1)
    assert [(claim.video.uri, claim.video.etag) for claim in work.claim()] == [("s3://bucket/a.mp4", "2")]


def test_a_version_replaced_before_its_claim_is_never_claimed(work):
    work.discover(stored("a.mp4", "1"))
    work.discover(stored("a.mp4", "2"))
    assert [claim.video.etag for claim in work.claim()] == ["2"]


def test_a_restored_version_is_current_again_and_its_work_is_not_repeated(work):
    work.discover(stored("a.mp4", "1"))
    work.claim()
    work.discover(stored("a.mp4", "2"))
    assert work.discover(stored("a.mp4", "1")) == PageCounts(listed=1, changed=1)
    with work.database.begin() as connection:
        current = (
            connection.execute(text("SELECT etag FROM nightreel.videos WHERE replaced_at IS NULL")).scalars().all()
        )
    assert current == ["1"]
    assert work.claim() == []


def test_a_new_prompt_makes_known_videos_wanted_again(work, open_work):
    work.discover(stored("a.mp4"))
    fewer = open_work(prompts=PromptSet("test", PROMPTS.prompts[:1]))
    assert fewer.discover(stored("a.mp4")) == PageCounts(listed=1, wanted=1)
    assert len(fewer.claim()) == 1


def test_suffix_and_time_filter_objects(work):
    late = MODIFIED + timedelta(days=1)
    admit = ListingFilter(suffixes=(".mp4",), since=MODIFIED, until=late)
    counts = work.discover(
        stored("a.mp4"), stored("A.MP4"), stored("b.txt"), stored("c.mp4", modified_at=late), admit=admit
    )
    assert counts == PageCounts(listed=4, filtered=2, new=2)


def test_names_that_look_like_sql_are_just_names(work):
    names = ["'; DROP TABLE nightreel.videos; --.mp4", 'quote".mp4', "%s.mp4", ":uris.mp4", "{}\\,.mp4", "日本\n.mp4"]
    work.discover(*(stored(name) for name in names))
    assert {claim.video.uri for claim in work.claim()} == {f"s3://bucket/{name}" for name in names}


def test_the_longest_uri_of_a_listing_fits_into_every_index(work):
    draw = random.Random(1)
    name = "".join(draw.choices("0123456789ABCDEF%", k=2500 - len("s3://bucket/")))  # hardly compressible
    work.discover(stored(name, "f" * 33))
    assert [claim.video.uri for claim in work.claim()] == [f"s3://bucket/{name}"]


def test_an_object_marked_as_gone_is_back_when_it_is_listed_again(work):
    work.discover(stored("a.mp4"), stored("b.mp4"))
    assert len(work.claim(1)) == 1
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.videos SET gone_at = now()"))
    assert work.claim() == []
    assert work.discover(stored("a.mp4"), stored("b.mp4")) == PageCounts(listed=2, known=2, back=2)
    assert [claim.video.uri for claim in work.claim()] == ["s3://bucket/b.mp4"]


def test_an_old_listing_does_not_override_later_discoveries(work, open_work):
    before = datetime.now(UTC) - timedelta(minutes=1)
    work.discover(stored("kept.mp4", "2"), stored("gone.mp4"))
    with work.database.begin() as connection:
        connection.execute(text("UPDATE nightreel.videos SET gone_at = now() WHERE uri LIKE '%gone%'"))
    page = [stored("kept.mp4", "1"), stored("gone.mp4"), stored("new.mp4")]
    assert work.discover(*page, as_of=before) == PageCounts(listed=3, known=2, new=1)
    assert {(claim.video.uri, claim.video.etag) for claim in work.claim()} == {
        ("s3://bucket/kept.mp4", "2"),
        ("s3://bucket/new.mp4", "1"),
    }
    asks_less = open_work(prompts=PromptSet("test", PROMPTS.prompts[:1]))
    assert asks_less.discover(*page, as_of=before) == PageCounts(listed=3, known=2, wanted=1)
    after = datetime.now(UTC) + timedelta(minutes=1)
    assert work.discover(*page, as_of=after) == PageCounts(listed=3, known=2, changed=1, back=1)


def test_a_selection_is_a_range_of_keys_in_byte_order(work):
    work.discover(*(stored(f"{name}.mp4") for name in ("Z", "a", "b", "c", "é")))
    some = Selection(uri_prefix="s3://bucket/", after_uri="s3://bucket/Z.mp4", up_to_uri="s3://bucket/b.mp4")
    assert [claim.video.uri for claim in work.claim(selection=some)] == ["s3://bucket/a.mp4", "s3://bucket/b.mp4"]
    rest = Selection(uri_prefix="s3://bucket/", after_uri="s3://bucket/b.mp4")
    assert [claim.video.uri for claim in work.claim(selection=rest)] == ["s3://bucket/c.mp4", "s3://bucket/é.mp4"]


def test_a_video_that_failed_in_an_archive_is_work_again_when_its_object_is_restored(work, open_work):
    names = ("a.mp4", "b.mp4", "c.mp4")
    work.discover(*(stored(name, archived=True) for name in names))
    assert len(work.claim()) == 3
    with work.database.begin() as connection:
        connection.execute(
            text(
                "UPDATE nightreel.analyses SET status = 'failed', attempts = 3, run_id = NULL, "
                "reason = CASE uri WHEN 's3://bucket/c.mp4' THEN 'unreadable' ELSE 'archived' END"
            )
        )
    assert work.discover(*(stored(name, archived=True) for name in names)) == PageCounts(listed=3, known=3)
    page = [stored("a.mp4"), stored("b.mp4", archived=True), stored("c.mp4")]
    assert open_work(model="b" * 64).discover(*page) == PageCounts(listed=3, wanted=3), "another recipe has its own"
    assert work.discover(*page) == PageCounts(listed=3, known=2, restored=1)
    assert [(claim.video.uri, claim.attempt) for claim in work.claim()] == [("s3://bucket/a.mp4", 1)]
    assert work.discover(*page) == PageCounts(listed=3, known=3), "it is reopened once"
