"""The options of the flows: pydantic models, validated at submission and shown as a form in Prefect's UI.

Unset options come from the settings of the process that runs the flow. Secrets are never options.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from nightreel.errors import SettingsError
from nightreel.setting_types import CommaSeparated, PlanText, ReadyBy
from nightreel.settings import Settings, load_settings

MOST_NAMED = 1000
"""Most objects and prefixes that one run may name: Prefect stores them with the run."""

Options = TypeVar("Options", bound=BaseModel)


def _with_zone(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)


Time = Annotated[datetime, AfterValidator(_with_zone)]
"""A time without a zone is in UTC, as on the command line."""


class EvictOptions(BaseModel):
    """The size that `evict_cache` brings the feature cache to."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    to_gib: float | None = Field(
        None, ge=0, title="To", description="size to reach, GiB; unset: NIGHTREEL_CACHE_LIMIT_GIB"
    )


class AnalyzeOptions(BaseModel):
    """The videos, prompts and model of one run of `analyze_videos`.

    `shard` and `night` set all of them. `recipe` sets the prompts and the sampling plan of an earlier run, and requires
    its model.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str | None = Field(None, title="Source", description="directory, file:// or s3://bucket/prefix")
    since: Time | None = Field(None, title="Since", description="only objects modified at or after this time")
    until: Time | None = Field(None, title="Until", description="only objects modified before this time")
    only: tuple[str, ...] | None = Field(
        None,
        min_length=1,
        max_length=MOST_NAMED,
        title="Only",
        description="analyse only these of the source: URIs of objects, and of prefixes that end with a slash",
    )
    limit: int | None = Field(None, ge=1, title="Limit", description="analyse at most this many videos")
    prompts: CommaSeparated | None = Field(
        None, title="Prompt sets", description="names of shipped sets, or YAML files"
    )
    model: str | None = Field(None, title="Model", description="directory or hub id of a video LLM")
    plan: PlanText | None = Field(None, title="Sampling plan", description="uniform:N, fps:RATE:CAP or keyframes:CAP")
    chunk_segments: int | None = Field(None, ge=1, le=1024, title="Chunk", description="expected segments per chunk")
    listing: bool = Field(True, title="Listing", description="list the source; off: analyse known videos only")
    recipe: int | None = Field(None, ge=1, title="Recipe", description="use this row of nightreel.recipes")
    shard: int | None = Field(None, ge=1, title="Shard", description="process this shard of a backfill")
    night: int | None = Field(None, ge=1, title="Night", description="help this run: work on its backlog")
    ready_by: ReadyBy | None = Field(
        None, title="Ready by", description="claim only what will be done by this time: HH:MM ZONE"
    )
    helpers: int | None = Field(
        None, ge=0, le=1000, title="Helpers", description="most helpers of this run; unset: NIGHTREEL_HELPERS"
    )

    def overrides(self) -> dict[str, Any]:
        """The settings that these options override: name to value."""
        values = {name: getattr(self, name) for name in ("source", "prompts", "model", "plan", "chunk_segments")}
        return {name: value for name, value in values.items() if value not in (None, "", ())}

    @model_validator(mode="after")
    def _consistent(self) -> AnalyzeOptions:
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"since {self.since} is not before until {self.until}")
        asked, where = {"prompts", "model", "plan"}, {"source", "since", "until", "listing", "recipe", "limit", "only"}
        of_another = asked | where | {"helpers", "ready_by"}
        for name, says in {"recipe": asked, "shard": of_another, "night": of_another | {"shard"}}.items():
            both = sorted(says & self.model_fields_set) if getattr(self, name) else []
            if any(getattr(self, other) != type(self).model_fields[other].default for other in both):
                raise ValueError(f"{name} {getattr(self, name)} sets {', '.join(both)} already: leave them out")
        return self


class BackfillOptions(BaseModel):
    """The videos of a backfill that `backfill_videos` plans, and whether it starts it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    videos: AnalyzeOptions | None = Field(
        None, title="Videos", description="plan a backfill of these; unset: continue the existing backfills"
    )
    accept: bool = Field(False, title="Accept", description="start it; off: report its work and cost only")
    pool: str | None = Field(
        None, title="Work pool", description="pool that runs its shards; unset: NIGHTREEL_WORK_POOL"
    )

    @model_validator(mode="after")
    def _whole_selections(self) -> BackfillOptions:
        if self.videos:
            for name in ("limit", "listing", "recipe", "shard", "night", "helpers", "ready_by", "only"):
                if getattr(self.videos, name) != AnalyzeOptions.model_fields[name].default:
                    raise ValueError(
                        f"{name} is for single runs: a backfill takes source, since, until, prompts, model, plan"
                    )
        return self


