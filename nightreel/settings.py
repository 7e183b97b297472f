"""The settings: one class, read from `NIGHTREEL_*` variables, `.env`, and a container's secret files.

A secret file is for example `/run/secrets/nightreel_database_url`. No other module reads the environment.
Keys of object storage come from the usual AWS variables, which botocore reads. Prefect defines `PREFECT_API_URL`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import (
    AliasChoices,
    Field,
    PositiveInt,
    SecretStr,
    ValidationError,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from nightreel.domain import SamplingPlan
from nightreel.errors import SettingsError
from nightreel.proxies import keep_loopback_direct
from nightreel.setting_types import (
    CommaSeparated,
    DatabaseUrl,
    Networks,
    PageUrl,
    PlanText,
    ReadyBy,
    SigningSecrets,
    Suffixes,
    parts_of,
)
from nightreel.variables import ENVIRONMENT, Place, find_place, read_places

PREFIX = "NIGHTREEL_"
DOTENV = Path(".env")
_ENGINE = "vllm:"
_DEMO_PROMPTS = ("demo", "demo_moderation")
SECRETS = Path("/run/secrets")
"""Directory of a container's secret files. A variable of the same name wins."""


_LOGIN = re.compile(r"://[^/\s]*@")
_LEAST_DECODERS, _MOST_DECODERS = 2, 16


