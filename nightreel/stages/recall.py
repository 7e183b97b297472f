"""Recall: what the database knows of the videos of a chunk, with a few statements for all of them.

A new prompt over old videos needs no file. Asked video by video, the database took most of such a run's time. What
needs the file or the answers of the same bytes under another key is left to `identify`, video by video.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version

from sqlalchemy import Connection

from nightreel.cache.features import feature_key
from nightreel.database.answers import GivenAnswers, answers_given
from nightreel.database.claims import take_contents
from nightreel.database.connection import Database
from nightreel.database.features import KnownFeatures, known_features
from nightreel.database.recipes import Recipe
from nightreel.database.results import known_videos
from nightreel.domain import Claim, LookAgain, SamplingPlan, SecondLook, Segment
from nightreel.domain.chunks import most_segments
from nightreel.errors import PermanentError
from nightreel.media.sampling import windows
from nightreel.models.base import ModelSpec
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.videos import OpenVideo, OpenVideos

Part = tuple[Segment, SecondLook | None]
"""A segment, or a window of one for a second look."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A segment that lacks answers: of a first look at it (`is_new`), of second looks, or of both."""

    segment: Segment
    is_new: bool
    looks: tuple[LookAgain, ...] = ()

    def to_see(self) -> list[Part]:
        """The segment, and the windows of its second looks."""
        seen = [
            (window, SecondLook(self.segment, look))
            for look in self.looks
            for window in windows(self.segment, look.window_s)
        ]
        return [(self.segment, None), *seen] if self.is_new else [*seen]


@dataclass(frozen=True, slots=True)
class Recalled:
    """The segments without answers, by analysis, and the known features of all of these, by key.

    A video that is not in `wanted` is looked up on its own.
    """

    wanted: Mapping[int, Sequence[Unanswered]] = field(default_factory=dict)
    features: Mapping[str, KnownFeatures] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Recall and what it uses.

    Args:
        chunk_segments: segments to decode that a chunk takes.
    """

    database: Database
    recipe: Recipe
    spec: ModelSpec
    recorder: RunRecorder
    chunk_segments: int

    def recall(self, claims: Sequence[Claim], videos: OpenVideos) -> Recalled:
        """Identify the videos whose bytes and probe are known, and find what they and the identified ones lack.

        Raises:
            NightreelError: the database failed.
        """
        opened = {claim.analysis_id: videos.open(claim) for claim in claims}
        with self.recorder.stage("database"), self.database.begin() as connection:
            self._identify(connection, [video for video in opened.values() if not video.segments])
            ready = [claim for claim in claims if opened[claim.analysis_id].segments]
            if not ready:
                return Recalled()
            given = answers_given(connection, [claim.video.id for claim in ready], self.recipe)
            wanted = {
                claim.analysis_id: self._lacking(claim, opened[claim.analysis_id], given[claim.video.id])
                for claim in ready
            }
            keys = {
                self.key_of(opened[analysis_id], part)
                for analysis_id, lacking in wanted.items()
                for item in lacking[: most_segments(self.chunk_segments)]
                for part in item.to_see()
            }
            return Recalled(wanted, known_features(connection, keys) if keys else {})

    def without_answers(self, claim: Claim, video: OpenVideo) -> list[Unanswered]:
        """The segments of one video that lack answers, from the claim's first one on, without those that failed."""
        with self.recorder.stage("database"), self.database.begin() as connection:
            return self._lacking(claim, video, answers_given(connection, [claim.video.id], self.recipe)[claim.video.id])

    def key_of(self, video: OpenVideo, part: Part) -> str:
        """The key of the features of a segment or a window."""
        segment, second_look = part
        decoder = video.facts["decoder"]
        return feature_key(
            content_sha256=video.content_sha256,
            segment=segment,
            plan=self.plan_of(second_look),
            decoder=decoder,
            decoder_version=_version("av" if decoder == "pyav" else decoder),
            spec=self.spec,
        )

    def plan_of(self, second_look: SecondLook | None) -> SamplingPlan:
        """How a segment (None) or a window is sampled."""
        return second_look.look.sampling if second_look else self.recipe.plan

    def _identify(self, connection: Connection, videos: Sequence[OpenVideo]) -> None:
        """Identify videos with known bytes and probe, unless other videos have the same bytes."""
        if not videos:
            return
        known = known_videos(connection, [video.claim.video.id for video in videos])
        contents = {
            video.claim.analysis_id: one.content_sha256
            for video in videos
            if (one := known[video.claim.video.id]).content_sha256 and one.probe and not one.has_twin
        }
        if not contents or not take_contents(connection, contents):
            return
        # Again, now that no other run can take these bytes: a twin may be new.
        known = known_videos(connection, [video.claim.video.id for video in videos])
        for video in videos:
            content_sha256, one = contents.get(video.claim.analysis_id), known[video.claim.video.id]
            if content_sha256 and one.probe and not one.has_twin:
                with suppress(PermanentError):  # `identify` raises it again, for this video alone
                    video.take_over(content_sha256, one.probe, window_s=self.recipe.plan.window_s)

    def _lacking(self, claim: Claim, video: OpenVideo, given: Mapping[int, GivenAnswers]) -> list[Unanswered]:
        failed = {failure.segment.index for failure in video.failures if not failure.transient}
        prompts = self.recipe.prompts
        found = []
        for segment in video.segments[claim.first_segment :]:
            verdicts = given[segment.index].verdicts(prompts)
            looks = {
                one.policy.look_again.key: one.policy.look_again
                for one in prompts.to_look_again(verdicts)
                if one.policy.look_again
            }
            lacking = Unanswered(segment, bool(prompts.missing(verdicts)), tuple(looks.values()))
            if segment.index not in failed and (lacking.is_new or lacking.looks):
                found.append(lacking)
        return found


@cache
def _version(package: str) -> str:
    return version(package)
