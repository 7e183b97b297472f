"""What a command was given, checked before any service starts: an error says which setting or argument was meant."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from nightreel.errors import NightreelError, SettingsError, TransientError
from nightreel.models.loading import describe_model
from nightreel.options import AnalyzeOptions
from nightreel.prompts.loading import load_prompt_sets
from nightreel.settings import Settings, origin
from nightreel.storage import open_storage

logger = logging.getLogger(__name__)


def check_inputs(options: AnalyzeOptions, settings: Settings, *, source: str) -> None:
    """Check prompts, source and model of a run or a backfill, with a few small requests, in about a second.

    A night does not check them: what stops a night must be seen, as a failed run.

    Args:
        settings: of this process, overridden by the options.
        source: what the command calls its source.

    Raises:
        NightreelError: as `load_prompt_sets`, `Storage.check` and `describe_model`; it names the setting or argument.
    """
    with blaming("--prompts" if options.prompts else origin("prompts")):
        load_prompt_sets(settings.prompt_sets)
    with blaming(source if options.source else origin("source")):
        _check_source(settings)
    with blaming("--model" if options.model else origin("model")):
        describe_model(settings)


def _check_source(settings: Settings) -> None:
    """Check the source. If it does not respond, only warn: the run tries again, and fails if it stays away."""
    try:
        open_storage(settings.source, settings).check()
    except TransientError as error:
        logger.warning("%s", error)


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Put the setting or argument that is meant in front of an error of the block."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{what}: {error.detail}", error.reason) from error
    except NightreelError as error:
        raise type(error)(error.reason, f"{what}: {error.detail}") from error
