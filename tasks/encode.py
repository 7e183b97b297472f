"""Turn videos into features in the cache: fetch, decode, encode."""

from __future__ import annotations

from nightreel.domain import Claim, EncodedChunk
from nightreel.orchestration.runs import open_run_of
from nightreel.orchestration.task import task


@task("encode")
def encode(run_id: int, claims: list[Claim]) -> EncodedChunk:
    return open_run_of(run_id).encoding.encode_chunk(claims)
