"""Erasures, legal holds, golden items and thresholds over HTTP: the service asks, the worker's role carries out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from fixtures.work_rest import Rest
from sqlalchemy import text

from nightreel.client import Client, ServiceError
from nightreel.database.tokens import add_token
from nightreel.database.users import add_user, change_user
from nightreel.domain.tokens import Scope
from nightreel.domain.users import Role
from nightreel.errors import TransientError
from nightreel.reasons import Reason
from nightreel.stages.requests import carry_out_requests, erasing_for

SCOPES = (Scope.READ, Scope.REVIEW, Scope.ADMIN)


@dataclass
class Site:
    """The service, clients of people, and the process that carries out."""

    rest: Rest
    ada: Client  # an admin who may see restricted videos, with a token that may
    eve: Client  # an admin who may not
    lea: Client  # a lead

    def carry_out(self) -> None:
        """Carry out what waits, as the worker's process does. Nothing ever ran in Prefect."""
        carry_out_requests(self.rest.owner, erase=erasing_for(self.rest.settings, self.rest.owner, forget=None))

    def outcome(self, request_id: int) -> str:
        self.carry_out()
        return self.lea.review.request(request_id)["outcome"]

    def uri(self, name: str) -> str:
        with self.rest.owner.begin() as connection:
            found = text("SELECT uri FROM nightreel.videos WHERE id = :id")
            return connection.execute(found, {"id": self.rest.video_ids[name]}).scalar_one()

    def rows(self, query: str) -> list[Any]:
        with self.rest.owner.begin() as connection:
            return list(connection.execute(text(query)))


@pytest.fixture
def site(rest: Rest) -> Iterator[Site]:
    rest.execute("UPDATE nightreel.features SET uri = NULL, thumbnail_uri = NULL")
    rest.execute("UPDATE nightreel.videos SET content_sha256 = encode(sha256(uri::bytea), 'hex')")
    with ExitStack() as stack:

        def client(name: str, role: Role, *more: Scope) -> Client:
            with rest.owner.begin() as connection:
                add_user(connection, name, role=role, restricted=Scope.RESTRICTED in more)
                token = add_token(connection, name, scopes=[*SCOPES, *more], lifetime=timedelta(days=1))
            return stack.enter_context(Client(rest.url, token))

        yield Site(
            rest,
            ada=client("ada", Role.ADMIN, Scope.RESTRICTED),
            eve=client("eve", Role.ADMIN),
            lea=client("lea", Role.LEAD),
        )


def refused(call, *arguments, **more) -> ServiceError:
    with pytest.raises(ServiceError) as error:
        call(*arguments, **more)
    return error.value


def test_a_video_is_previewed_and_erased_and_its_request_does_not_name_it_afterwards(site: Site):
    uri = site.uri("clip-3")
    seen = site.ada.admin.preview_erasure(uri)
    assert (seen["objects"], seen["versions"], seen["copies"], seen["holds"]) == (1, 1, 0, {})
    assert uri in {row["uri"] for row in site.ada.videos().to_pylist()}, "a preview changes nothing"
    asked = site.ada.admin.erase(uri, reason="request 7", digest=seen["digest"])
    assert site.lea.review.request(asked)["outcome"] is None
    assert "erased: number 1 of the view erasures" in site.outcome(asked)
    assert uri not in {row["uri"] for row in site.ada.videos().to_pylist()}
    assert [(row["made_by"], row["reason"]) for row in site.ada.erasures().to_pylist()] == [("ada", "request 7")]
    (request,) = site.rows("SELECT requests::text AS text FROM nightreel.requests")
    assert uri not in request.text
    assert "clip-3" not in request.text


def test_copies_are_counted_and_erased_only_if_asked(site: Site):
    content = "c" * 64
    with site.rest.owner.begin() as connection:
        ids = [site.rest.video_ids[name] for name in ("clip-3", "clean")]
        connection.execute(
            text("UPDATE nightreel.videos SET content_sha256 = :content WHERE id = ANY (:ids)"),
            {"content": content, "ids": ids},
        )
    uri, copy = site.uri("clip-3"), site.uri("clean")
    seen = site.ada.admin.preview_erasure(uri)
    assert (seen["objects"], seen["copies"]) == (1, 1)
    assert site.ada.admin.preview_erasure(content)["objects"] == 2
    asked = site.ada.admin.erase(uri, reason="request 7", digest=seen["digest"])
    assert "1 other object with the same bytes kept" in site.outcome(asked)
    assert copy in {row["uri"] for row in site.ada.videos().to_pylist()}


def test_another_copy_since_the_preview_refuses_the_erasure(site: Site):
    uri = site.uri("clip-3")
    seen = site.ada.admin.preview_erasure(uri)
    asked = site.ada.admin.erase(uri, reason="request 7", digest=seen["digest"])
    site.rest.execute(
        "UPDATE nightreel.videos SET content_sha256 = (SELECT content_sha256 FROM nightreel.videos WHERE id = "
        f"{site.rest.video_ids['clip-3']}) WHERE id = {site.rest.video_ids['clean']}"
    )
    assert "preview it again" in site.outcome(asked)
    assert uri in {row["uri"] for row in site.ada.videos().to_pylist()}


def test_an_erasure_that_was_killed_before_it_was_noted_ends_and_erases_nothing_else(site: Site, monkeypatch):
    uri = site.uri("clip-3")
    asked = site.ada.admin.erase(uri, reason="request 7", digest=site.ada.admin.preview_erasure(uri)["digest"])
    with monkeypatch.context() as killed:
        killed.setattr("nightreel.stages.requests.end_request", _dies)
        with pytest.raises(KeyboardInterrupt):
            site.carry_out()
    assert "erased" in site.outcome(asked)
    assert len(site.ada.erasures().to_pylist()) == 1