class Settings(BaseSettings):
    """All settings of an operator. Field `x` is variable `NIGHTREEL_X`."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=DOTENV,
        env_file_encoding="utf-8-sig",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    # locations
    source: str = Field("", description="source of the videos: directory, file:// or s3://bucket/prefix")
    inventory: str = Field(
        "",
        description="URL of an S3 Inventory's manifest.json, or of the prefix above its dated folders; runs read it "
        "instead of listing the source",
    )
    follow_links: bool = Field(
        False,
        description="read files outside a source that is a directory, if links inside lead to them; false: they are "
        "left out with a warning. Whoever may write to the source can then let runs read any file of yours",
    )
    work_dir: Path = Field(
        Path(".nightreel"), description="directory of embedded services, feature cache and temporary files"
    )
    database_url: DatabaseUrl = Field(
        None,
        description="postgresql://user:password@host/database, of one host or several, or of a pooler in transaction "
        "mode; unset: the embedded Postgres",
    )
    database_owner_url: DatabaseUrl = Field(
        None,
        description="URL with which `nightreel db upgrade` changes tables, of the user that owns them; unset: "
        "NIGHTREEL_DATABASE_URL",
    )
    database_console_url: DatabaseUrl = Field(
        None,
        description="URL with which `nightreel api` and `nightreel console` read a configured Postgres, as the role "
        "nightreel_console; the embedded one needs none",
    )
    console_url: PageUrl = Field(
        None,
        description="URL at which people open the console, such as https://nightreel.example.com; "
        "`nightreel db upgrade` stores it, and the views make links of it",
    )
    cache_url: str = Field("", description="file:// or s3:// prefix of the feature cache; empty: under work_dir")
    cache_key: SigningSecrets = Field(
        None,
        description="secret of at least 32 characters that signs the files of the cache, for databases that share one; "
        "after a comma, older secrets whose files are still accepted; unset: the database has its own",
    )
    s3_endpoint_url: str | None = Field(
        None,
        description="URL of an S3 endpoint other than Amazon's",
        validation_alias=AliasChoices("NIGHTREEL_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"),
    )
    s3_verify_etags: bool = Field(
        True, description="compare fetched bytes with ETags that look like an MD5; false: for stores with other ETags"
    )
    s3_requester_pays: bool = Field(
        False, description="pay for requests to a bucket whose owner lets requesters pay (x-amz-request-payer)"
    )
    prefect_api_url: str | None = Field(
        None, description="API URL of a Prefect server; unset: the embedded one", validation_alias="PREFECT_API_URL"
    )
    prefect_api_auth_string: SecretStr | None = Field(
        None,
        description="user:password that this server asks for, as its PREFECT_SERVER_API_AUTH_STRING says",
        validation_alias="PREFECT_API_AUTH_STRING",
    )

    # model, prompts and sampling plan
    model: str = Field(
        "demo",
        description="directory or hub id of a video LLM; with vllm: before it, its language side runs in vLLM, which "
        "the run starts; openai:http://host:port/v1#name: one on a server; demo: the shipped model",
    )
    model_revision: str | None = Field(
        None,
        description="commit of a hub model; unset, or a branch or tag: the commit that it meant at first; for a "
        "model on a server, any text that identifies its weights",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto", description="number format of the weights; auto: that of the checkpoint"
    )
    attention: Literal["auto", "sdpa", "eager", "flash_attention_2"] = Field(
        "auto", description="implementation of attention; auto: sdpa, PyTorch's own"
    )
    device: str = Field(
        "auto",
        description="device of the model: auto, cpu, cuda, cuda:N, or cuda:all to spread it over all GPUs",
        pattern=r"^(auto|cpu|cuda(:(\d+|all))?)$",
    )
    quantization: Literal["none", "bnb-8bit", "bnb-4bit", "torchao-int8", "torchao-int4", "torchao-fp8"] = Field(
        "none",
        description="store weights in fewer bits, with bitsandbytes or torchao; needs a GPU, torchao-fp8 an Ada or "
        "Hopper GPU",
    )
    adapter: str | None = Field(None, description="directory or hub id of a LoRA adapter, merged into the model")
    adapter_revision: str | None = Field(None, description="commit of an adapter on the hub, as for a model")
    tf32: bool = Field(False, description="multiply float32 with 10 bits of mantissa; needs an Ampere GPU or newer")
    compile: bool = Field(False, description="apply torch.compile to the vision tower: slow at first, then faster")
    cuda_graphs: bool = Field(False, description="generate texts with CUDA graphs; needs a GPU, and was tried on none")
    trust_remote_code: bool = Field(
        False, description="run Python code that a model ships, with your rights and unchecked"
    )
    embedding_model: str | None = Field(
        None,
        description="directory or hub id of a dual encoder (SigLIP, SigLIP 2, CLIP, X-CLIP), by which search finds "
        "meaning; demo: the shipped one; none: no search by meaning; unset: demo for the model demo, else none; set it "
        "on all hosts",
    )
    embedding_model_revision: str | None = Field(None, description="commit of that encoder on the hub, as for a model")
    remote_api_key: SecretStr | None = Field(None, description="API key of the model's server")
    remote_concurrency: int = Field(8, ge=1, le=256, description="requests to that server at the same time")
    remote_timeout_s: float = Field(120, gt=0, le=3600, description="timeout of one answer from that server, seconds")
    remote_patience_s: float = Field(
        600, ge=0, le=86_400, description="longest wait for that server while it restarts, seconds; 0: do not wait"
    )
    remote_layout: Literal["auto", "timed_video", "video", "pictures"] = Field(
        "auto",
        description="how that server is shown frames; auto: as one video with their times, as one video, or as "
        "pictures, the first that it takes; answers of another layout are of another model",
    )
    remote_frame_size: int = Field(448, ge=28, le=4096, description="short side of frames sent to that server, pixels")
    remote_jpeg_quality: int = Field(85, ge=1, le=100, description="JPEG quality of those frames")
    engine_dir: Path | None = Field(
        None,
        description="directory of the Python environment with vLLM, for vllm: models; unset: engine/environment under "
        "work_dir, which `nightreel engine install` makes",
    )
    engine_arguments: str = Field(
        "", description='more arguments for vLLM, such as "--quantization fp8"; they are part of the model\'s identity'
    )
    engine_media: Literal["auto", "features", "frames"] = Field(
        "auto",
        description="what that vLLM gets; auto: features for models whose answers from them were found equal",
    )
    engine_concurrency: int = Field(64, ge=1, le=1024, description="requests to that vLLM at the same time")
    engine_start_s: float = Field(1200, gt=0, le=86_400, description="longest wait until that vLLM is ready, seconds")
    prompts: CommaSeparated = Field(
        ("tagging", "moderation"),
        description="prompt sets: shipped names or YAML files; unset, the model demo is asked demo,demo_moderation, "
        "because it knows no other words",
    )
    plan: PlanText = Field(
        "uniform:8", description="sampling plan, frames per segment: uniform:N, fps:RATE:CAP or keyframes:CAP"
    )
    window_s: float = Field(30.0, ge=1, le=3600, description="length of a segment, seconds")
    suffixes: Suffixes = Field(
        (".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".divx", ".ts", ".mts", ".m2ts", ".m2t", ".flv", ".f4v",
         ".ogv", ".3gp", ".3g2", ".mpg", ".mpeg", ".m2v", ".vob", ".wmv", ".asf", ".dav", ".mxf", ".gxf",
         ".dv", ".rm", ".rmvb", ".wtv", ".h264", ".264", ".hevc", ".265", ".mjpeg", ".mjpg", ".gif"),
        description="file name endings of videos, case-insensitive; *: all",
    )  # fmt: skip

    # limits on untrusted media: a video beyond one fails with the limit's name
    max_bytes: PositiveInt = Field(20 * 2**30, description="largest file, bytes")
    max_pixels: PositiveInt = Field(8192 * 4320, description="largest width x height of the video stream; default: 8K")
    max_duration_s: float = Field(12 * 3600, gt=0, description="longest video, seconds")
    max_streams: PositiveInt = Field(64, description="most streams in a file")
    max_frames: PositiveInt = Field(4_000_000, description="most frames in the video stream")
    gif: bool = Field(False, description="accept GIFs as videos; false: they fail as animated_image")
    min_good_frames: float = Field(
        0.75, ge=0, le=1, description="smallest share of undamaged frames that a segment is answered from"
    )
    decode_timeout_s: float = Field(120, gt=0, description="wall-clock limit of one decode job, seconds")
    decode_memory_mib: int = Field(2048, ge=512, description="address space of a decode process, MiB")
    decode_workers: int | None = Field(
        None, ge=1, le=64, description="decode processes; unset: one for each CPU core of this process, 2 to 16"
    )
    sandbox: Literal["available", "strict"] = Field(
        "available",
        description="confinement of decode processes; available: all that this host offers; strict: refuse to decode "
        "where a part is missing",
    )
    spool_mib: int = Field(10_240, ge=64, description="fetched files on disk at the same time, MiB")
    cache_limit_gib: float = Field(
        0, ge=0, description="largest feature cache, GiB; runs evict the least recently used; 0: no limit"
    )
    gpu_memory_mib: int | None = Field(
        None, ge=1, description="memory that a run leases, MiB; unset: estimated from the model and a chunk"
    )
    gpu_reserve_mib: int | None = Field(
        None, ge=0, description="memory of a device that is never leased, MiB; unset: 1024 of a GPU, half of the RAM"
    )
    thumbnail_px: int = Field(
        160, ge=0, le=1024, description="width of frames in stored contact sheets, pixels; 0: none"
    )

    # how answers are judged
    min_coverage: float | None = Field(
        None,
        ge=0,
        le=1,
        description='smallest share of a segment or video that must be seen for a "no"; with less, the answer is '
        "unknown. A run judges the stored answers by it; a prompt may set its own (`coverage`); unset: 0.8",
    )

    # how words are searched
    search_languages: CommaSeparated = Field(
        ("english",),
        description="languages whose forms of words search finds, so that `walks` finds walking: dictionaries of "
        "Postgres such as english,german; a run indexes the stored answers for them; set it on all hosts",
    )

    # how work is divided
    page_size: int = Field(1000, ge=1, le=1000, description="objects per page of the listing")
    chunk_segments: int = Field(16, ge=1, le=1024, description="segments per chunk; four times as many known ones")
    chunks_in_flight: int = Field(2, ge=1, le=16, description="chunks between claim and commit at the same time")
    lease_s: float = Field(
        60, ge=1, description="time after which a run without a heartbeat is dead and loses its claims, seconds"
    )
    max_attempts: int = Field(3, ge=1, le=100, description="attempts at a video before it is quarantined")
    max_crashes: int = Field(
        3, ge=1, le=100, description="runs that die with a video as their only work before it is quarantined"
    )

    # when a run is red, and when it stops (domain/run_health.py)
    max_failed_share: float = Field(
        0.5, ge=0, le=1, description="largest share of new videos that may fail; a run with more failures is red"
    )
    max_same_failures: int = Field(
        5, ge=1, description="a run stops if this many videos fail with the same internal error before any succeeds"
    )

    prefect_patience_s: float = Field(
        30, ge=1, le=90, description="a run stops if the Prefect server does not respond for this long, seconds"
    )
    max_quarantined: int = Field(
        0,
        ge=0,
        description="most videos quarantined since the run before because they kill runs; a run with more is red",
    )

    # workers and backfills
    work_pool: str = Field(
        "nightreel",
        description="Prefect work pool of a class of machines: `deploy` creates it, `worker` serves it",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
    )

    shards_at_once: int = Field(
        16, ge=1, le=1000, description="shards of a backfill submitted at the same time; set more than you have GPUs"
    )

    helpers: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="most helpers of a night, runs on other devices of the pool; unset: one for each other device "
        "that can hold the model",
    )

    lists_only: bool = Field(
        False, description="runs of this host list videos and leave their analysis to helpers: for a host without a GPU"
    )

    first: CommaSeparated = Field(
        (),
        description="prefixes of keys below the source, whose new videos come before all others, in this order: "
        "urgent/,news/; set it on all hosts",
    )
    order: Literal["key", "newest"] = Field(
        "key", description="order in which runs take new videos: by key, or newest object first; set it on all hosts"
    )
    ready_by: ReadyBy | None = Field(
        None,
        description="time at which nights must be done: HH:MM, or HH:MM and a time zone (else UTC); they claim only "
        "what they will have done by then",
    )

    prefect_keep_days: int = Field(
        30,
        ge=0,
        le=36_500,
        description="age at which `tidy-prefect` deletes ended runs of Nightreel from Prefect, with their task runs, "
        "logs and artifacts, days; the embedded server keeps events no longer, and at most 7 days; 0: no limit",
    )

    # how long videos are kept, and what is never found again
    keep_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="days after which `retention` erases all that is known of a video, since it was found; 0: no limit",
    )
    keep_gone_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="days after which `retention` erases a video whose object is gone from the source; 0: no limit",
    )
    tombstone_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="secret of at least 32 characters, by which erased objects are recognised; set it on all hosts and "
        "never change it; unset: the file tombstone.key in work_dir, which the first erasure makes",
    )

    # costs
    gpu_dollars_per_hour: float | None = Field(
        None, ge=0, description="dollars for an hour of one worker's GPU, for estimates"
    )
    storage_dollars_per_gib_month: float | None = Field(
        None, ge=0, description="dollars for a GiB of the feature cache per month, for estimates"
    )

    # logs and metrics
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level of log records")
    log_format: Literal["text", "json"] = Field(
        "text", description="format of log records; json: one object per line, with run, video and segment"
    )
    metrics_port: int = Field(0, ge=0, le=65535, description="port of a run's Prometheus endpoint; 0: none")
    metrics_host: str = Field(
        "127.0.0.1", description="address that the endpoint listens on; 0.0.0.0: all, open to anyone who can connect"
    )

    # the REST service
    api_host: str = Field("127.0.0.1", description="address that `nightreel api` listens on; 0.0.0.0: all")
    api_port: int = Field(4280, ge=0, le=65535, description="port of `nightreel api`; 0: a free one")
    api_names: CommaSeparated = Field(
        (), description="host names under which clients call it, behind a proxy say; others get status 400"
    )
    api_requests_per_minute: int = Field(600, ge=1, description="most requests of one token in a minute")
    api_upload_mib: int = Field(512, ge=1, description="largest file of a question to it, MiB")
    api_model_idle_s: float = Field(
        600, gt=0, description="time after its last question after which it releases the model, seconds"
    )

    # the console
    console_host: str = Field("127.0.0.1", description="address that `nightreel console` listens on; 0.0.0.0: all")
    console_port: int = Field(4281, ge=0, le=65535, description="port of `nightreel console`; 0: a free one")
    console_tls_certificate: Path | None = Field(
        None, description="file with the certificate and its chain, PEM, with which the console speaks TLS"
    )
    console_tls_key: Path | None = Field(None, description="file with the key of the certificate, PEM")
    console_proxies: Networks = Field(
        (),
        description="addresses of proxies with TLS that pass requests on to the console: 10.1.0.7,::1; only they are "
        "believed when they name a browser's address",
    )
    console_previews_mib: int = Field(
        1024,
        ge=0,
        description="previews of videos that browsers do not play, on the disk of the console, MiB; the least recently "
        "used ones go first; 0: none are made",
    )
    review_blurred: bool = Field(True, description="blur pictures of cases until a person asks or prefers otherwise")
    review_grey: bool = Field(True, description="show pictures of cases in grey until a person asks or prefers others")
    review_break_after: int = Field(20, ge=0, description="severe cases until the console suggests a break; 0: never")
    review_break_minutes: float = Field(10, ge=0, description="time without a decision that is a break, minutes")
    console_user_header: str = Field(
        "",
        pattern=r"^[A-Za-z0-9-]*$",
        description="header in which these proxies name the person who signed in there, such as X-Forwarded-User: the "
        "console then asks for no password; empty: it does",
    )

    # audits
    audit_sample: int = Field(
        200,
        ge=10,
        le=10_000,
        description="items of each label that an audit draws, beside those that people see anyway",
    )
    audit_every_days: int = Field(
        0,
        ge=0,
        le=3650,
        description="days after which `draw-audits` draws a new audit of a label; what nobody judged of the one before "
        "leaves the queues; 0: only people draw audits",
    )

    # webhooks
    webhook_attempts: int = Field(
        10, ge=1, le=30, description="attempts to deliver an event to a webhook, over two days with the default"
    )
    webhook_keep_days: int = Field(
        30, ge=0, le=36_500, description="age at which delivered events are deleted, days; dead ones stay"
    )
    webhook_networks: Networks = Field(
        (),
        description="private networks that webhooks may be sent to: 10.1.0.0/16,fd00::/8; others must have a public "
        "address",
    )
    webhook_http: bool = Field(False, description="send webhooks also to http:// URLs of other hosts, unencrypted")

    @classmethod
    def settings_customise_sources(cls, settings_cls: Any, *sources: Any, **named: Any) -> tuple[Any, ...]:  # noqa: ARG003
        """A variable without a value is unset: it hides no line of `.env`, no secret file and no default."""
        return tuple(map(_without_blanks, (*sources, *named.values())))

    @property
    def uses_engine(self) -> bool:
        """Whether the language side of the model runs in vLLM, which the run starts."""
        return self.model.startswith(_ENGINE)

    @property
    def checkpoint(self) -> str:
        """The model's directory or hub id; for a model on a server, its address."""
        return self.model.removeprefix(_ENGINE)

    @property
    def prompt_sets(self) -> tuple[str, ...]:
        """The prompt sets to ask. If none are set, the demo model is asked those that it was trained on."""
        return _DEMO_PROMPTS if self.checkpoint == "demo" and "prompts" not in self.model_fields_set else self.prompts

    @property
    def encoder(self) -> str | None:
        """The dual encoder: "demo", a directory or a hub id; None: there is none."""
        named = self.embedding_model or ("demo" if self.checkpoint == "demo" else "none")
        return None if named == "none" else named

    @property
    def sampling_plan(self) -> SamplingPlan:
        return SamplingPlan.parse(self.plan, self.window_s)

    @cached_property
    def decode_processes(self) -> int:
        """The decode processes of a run.

        A core took 2.3 s for 16 frames of 1080p, and an H100 takes 76 to 140 frames a second: that needs all cores.
        """
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return self.decode_workers or min(_MOST_DECODERS, max(_LEAST_DECODERS, cores))

    @cached_property
    def cache_prefix(self) -> str:
        """URL of the feature cache, without a trailing slash."""
        return (self.cache_url or (self.work_dir.resolve() / "features").as_uri()).rstrip("/")

    @property
    def cache_keys(self) -> tuple[bytes, ...]:
        """The secrets that sign files of the cache, the newest first; empty: those of the database."""
        return tuple(part.encode() for part in parts_of(self.cache_key)) if self.cache_key else ()

    @property
    def cache_limit_bytes(self) -> int:
        """Largest size of the feature cache; 0: no limit."""
        return int(self.cache_limit_gib * 2**30)

    def without_patience(self) -> Settings:
        """The same settings for a command that a person waits for: it does not wait for a model server to restart."""
        return self.model_copy(update={"remote_patience_s": 0.0})

    def public(self) -> dict[str, Any]:
        """JSON values of all settings, secrets masked, URLs without user and password."""
        values: dict[str, Any] = self.model_dump(mode="json")
        texts = {name: _LOGIN.sub("://***@", value) for name, value in values.items() if isinstance(value, str)}
        return values | texts


