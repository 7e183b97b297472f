"""Write answers to Postgres, and end claims."""

from __future__ import annotations

from nightreel.domain import AnsweredChunk, ChunkCounts, Claim, EncodedChunk
from nightreel.orchestration.runs import open_run_of
from nightreel.orchestration.task import task
from nightreel.reasons import Reason


@task("write")
def write(run_id: int, claims: list[Claim], encoded: list[EncodedChunk], answered: list[AnsweredChunk]) -> ChunkCounts:
    """Write one chunk: each list has one item."""
    return open_run_of(run_id).writing.write_chunk(claims, encoded[0].outcomes, answered[0])


@task("close failed chunk")
def close_failed(run_id: int, claims: list[Claim], reason: Reason, detail: str, transient: bool) -> ChunkCounts:
    return open_run_of(run_id).writing.close_failed_chunk(claims, reason=reason, detail=detail, transient=transient)
