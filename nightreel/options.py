"""The options of the flows: pydantic models, so that they are validated at submission and render as a form in the UI.

What is unset comes from the settings of the process that runs the flow. Secrets are never options.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from nightreel.errors import SettingsError
from nightreel.settings import PlanText, Settings, load_settings

Options = TypeVar("Options", bound=BaseModel)


def _with_zone(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


Time = Annotated[datetime, AfterValidator(_with_zone)]
"""A time without a zone is in UTC, as on the command line."""


class EvictOptions(BaseModel):
    """To what size `evict_cache` brings the feature cache."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to_gib: float | None = Field(
        None, ge=0, title="To", description="GiB that the cache may hold; unset: NIGHTREEL_CACHE_LIMIT_GIB"
    )


class AnalyzeOptions(BaseModel):
    """What one run of `analyze_videos` looks at and asks.

    A shard of a backfill says all of it; a recipe, which is what an earlier run asked of which model, says what is
    asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str | None = Field(None, title="Source", description="directory, file:// or s3://bucket/prefix")
    since: Time | None = Field(None, title="Since", description="only objects modified at or after this time")
    until: Time | None = Field(None, title="Until", description="only objects modified before this time")
    limit: int | None = Field(None, ge=1, title="Limit", description="at most so many videos")
    prompts: tuple[str, ...] | None = Field(None, title="Prompt sets", description="shipped names or YAML files")
    model: str | None = Field(None, title="Model", description="directory or hub id")
    plan: PlanText | None = Field(None, title="Sampling plan", description="uniform:N, fps:RATE:CAP, keyframes:CAP")
    chunk_segments: int | None = Field(None, ge=1, le=1024, title="Chunk", description="expected segments a chunk")
    listing: bool = Field(True, title="Listing", description="off: work off what is known, and list nothing")
    recipe: int | None = Field(None, ge=1, title="Recipe", description="ask what this row of nightreel.recipes asks")
    shard: int | None = Field(None, ge=1, title="Shard", description="work off this shard of a backfill")

    def overrides(self) -> dict[str, Any]:
        """The settings that these options override, by name."""
        values = {name: getattr(self, name) for name in ("source", "prompts", "model", "plan", "chunk_segments")}
        return {name: value for name, value in values.items() if value is not None}

    @model_validator(mode="after")
    def _consistent(self) -> AnalyzeOptions:
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"since {self.since} is not before until {self.until}")
        asked, where = {"prompts", "model", "plan"}, {"source", "since", "until", "listing", "recipe", "limit"}
        for name, says in {"recipe": asked, "shard": asked | where}.items():
            both = sorted(says & self.model_fields_set) if getattr(self, name) else []
            if any(getattr(self, other) != type(self).model_fields[other].default for other in both):
                raise ValueError(f"{name} {getattr(self, name)} says by itself what {', '.join(both)} would")
        return self


class BackfillOptions(BaseModel):
    """What `backfill_videos` plans, and whether it begins it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    videos: AnalyzeOptions | None = Field(
        None, title="Videos", description="plan a backfill of these; unset: go on with the backfills that there are"
    )
    accept: bool = Field(False, title="Accept", description="begin it; off: say what it would do and cost")
    pool: str | None = Field(None, title="Work pool", description="where its shards run; unset: NIGHTREEL_WORK_POOL")

    @model_validator(mode="after")
    def _whole_selections(self) -> BackfillOptions:
        if self.videos:
            for name in ("limit", "listing", "recipe", "shard"):
                if getattr(self.videos, name) != AnalyzeOptions.model_fields[name].default:
                    raise ValueError(
                        f"{name} is for single runs: a backfill takes source, since, until, prompts, model"
                    )
        return self


class SweepOptions(BaseModel):
    """What `sweep_videos` lists in full, to find what was changed and what is gone."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str | None = Field(None, title="Source", description="directory, file:// or s3://bucket/prefix")
    since: Time | None = Field(None, title="Since", description="of unknown objects those modified since, as nightly")
    until: Time | None = Field(None, title="Until", description="and those modified before this time")
    may_be_empty: bool = Field(
        False, title="May be empty", description="where nothing is found all videos are gone; else that is an error"
    )

    @model_validator(mode="after")
    def _since_before_until(self) -> SweepOptions:
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"since {self.since} is not before until {self.until}")
        return self


class RetryOptions(BaseModel):
    """How much `retry_failed` takes up again of what failed for reasons that may have passed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(500, ge=1, le=100_000, title="Limit", description="at most so many videos, the oldest first")
    max_reopened: int = Field(5, ge=1, le=20, title="Times", description="a video is taken up again so many times")


def settings_for(options: AnalyzeOptions, settings: Settings | None = None) -> Settings:
    """The settings of this process, overridden by the options.

    Args:
        settings: loaded already; None: they are loaded now.

    Raises:
        SettingsError: a setting is wrong, or neither settings nor options name a source.
    """
    settings = (settings or load_settings()).model_copy(update=options.overrides())
    if not settings.source and options.shard is None:
        raise SettingsError("no source: give a directory or s3://bucket/prefix, or set NIGHTREEL_SOURCE")
    return settings


def checked_options(kind: type[Options], **values: Any) -> Options:
    """Options as a command was given them; what is None or empty is unset.

    >>> checked_options(AnalyzeOptions, prompts=[], plan="every frame")
    Traceback (most recent call last):
    nightreel.errors.SettingsError: plan: sampling plan 'every frame': expected uniform:N, fps:RATE:CAP or keyframes:CAP

    Raises:
        SettingsError: naming each that is wrong.
    """
    try:
        return kind(**{name: value for name, value in values.items() if value is not None and value != []})
    except ValidationError as error:
        told = [(problem["loc"], problem["msg"].removeprefix("Value error, ")) for problem in error.errors()]
        raise SettingsError("\n".join(": ".join((*map(str, where), what)) for where, what in told)) from None