def load_settings(**overrides: Any) -> Settings:
    """Read `NIGHTREEL_*`, `.env` and secrets; `overrides` win, unless they are None or empty.

    Args:
        overrides: the options of a command, by the name of the setting that each overrides.

    Also keeps requests of this process and its children to loopback out of the environment's proxies.

    Raises:
        SettingsError: a variable or an option is wrong (the message names each, its value and what it takes), or a file
            cannot be read.
    """
    places = _places()
    given = {name: value for name, value in overrides.items() if value not in (None, "")}
    try:
        settings = Settings(_secrets_dir=SECRETS if SECRETS.is_dir() else None, **given)
    except ValidationError as error:
        raise SettingsError("\n".join(_describe(problem, given, places) for problem in error.errors())) from None
    urls = (settings.s3_endpoint_url, settings.prefect_api_url, settings.model.removeprefix("openai:"))
    keep_loopback_direct(os.environ, filter(None, urls))
    return settings


def variables_of(name: str) -> tuple[str, ...]:
    """The variables that set a setting, the strongest first.

    >>> variables_of("model"), variables_of("prefect_api_url")
    (('NIGHTREEL_MODEL',), ('PREFECT_API_URL', 'NIGHTREEL_PREFECT_API_URL'))
    """
    alias = Settings.model_fields[name].validation_alias
    choices = [alias] if isinstance(alias, str) else alias.choices if isinstance(alias, AliasChoices) else []
    return tuple(dict.fromkeys([*map(str, choices), PREFIX + name.upper()]))


