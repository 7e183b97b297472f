"""The settings: one class, read from `NIGHTREEL_*` variables, `.env`, and secrets that a container is given as files
(`/run/secrets/nightreel_database_url`). The only reader of the environment.

Object storage keys come by the usual AWS variables, which botocore reads itself. `PREFECT_API_URL` is Prefect's own.
"""

from __future__ import annotations

import difflib
import os
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings import SettingsError as SourceError

from nightreel.domain import SamplingPlan
from nightreel.errors import SettingsError

PREFIX = "NIGHTREEL_"
SECRETS = Path("/run/secrets")
"""Where containers find their secrets. A variable of the same name wins."""


def _valid_plan(text: str) -> str:
    try:
        return str(SamplingPlan.parse(text))
    except SettingsError as error:
        raise ValueError(error.detail) from error


def _split_commas(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


PlanText = Annotated[str, AfterValidator(_valid_plan)]
CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_commas)]


class Settings(BaseSettings):
    """What an operator can set. Field `x` is variable `NIGHTREEL_X`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True, populate_by_name=True
    )

    # where things are
    source: str = Field("", description="directory, file:// or s3://bucket/prefix that holds the videos")
    inventory: str = Field(
        "",
        description="URL of an S3 Inventory's manifest.json, or of the prefix above its dated folders: listed in the "
        "place of the source",
    )
    work_dir: Path = Field(Path(".nightreel"), description="embedded services, feature cache, temporary files")
    database_url: SecretStr | None = Field(None, description="postgresql://...; unset: the embedded Postgres")
    cache_url: str = Field("", description="file:// or s3:// prefix of the feature cache; empty: under work_dir")
    s3_endpoint_url: str | None = Field(
        None,
        description="S3 endpoint other than Amazon's",
        validation_alias=AliasChoices("NIGHTREEL_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    )
    s3_verify_etags: bool = Field(
        True, description="compare fetched bytes with ETags that look like an MD5; false: this store makes others"
    )
    prefect_api_url: str | None = Field(
        None, description="a Prefect server; unset: the embedded one", validation_alias="PREFECT_API_URL"
    )

    # what is asked, of what
    model: str = Field(
        "demo",
        description="directory or hub id of a video LLM, or openai:http://host:port/v1#name of one on a server; "
        "demo: the one that comes along",
    )
    model_revision: str | None = Field(
        None, description="commit of a hub model; of a model on a server, whatever tells its weights apart"
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = "auto"
    device: str = Field(
        "auto",
        description="auto, cpu, cuda, cuda:N, or cuda:all to spread a model over all GPUs",
        pattern=r"^(auto|cpu|cuda(:(\d+|all))?)$",
    )
    quantization: Literal["none", "bnb-8bit", "bnb-4bit", "torchao-int8", "torchao-int4"] = Field(
        "none", description="weights in fewer bits, by bitsandbytes or torchao; needs a GPU"
    )
    adapter: str | None = Field(None, description="directory or hub id of a LoRA adapter, merged into the model")
    adapter_revision: str | None = Field(None, description="commit of an adapter on the hub")
    tf32: bool = Field(False, description="float32 products with 10 bits of mantissa; needs a GPU since Ampere")
    compile: bool = Field(False, description="torch.compile for the vision tower: minutes at first, faster later")
    trust_remote_code: bool = Field(False, description="run Python code that comes with a model: as you, unchecked")
    remote_api_key: SecretStr | None = Field(None, description="key of the server that the model is on")
    remote_concurrency: int = Field(8, ge=1, le=256, description="requests to that server at once")
    remote_timeout_s: float = Field(120, gt=0, le=3600, description="wait for one answer of that server, seconds")
    remote_frame_size: int = Field(448, ge=28, le=4096, description="short side of the frames sent to it, pixels")
    remote_jpeg_quality: int = Field(85, ge=1, le=100, description="of those frames")
    prompts: CommaSeparated = Field(("tagging", "moderation"), description="prompt sets: shipped names or YAML files")
    plan: PlanText = Field("uniform:8", description="uniform:N, fps:RATE:CAP or keyframes:CAP")
    window_s: float = Field(30.0, ge=1, le=3600, description="length of a segment, seconds")
    suffixes: CommaSeparated = Field(
        (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".mts", ".m2ts", ".flv", ".ogv", ".3gp", ".mpg",
         ".mpeg", ".wmv", ".gif"),
        description="file name endings that are looked at, case-insensitive; empty: all",
    )  # fmt: skip

    # limits on untrusted media: beyond one, a video fails with the limit's name
    max_bytes: PositiveInt = Field(20 * 2**30, description="size of a file")
    max_pixels: PositiveInt = Field(8192 * 4320, description="width x height of the video stream: 8K")
    max_duration_s: float = Field(12 * 3600, gt=0, description="duration of a video, seconds")
    max_streams: PositiveInt = Field(64, description="streams in a file")
    max_frames: PositiveInt = Field(4_000_000, description="frames in the video stream")
    gif: bool = Field(False, description="take GIFs for videos; false: they fail as animated_image")
    min_good_frames: float = Field(0.9, ge=0, le=1, description="share of undamaged frames a segment needs")
    decode_timeout_s: float = Field(120, gt=0, description="wall clock for one decode job, seconds")
    decode_memory_mib: int = Field(2048, ge=512, description="address space of a decoder process")
    decode_workers: int = Field(2, ge=1, le=64, description="decoder processes")
    spool_mib: int = Field(10_240, ge=64, description="fetched files kept on disk at once")
    cache_limit_gib: float = Field(
        0, ge=0, description="size of the feature cache at which the least recently used go; 0: no limit"
    )
    gpu_memory_mib: int | None = Field(
        None, ge=1, description="memory that a run leases of its device; unset: what its model and a chunk should need"
    )
    gpu_reserve_mib: int | None = Field(
        None, ge=0, description="memory of a device that is never leased; unset: 1024 of a GPU, half of the RAM"
    )
    thumbnail_px: int = Field(160, ge=0, le=1024, description="width of frames in stored contact sheets; 0: none")

    # how the work is cut
    page_size: int = Field(1000, ge=1, le=1000, description="objects a page of the listing")
    chunk_segments: int = Field(16, ge=1, le=1024, description="expected segments a chunk")
    chunks_in_flight: int = Field(2, ge=1, le=16, description="chunks between claim and commit at once")
    lease_s: float = Field(60, ge=1, description="a claim not renewed for this long is free again, seconds")
    max_attempts: int = Field(3, ge=1, le=100, description="tries of a video before it is quarantined")

    # who does it
    work_pool: str = Field(
        "nightreel",
        description="Prefect work pool of a class of machines: `deploy` makes it, `worker` serves it",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    )

    shards_at_once: int = Field(
        16, ge=1, le=1000, description="shards of a backfill that are with Prefect at once: more than there are GPUs"
    )

    # what it costs
    gpu_dollars_per_hour: float | None = Field(None, ge=0, description="for estimates: an hour of one worker's GPU")
    storage_dollars_per_gib_month: float | None = Field(
        None, ge=0, description="for estimates: a GiB of the feature cache, a month"
    )

    # what is told of it
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["text", "json"] = Field("text", description="json: an object a line, with run, video, segment")
    metrics_port: int = Field(0, ge=0, le=65535, description="port of the Prometheus endpoint of a run; 0: none")
    metrics_host: str = Field("127.0.0.1", description="address it listens on; 0.0.0.0: all, for anyone there")

    @field_validator("database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None or not value.get_secret_value():
            return None
        scheme = value.get_secret_value().split("://")[0]
        if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise ValueError(f"scheme {scheme!r}: expected postgresql://user:password@host:port/database")
        return value

    @property
    def sampling_plan(self) -> SamplingPlan:
        return SamplingPlan.parse(self.plan, self.window_s)

    @cached_property
    def cache_prefix(self) -> str:
        """Where features go: a URL without a trailing slash."""
        return (self.cache_url or (self.work_dir.resolve() / "features").as_uri()).rstrip("/")

    @property
    def cache_limit_bytes(self) -> int:
        """What the feature cache may hold; 0: no limit."""
        return int(self.cache_limit_gib * 2**30)

    def public(self) -> dict[str, Any]:
        """JSON values of all settings, secrets masked, URLs without user and password."""
        values = self.model_dump(mode="json")
        for name in ("source", "inventory", "cache_url", "s3_endpoint_url", "prefect_api_url"):
            if isinstance(values[name], str) and "@" in values[name].split("://", 1)[-1].split("/", 1)[0]:
                scheme, rest = values[name].split("://", 1)
                values[name] = f"{scheme}://***@{rest.split('@', 1)[1]}"
        return values


def load_settings(**overrides: Any) -> Settings:
    """Read `NIGHTREEL_*`, `.env` and secrets; `overrides` win, those that are None do not count.

    Raises:
        SettingsError: naming each variable that is wrong, what it held and what it takes; or a secret that this user
            may not read.
    """
    _refuse_unknown_variables()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(_secrets_dir=SECRETS if SECRETS.is_dir() else None, **given)
    except SourceError as error:
        raise SettingsError(f"{error}: {error.__cause__}: should be a file that this user may read") from None
    except ValidationError as error:
        raise SettingsError("\n".join(_describe(problem) for problem in error.errors())) from None


def child_environment(**extra: str) -> dict[str, str]:
    """The environment for a program that we run: ours, and `extra` over it."""
    return {**os.environ, **extra}


def _refuse_unknown_variables() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in os.environ:
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise SettingsError(f"{name} is no setting" + (f": did you mean {near[0]}?" if near else ""))


def _describe(problem: Any) -> str:
    name = str(problem["loc"][0])
    variable = name if name.isupper() else PREFIX + name.upper()
    field = Settings.model_fields.get(name.lower())
    got = "***" if field and "Secret" in str(field.annotation) else repr(problem["input"])
    takes = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    about = f" ({field.description})" if field and field.description else ""
    return f"{variable}={got}: {takes}{about}"
