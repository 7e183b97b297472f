"""Identify: what a claimed video holds and how it is cut.

What is already known is not found out again: bytes seen under another key bring their probe and their answers along,
and a video all of whose answers exist is not even fetched.
"""

from __future__ import annotations

import logging

from nightreel.database.claims import take_content
from nightreel.database.results import known_video, probe_of_content, record_content, record_probe, reuse_answers
from nightreel.media.sampling import segments
from nightreel.stages.video import OpenVideo
from nightreel.stages.workbench import Workbench

logger = logging.getLogger(__name__)


def identify(bench: Workbench, video: OpenVideo) -> bool:
    """Find out content, probe and segments, and copy the answers that the same bytes have under another key.

    Returns:
        False if the same bytes are in work under another key: their answers are worth waiting for.
    """
    row = video.claim.video
    with bench.database.begin() as connection:
        known = known_video(connection, row.id)
    video.content_sha256 = known.content_sha256 or ""
    if not video.content_sha256:
        bench.fetch(video)
    with bench.timings.stage("database"), bench.database.begin() as connection:
        record_content(connection, row.id, video.content_sha256)
        if not take_content(connection, video.claim.analysis_id, video.content_sha256):
            return False
        video.copied = reuse_answers(
            connection, video_id=row.id, content_sha256=video.content_sha256, recipe=bench.recipe, run_id=bench.run_id
        )
        facts = known.probe or probe_of_content(connection, video.content_sha256)
    if video.copied:
        logger.debug("%r holds bytes already analysed: %d answers reused", row.uri, video.copied)
    video.facts = facts or bench.probe(video).to_json()
    duration_s = video.facts["duration_s"]
    if known.probe is None:
        with bench.timings.stage("database"), bench.database.begin() as connection:
            record_probe(connection, row.id, video.facts, duration_s)
    video.segments = tuple(segments(duration_s, bench.recipe.plan.window_s))
    return True