def where_set() -> dict[str, tuple[str, str]]:
    """The variable that sets each setting, and its place: the environment, `.env` or a secret file. No defaults.

    Raises:
        SettingsError: as `load_settings`.
    """
    places = _places()
    found = {name: find_place(places, variables_of(name)) for name in Settings.model_fields}
    return {name: place for name, place in found.items() if place}


def origin(field: str) -> str:
    """Where a setting comes from, for a sentence.

    >>> origin("tf32")
    'the default of NIGHTREEL_TF32'
    """
    found = where_set().get(field)
    if found is None:
        return f"the default of {variables_of(field)[0]}"
    name, place = found
    return name if place == ENVIRONMENT else f"{name} in {place}"


def child_environment(**extra: str) -> dict[str, str]:
    """The environment for a child process: that of this process, overridden by `extra`."""
    return {**os.environ, **extra}


def _places() -> tuple[Place, ...]:
    known = {variable for name in Settings.model_fields for variable in variables_of(name)}
    return read_places(os.environ, dotenv=DOTENV, secrets=SECRETS, prefix=PREFIX, known=known)


def _without_blanks(source: Callable[[], dict[str, Any]]) -> Callable[[], dict[str, Any]]:
    def given() -> dict[str, Any]:
        return {name: value for name, value in source().items() if not (isinstance(value, str) and not value.strip())}

    return given


_OPTIONS = {"work_pool": "--pool"}
"""Options that are not called like the setting that they override."""


def _describe(problem: Any, overrides: Collection[str], places: Sequence[Place]) -> str:
    said = str(problem["loc"][0])
    name = said.removeprefix(PREFIX).lower()
    field = Settings.model_fields.get(name)
    variable, place = (find_place(places, variables_of(name)) if field else None) or (said, ENVIRONMENT)
    if name in overrides:
        variable, place = _OPTIONS.get(name, f"--{name.replace('_', '-')}"), ENVIRONMENT
    got = "***" if field and "Secret" in str(field.annotation) else repr(problem["input"])
    takes = problem["msg"].removeprefix("Value error, ").replace("Input should be", "should be")
    about = f" ({field.description})" if field and field.description else ""
    where = "" if place == ENVIRONMENT else f" in {place}"
    return f"{variable}={got}{where}: {takes}{about}"