def _dies(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_hold_blocks_an_erasure_until_it_ends(site: Site):
    uri = site.uri("clip-3")
    held = site.ada.admin.hold(uri, reason="case 7 of the court")
    assert "hold 1 counts for 1 version" in site.outcome(held)
    assert [row.detail for row in site.rows("SELECT detail FROM nightreel.requests")] == [{}]
    seen = site.ada.admin.preview_erasure(uri)
    assert seen["holds"] == {"1": "case 7 of the court"}
    asked = site.ada.admin.erase(uri, reason="request 7", digest=seen["digest"])
    assert "hold 1: case 7 of the court" in site.outcome(asked)
    assert site.lea.review.request(asked)["failed"]
    assert site.outcome(site.ada.admin.end_hold(1)) == "hold 1 is removed"
    again = site.ada.admin.erase(uri, reason="request 8", digest=seen["digest"])
    assert "erased: number 1" in site.outcome(again)


def test_golden_items_are_added_listed_and_ended(site: Site):
    asked = site.ada.admin.add_golden(site.rest.video_ids["clip-3"], {"violence": True})
    assert site.outcome(asked) == "golden item 1"
    (item,) = site.ada.admin.golden()
    assert (item["labels"], item["made_by"], item["given"]) == ({"violence": True}, "ada", 0)
    assert "given to nobody" in site.outcome(site.ada.admin.end_golden(1))
    assert site.ada.admin.golden() == []
    assert "no label that people judge" in site.outcome(site.ada.admin.add_golden(1, {"nonsense": True}))


def test_a_threshold_is_previewed_and_comes_into_force_when_it_is_carried_out(site: Site):
    (prompt,) = site.rows("SELECT prompt_id FROM reporting.policies WHERE in_force AND prompt = 'violence'")
    seen = site.lea.audit.preview_threshold(prompt.prompt_id, threshold=0.995, doubt=0.0)
    assert seen["lost"] > 0
    flags = site.lea.flags(filters=["prompt=violence"]).num_rows
    asked = site.lea.audit.move_threshold(prompt.prompt_id, threshold=0.995, doubt=0.0, policy_id=seen["policy_id"])
    assert site.lea.flags(filters=["prompt=violence"]).num_rows == flags, "it waits"
    assert "in force" in site.outcome(asked)
    assert site.lea.flags(filters=["prompt=violence"]).num_rows < flags


def test_a_lead_asks_for_no_erasure_and_a_request_of_one_who_is_no_admin_any_more_is_refused(site: Site):
    uri = site.uri("clip-3")
    for call, arguments in (
        (site.lea.admin.preview_erasure, (uri,)),
        (site.lea.admin.golden, ()),
        (site.lea.admin.end_hold, (1,)),
    ):
        assert refused(call, *arguments).status == 403
    asked = site.ada.admin.erase(uri, reason="request 7", digest=site.ada.admin.preview_erasure(uri)["digest"])
    with site.rest.owner.begin() as connection:
        change_user(connection, "ada", role=Role.LEAD)
    assert "this needs an admin" in site.outcome(asked)
    assert len(site.rows(f"SELECT FROM nightreel.videos WHERE uri = '{uri}'")) == 1


def test_a_restricted_video_is_as_if_it_did_not_exist_to_an_admin_who_may_not_see_it(site: Site):
    uri = site.uri("bloody")
    unknown = refused(site.eve.admin.preview_erasure, "s3://bucket/nothing.mp4")
    hidden = refused(site.eve.admin.preview_erasure, uri)
    assert (unknown.status, hidden.status) == (404, 404)
    assert unknown.detail.replace("s3://bucket/nothing.mp4", uri) == hidden.detail
    assert refused(site.eve.admin.hold, uri, reason="x").status == 404
    assert site.ada.admin.preview_erasure(uri)["objects"] == 1


@pytest.mark.parametrize("what", ["/etc/passwd", "clip.mp4", "", "a\x00b", "C" * 64])
def test_what_is_no_uri_and_no_hash_is_refused(site: Site, what: str):
    assert refused(site.ada.admin.preview_erasure, what).status == 422


def test_a_process_that_does_not_erase_leaves_erasures_to_others(site: Site):
    uri = site.uri("clip-3")
    asked = site.ada.admin.erase(uri, reason="request 7", digest=site.ada.admin.preview_erasure(uri)["digest"])
    held = site.ada.admin.hold(site.uri("clean"), reason="x")
    carry_out_requests(site.rest.owner)
    assert site.lea.review.request(asked)["ended_at"] is None
    assert site.lea.review.request(held)["ended_at"] is not None


def test_a_run_that_works_on_the_video_is_an_outcome_and_a_lost_database_is_not(site: Site):
    uri = site.uri("clip-3")
    digest = site.ada.admin.preview_erasure(uri)["digest"]
    first = site.ada.admin.erase(uri, reason="request 7", digest=digest)

    def works(*_: object) -> str:
        raise TransientError(Reason.VIDEO_IN_WORK, "a run works on it")

    def is_lost(*_: object) -> str:
        raise TransientError(Reason.DATABASE_UNREACHABLE, "it is gone")

    with pytest.raises(TransientError, match="gone"):
        carry_out_requests(site.rest.owner, erase=is_lost)
    assert site.lea.review.request(first)["outcome"] is None, "it waits for the next try"
    carry_out_requests(site.rest.owner, erase=works)
    assert site.lea.review.request(first)["outcome"] == "a run works on it: ask again later"
