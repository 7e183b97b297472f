"""Identify: find the content of a claimed video and cut it into segments.

Nothing is done twice. A video whose bytes are known under another key takes over their probe and answers; a video that
has all its answers is not fetched.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

from nightreel.database.answers import reuse_answers
from nightreel.database.claims import take_contents
from nightreel.database.connection import Database
from nightreel.database.recipes import Recipe
from nightreel.database.results import known_videos, probe_of_content, record_content, record_probe
from nightreel.database.tombstones import refuse_erased
from nightreel.stages.recorder import RunRecorder
from nightreel.stages.tombstones import ReadTombstoneKey, no_tombstone_key
from nightreel.stages.videos import OpenVideo, VideoFiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Identification:
    """Identification of a video and what it uses."""

    database: Database
    recipe: Recipe
    run_id: int
    files: VideoFiles
    recorder: RunRecorder
    read_tombstone_key: ReadTombstoneKey = no_tombstone_key

    def identify(self, video: OpenVideo) -> bool:
        """Find content hash, probe and segments, and copy the answers that the same bytes have under another key.

        Returns:
            False if another run is analysing the same bytes under another key: wait for its answers.

        Raises:
            PermanentError: `erased`: these bytes were erased. Nothing of them is stored.
        """
        row = video.claim.video
        with self.database.begin() as connection:
            known = known_videos(connection, [row.id])[row.id]
        video.content_sha256 = known.content_sha256 or ""
        if not video.content_sha256:
            self.files.fetch(video)
        with self.recorder.stage("database"), self.database.begin() as connection:
            if not known.content_sha256:
                refuse_erased(connection, self.read_tombstone_key(), uri=row.uri, content_sha256=video.content_sha256)
                record_content(connection, row.id, video.content_sha256)
            if not take_contents(connection, {video.claim.analysis_id: video.content_sha256}):
                return False
            video.copied = reuse_answers(
                connection,
                video_id=row.id,
                content_sha256=video.content_sha256,
                recipe=self.recipe,
                run_id=self.run_id,
            )
            facts = known.probe or probe_of_content(connection, video.content_sha256)
        if video.copied:
            logger.debug("%r has the bytes of an analysed video: %d answers reused", row.uri, video.copied)
        facts = facts or self.files.probe(video).to_json()
        if known.probe is None:
            with self.recorder.stage("database"), self.database.begin() as connection:
                record_probe(
                    connection,
                    row.id,
                    facts,
                    duration_s=facts["duration_s"],
                    expected_s=facts.get("expected_s"),
                )
        video.take_over(video.content_sha256, facts, window_s=self.recipe.plan.window_s)
        return True
