"""The project's @task decorator, which every Prefect task of Nightreel uses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from nightreel.errors import TransientError

RETRIES = 3
P = ParamSpec("P")
R = TypeVar("R")


def task(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a Prefect task that retries on TransientError only, after growing delays with jitter.

    Its results are neither cached nor stored: hashing arguments and storing results cost more than most stages, and a
    stored result would silently skip a write.
    """
    return prefect.task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(2),
        retry_jitter_factor=0.5,
        retry_condition_fn=_is_transient,
    )


def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    result = state.result(raise_on_failure=False)
    return isinstance(result, TransientError)
