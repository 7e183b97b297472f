"""The project's @task decorator, which every Prefect task of Nightreel uses."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import prefect
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task, exponential_backoff

from nightreel.errors import NightreelError, TransientError
from nightreel.host_errors import host_error

RETRIES = 3
P = ParamSpec("P")
R = TypeVar("R")


def task(name: str) -> Callable[[Callable[P, R]], Task[P, R]]:
    """Make a Prefect task that retries on TransientError only, after growing delays with jitter.

    Its results are neither cached nor stored: hashing arguments and storing results cost more than most stages, and a
    stored result would silently skip a write.
    """
    options: Any = prefect.task(
        name=name,
        cache_policy=NO_CACHE,
        persist_result=False,
        retries=RETRIES,
        retry_delay_seconds=exponential_backoff(2),
        retry_jitter_factor=0.5,
        retry_condition_fn=_is_transient,
    )

    def decorate(function: Callable[P, R]) -> Task[P, R]:
        made: Task[P, R] = options(_with_host_errors(function))
        return made

    return decorate


def _with_host_errors(function: Callable[P, R]) -> Callable[P, R]:
    """The function, with this project's errors for what the host is at fault for: such an error is retried."""

    @wraps(function)
    def translated(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except NightreelError:
            raise
        except Exception as error:
            if of_host := host_error(error):
                raise of_host from error
            raise

    return translated


def _is_transient(_: Task[..., Any], __: TaskRun, state: State[Any]) -> bool:
    result = state.result(raise_on_failure=False)
    return isinstance(result, TransientError)
