"""Fetch, decode and look: videos to features in the cache."""

from __future__ import annotations

from nightreel.domain import Claim, EncodedChunk
from nightreel.orchestration.runtime import bench, task
from nightreel.stages.encode import encode_chunk


@task("encode")
def encode(run_id: int, claims: list[Claim]) -> EncodedChunk:
    return encode_chunk(bench(run_id), claims)
