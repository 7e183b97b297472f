"""What a command was given, checked before any service starts: an error says which setting or argument was meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nightreel.errors import NightreelError, SettingsError
from nightreel.models.loading import describe_model
from nightreel.options import AnalyzeOptions
from nightreel.prompts.loading import load_prompt_sets
from nightreel.settings import Settings, origin
from nightreel.storage import open_storage


def check_inputs(options: AnalyzeOptions, settings: Settings, *, source: str) -> None:
    """Check prompts, source and model of a run or a backfill.

    Args:
        settings: of this process, overridden by the options.
        source: what the command calls its source.

    Raises:
        NightreelError: as `load_prompt_sets`, `Storage.check` and `describe_model`; it names the setting or argument.
    """
    with blaming("--prompts" if options.prompts else origin("prompts")):
        load_prompt_sets(settings.prompts)
    with blaming(source if options.source else origin("source")):
        open_storage(settings.source, settings).check()
    with blaming("--model" if options.model else origin("model")):
        describe_model(settings)


@contextmanager
def blaming(what: str) -> Iterator[None]:
    """Put the setting or argument that is meant in front of an error of the block."""
    try:
        yield
    except SettingsError as error:
        raise SettingsError(f"{what}: {error.detail}", error.reason) from error
    except NightreelError as error:
        raise type(error)(error.reason, f"{what}: {error.detail}") from error