class SweepOptions(BaseModel):
    """The source that `sweep_videos` lists in full, to find changed and deleted objects."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str | None = Field(None, title="Source", description="directory, file:// or s3://bucket/prefix")
    since: Time | None = Field(None, title="Since", description="add unknown objects only if modified at or after this")
    until: Time | None = Field(None, title="Until", description="add unknown objects only if modified before this")
    may_be_empty: bool = Field(
        False, title="May be empty", description="an empty source means that all videos are gone; off: it is an error"
    )

    @model_validator(mode="after")
    def _since_before_until(self) -> SweepOptions:
        if self.since and self.until and self.since >= self.until:
            raise ValueError(f"since {self.since} is not before until {self.until}")
        return self


class RetryOptions(BaseModel):
    """How many failed videos `retry_failed` reopens, whose failures may be transient."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limit: int = Field(
        500, ge=1, le=100_000, title="Limit", description="reopen at most this many videos, the oldest first"
    )
    max_reopened: int = Field(5, ge=1, le=20, title="Times", description="reopen a video at most this many times")


class TidyOptions(BaseModel):
    """The age at which `tidy_prefect` deletes flow runs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: int | None = Field(
        None,
        ge=1,
        le=36_500,
        title="Keep",
        description="delete runs that ended earlier, days; unset: NIGHTREEL_PREFECT_KEEP_DAYS",
    )


class DeliverOptions(BaseModel):
    """How long one run of `deliver_webhooks` sends events."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most_s: float = Field(
        240, gt=0, le=3600, title="At most", description="seconds after which the next run goes on with the rest"
    )


class RequestOptions(BaseModel):
    """How long one run of `carry_out_requests` takes new requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    most_s: float = Field(
        240, gt=0, le=3600, title="At most", description="seconds after which the next run goes on with the rest"
    )


class AuditOptions(BaseModel):
    """How often, and how many items, one run of `draw_audits` draws."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    audit_every_days: int | None = Field(
        None,
        ge=0,
        le=3650,
        title="Every",
        description="draw audits that are so old again, days; 0: none; unset: NIGHTREEL_AUDIT_EVERY_DAYS",
    )
    audit_sample: int | None = Field(
        None, ge=10, le=10_000, title="Sample", description="items of each label; unset: NIGHTREEL_AUDIT_SAMPLE"
    )

    def overrides(self) -> dict[str, int]:
        """The settings that these options override: name to value."""
        values = {"audit_every_days": self.audit_every_days, "audit_sample": self.audit_sample}
        return {name: value for name, value in values.items() if value is not None}


class RetentionOptions(BaseModel):
    """The ages at which one run of `apply_retention` erases videos."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    keep_days: int | None = Field(
        None, ge=0, le=36_500, title="Keep", description="erase videos found earlier, days; unset: NIGHTREEL_KEEP_DAYS"
    )
    keep_gone_days: int | None = Field(
        None,
        ge=0,
        le=36_500,
        title="Keep gone ones",
        description="erase videos whose objects are gone for longer, days; unset: NIGHTREEL_KEEP_GONE_DAYS",
    )

    def overrides(self) -> dict[str, int]:
        """The settings that these options override: name to value."""
        values = {"keep_days": self.keep_days, "keep_gone_days": self.keep_gone_days}
        return {name: value for name, value in values.items() if value is not None}


def settings_for(options: AnalyzeOptions, settings: Settings | None = None) -> Settings:
    """The settings of this process, overridden by the options.

    Args:
        settings: None loads them.

    Raises:
        SettingsError: a setting is wrong, or neither settings nor options name a source.
    """
    settings = (settings or load_settings()).model_copy(update=options.overrides())
    if not settings.source and options.shard is None and options.night is None:
        raise SettingsError("no source: pass a directory or s3://bucket/prefix, or set NIGHTREEL_SOURCE")
    return settings


def checked_options(kind: type[Options], **values: Any) -> Options:
    """The options of a command; None, empty texts and empty lists are unset.

    >>> checked_options(AnalyzeOptions, prompts=[], plan="often")
    Traceback (most recent call last):
    nightreel.errors.SettingsError: --plan: sampling plan 'often': expected uniform:N, fps:RATE:CAP or keyframes:CAP

    Raises:
        SettingsError: an option is wrong; the message names each.
    """
    try:
        return kind(**{name: value for name, value in values.items() if value not in (None, "", [])})
    except ValidationError as error:
        raise SettingsError("\n".join(map(_told, error.errors()))) from None


def _told(problem: Any) -> str:
    what = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return str(what)
    name, *where = map(str, problem["loc"])
    option = name if name in ("source", "only") else f"--{name.replace('_', '-')}"
    return ": ".join((option, *where, what))
