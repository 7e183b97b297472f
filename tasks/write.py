"""Answers into Postgres, claims to their end."""

from __future__ import annotations

from nightreel.domain import AnsweredChunk, Claim, EncodedChunk
from nightreel.orchestration.runtime import bench, task
from nightreel.stages.write import close_failed_chunk, write_chunk


@task("write")
def write(run_id: int, claims: list[Claim], encoded: EncodedChunk, answered: AnsweredChunk) -> dict[str, int]:
    return write_chunk(bench(run_id), claims, encoded.outcomes, answered)


@task("close failed chunk")
def close_failed(run_id: int, claims: list[Claim], reason: str, detail: str, transient: bool) -> dict[str, int]:
    return close_failed_chunk(bench(run_id), claims, reason=reason, detail=detail, transient=transient)
