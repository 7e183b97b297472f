"""Every reason for a failure: one word each, with its meaning and what to do about it.

`errors` carries a Reason in each error. Postgres stores the word, Prometheus counts it, and docs/reasons.md is
generated from this file.

>>> Reason.DISK_FULL, Reason.DISK_FULL.retryable, Reason.DISK_FULL == "disk_full"
(<Reason.DISK_FULL: 'disk_full'>, True, True)
"""

from __future__ import annotations

from enum import StrEnum


class Scope(StrEnum):
    """The smallest unit of work that fails for a reason."""

    SEGMENT = "segment"  # the other segments of the video keep their answers
    VIDEO = "video"  # the other videos of the chunk continue
    CHUNK = "chunk"  # the chunk is retried, video by video
    HOST = "host"  # the chunk is retried, video by video; then its videos go back to pending, and none is charged
    RUN = "run"  # the run ends, or the command fails


_SEGMENT, _VIDEO, _CHUNK, _HOST, _RUN = Scope
_RETRY, _FINAL = True, False


class Reason(StrEnum):
    """A reason, in snake_case.

    Attributes:
        scope: the smallest unit of work that fails.
        retryable: whether a later retry may succeed.
        meaning: what happened, in one sentence. action: what a person can do.
    """

    scope: Scope
    retryable: bool
    meaning: str
    action: str

    def __new__(cls, word: str, scope: Scope, retryable: bool, meaning: str, action: str) -> Reason:
        member = str.__new__(cls, word)
        member._value_ = word
        member.scope, member.retryable = scope, retryable
        member.meaning, member.action = meaning, action
        return member

    @classmethod
    def of(cls, word: str) -> Reason:
        """Return the reason with this word. Raises ValueError for an unknown word."""
        return cls(word)  # type: ignore[call-arg]  # a lookup, which mypy takes for a call of __new__

    # fmt: off
    # -- settings and commands ------------------------------------------------------------------------------------
    SETTINGS = ("settings", _RUN, _FINAL, "A setting, an option or a prompt file is wrong.",
        "Correct the value that the message names.")
    UNSUPPORTED_SCHEME = ("unsupported_scheme", _RUN, _FINAL, "The scheme of a storage URL is not supported.",
        "Use a directory, `file://` or `s3://bucket/prefix`.")
    OTHER_MODEL = ("other_model", _RUN, _FINAL,
        "The recipe belongs to a different model than the settings name.",
        "Set `NIGHTREEL_MODEL` and its options as they were when the recipe was made.")
    NO_SUCH_RECIPE = ("no_such_recipe", _RUN, _FINAL, "No recipe has this number.",
        "Look up the number in `nightreel.recipes`.")
    STALE_RECIPE = ("stale_recipe", _RUN, _FINAL,
        "An earlier version of Nightreel made the recipe, and worded its prompts differently.",
        "Analyse again with the current prompt sets.")
    NO_CACHE_LIMIT = ("no_cache_limit", _RUN, _FINAL, "The feature cache has no size limit.",
        "Pass `--to GIB` or set `NIGHTREEL_CACHE_LIMIT_GIB`.")
    TOMBSTONE_KEY = ("tombstone_key", _RUN, _FINAL,
        "Erased objects can be recognised only with another secret than this host has.",
        "Set `NIGHTREEL_TOMBSTONE_KEY`, or copy `tombstone.key` from the work directory of the host that erased.")
    LEGAL_HOLD = ("legal_hold", _RUN, _FINAL, "A legal hold counts for a video that should be erased.",
        "`nightreel hold list` shows why; `nightreel hold remove` ends it.")
    VIDEO_IN_WORK = ("video_in_work", _RUN, _RETRY, "A run works on a video that should be erased.",
        "Erase it again when the run has ended its chunk, minutes later.")
    MEMORY_TOO_SMALL = ("memory_too_small", _RUN, _FINAL,
        "The model needs more memory than any device of this host can lease.",
        "Use a smaller model, dtype or sampling plan, `NIGHTREEL_DEVICE=cuda:all`, or a smaller reserve.")
    INSTALLATION = ("installation", _RUN, _FINAL, "Files of the installation are missing.",
        "Install nightreel again.")
    RUN_FAILED = ("run_failed", _RUN, _FINAL, "The run ended before it could report.",
        "Read the flow run in Prefect's UI.")
    RUN_CLOSED = ("run_closed", _RUN, _FINAL, "The run stopped while a part of it was still waiting.",
        "Start the run again.")

    # -- object storage -------------------------------------------------------------------------------------------
    NO_SUCH_SOURCE = ("no_such_source", _RUN, _FINAL, "The source directory does not exist.",
        "Correct `NIGHTREEL_SOURCE`, or mount the disk.")
    NO_SUCH_BUCKET = ("no_such_bucket", _RUN, _FINAL, "The bucket does not exist.",
        "Correct the bucket's name and `NIGHTREEL_S3_ENDPOINT_URL`.")
    ACCESS_DENIED = ("access_denied", _RUN, _FINAL,
        "The store denies access: keys are wrong, expired, revoked or without rights, or this clock is wrong.",
        "Renew or correct the keys, grant the rights, or set the clock. Then start the run again.")
    LINK_LEAVES_SOURCE = ("link_leaves_source", _VIDEO, _FINAL,
        "The name is a link, or below one, that leads out of the source.",
        "Make the place that it leads to a source. Or set `NIGHTREEL_FOLLOW_LINKS` and retry the video.")
    OBJECT_DENIED = ("object_denied", _VIDEO, _FINAL, "The store denies access to this object, but not to others.",
        "Grant the right to read the object, then run `nightreel retry --reason object_denied`.")
    ARCHIVED = ("archived", _VIDEO, _FINAL, "The object is in an archive, from which nothing can be read.",
        "Restore the object: the next run that lists it analyses it.")
    UNSUPPORTED_STORE = ("unsupported_store", _RUN, _FINAL,
        "The store's replies lack something that Nightreel needs, or it is not an S3 server.",
        "Correct `NIGHTREEL_S3_ENDPOINT_URL`, or use a store that supports ListObjectsV2.")
    STORAGE_REFUSED = ("storage_refused", _VIDEO, _FINAL, "The store refused a request.",
        "Read the store's response in the message.")
    STORAGE_UNREACHABLE = ("storage_unreachable", _VIDEO, _RETRY, "The store does not respond.",
        "Check the network and the endpoint. Nightreel retries by itself.")
    INVALID_RANGE = ("invalid_range", _VIDEO, _FINAL, "The store refused a range of bytes.",
        "List the source again: the object may have changed.")
    OBJECT_GONE = ("object_gone", _VIDEO, _FINAL, "The object no longer exists.",
        "Upload it again, or ignore the failure.")
    OBJECT_CHANGED = ("object_changed", _VIDEO, _RETRY, "The object was overwritten after it was listed.",
        "List the source again: the next run takes the new version.")
    ERASED = ("erased", _VIDEO, _FINAL, "These bytes were erased, and are not analysed again.",
        "Nothing, or delete the object; `nightreel erase` removes its row, too.")
    OBJECT_CORRUPT = ("object_corrupt", _VIDEO, _RETRY, "The fetched bytes do not match the object's checksum.",
        "If it repeats, upload the object again, or set `NIGHTREEL_S3_VERIFY_ETAGS=false`.")
    LIMIT_BYTES = ("limit_bytes", _VIDEO, _FINAL, "The file is larger than `NIGHTREEL_MAX_BYTES`.",
        "Raise the setting, or leave the file out.")
    OUTSIDE_PREFIX = ("outside_prefix", _VIDEO, _FINAL, "The URI is not below the prefix of the storage.",
        "Open the storage that contains the object.")
    BAD_OBJECT_NAME = ("bad_object_name", _VIDEO, _FINAL, "The name of an object is not a relative path.",
        "Rename the object.")
    NO_CREATE_ONLY = ("no_create_only", _RUN, _FINAL,
        "The store overwrites existing objects on create-only writes.",
        "Use another store for the feature cache.")
    NO_HARD_LINKS = ("no_hard_links", _RUN, _FINAL, "The file system has no hard links, which safe writes need.",
        "Put the cache on another file system.")
    DISK_FULL = ("disk_full", _HOST, _RETRY, "The local disk is full, or a limit does not allow so large a file.",
        "Free disk space, lower `NIGHTREEL_SPOOL_MIB` or `NIGHTREEL_CACHE_LIMIT_GIB`, or use a larger disk.")
    DISK_FAILED = ("disk_failed", _HOST, _RETRY, "Writing to the local disk failed.",
        "Check the disk and its mount.")
    TOO_MANY_OPEN_FILES = ("too_many_open_files", _HOST, _RETRY, "This process has no file descriptor left.",
        "Raise the limit (`ulimit -n`, `LimitNOFILE`), or lower `NIGHTREEL_DECODE_WORKERS`.")
    TOO_MANY_PROCESSES = ("too_many_processes", _HOST, _RETRY, "This host does not allow another thread or process.",
        "Raise the limit (`ulimit -u`, `TasksMax`, a pids limit), or lower `NIGHTREEL_DECODE_WORKERS`.")
    HOST_MEMORY = ("host_memory", _HOST, _RETRY, "This host or container has no memory left.",
        "Give it more memory, or lower `NIGHTREEL_CHUNK_SEGMENTS` and `NIGHTREEL_DECODE_WORKERS`.")
    SOURCE_EMPTY = ("source_empty", _RUN, _FINAL, "The source lists no objects, but the database has videos of it.",
        "Mount the disk or correct the prefix. If everything was deleted, sweep once with `may_be_empty`.")
    UNORDERED_LISTING = ("unordered_listing", _RUN, _FINAL,
        "The store does not list keys in byte order, so it cannot be swept.",
        "Use nightly runs: they also find new objects on this store.")
    WRONG_INVENTORY = ("wrong_inventory", _RUN, _FINAL,
        "`NIGHTREEL_INVENTORY` does not name an inventory of this bucket.",
        "Correct or unset the setting.")
    UNSUPPORTED_INVENTORY = ("unsupported_inventory", _RUN, _FINAL,
        "The inventory has a format that is not supported.",
        "Configure the inventory as CSV or Parquet.")
    INVENTORY_INCOMPLETE = ("inventory_incomplete", _RUN, _FINAL, "The inventory lacks a file or a column.",
        "Use a newer inventory, or add the fields that the message names.")
    INVENTORY_DAMAGED = ("inventory_damaged", _RUN, _RETRY,
        "A file of the inventory is damaged or is being replaced.",
        "Try again later, or use another inventory.")

    # -- media ----------------------------------------------------------------------------------------------------
    EMPTY_FILE = ("empty_file", _VIDEO, _FINAL, "The file has 0 bytes.",
        "Repeat the upload.")
    NOT_A_VIDEO = ("not_a_video", _VIDEO, _FINAL, "The file is not a video.",
        "Remove it, or filter by suffix.")
    IMAGE_FILE = ("image_file", _VIDEO, _FINAL, "The file is a still image.",
        "Remove it, or filter by suffix.")
    ANIMATED_IMAGE = ("animated_image", _VIDEO, _FINAL, "The file is a GIF.",
        "Set `NIGHTREEL_GIF=true` to analyse GIFs.")
    NO_VIDEO_STREAM = ("no_video_stream", _VIDEO, _FINAL, "The file has no video stream.",
        "Remove it, or filter by suffix.")
    NO_INDEX = ("no_index", _VIDEO, _FINAL, "The MP4 has no index (moov), or its index is cut off.",
        "Repeat the upload.")
    UNSUPPORTED_COLOURS = ("unsupported_colours", _VIDEO, _FINAL,
        "The pictures use a colour matrix (such as ICtCp or YCgCo) that ffmpeg cannot convert.",
        "Convert the file to BT.709 first.")
    INIT_SEGMENT_MISSING = ("init_segment_missing", _VIDEO, _FINAL,
        "The file is a media segment of a stream (DASH, HLS, MSE) without its init segment.",
        "Join the init segment and the media segments into one file.")
    MEDIA_DATA_MISSING = ("media_data_missing", _VIDEO, _FINAL,
        "The index lists frames or announces fragments, but the file has none.",
        "Repeat the upload.")
    NO_FRAMES = ("no_frames", _VIDEO, _FINAL, "The file has no frame to show.",
        "Repeat the upload.")
    NO_DURATION = ("no_duration", _VIDEO, _FINAL, "The file does not state its duration.",
        "Remux the file with ffmpeg.")
    NO_DECODER = ("no_decoder", _VIDEO, _FINAL, "No decoder supports the codec.",
        "Convert the file to H.264.")
    NO_ENCODER = ("no_encoder", _VIDEO, _FINAL, "The installed PyAV has no encoder for previews in the console.",
        "Install PyAV from PyPI, whose packages have libvpx.")
    ENCRYPTED = ("encrypted", _VIDEO, _FINAL, "The video is encrypted (DRM, pay television, a copied DVD).",
        "Upload an unencrypted version.")
    UNREADABLE = ("unreadable", _VIDEO, _FINAL, "The container is damaged: ffmpeg cannot read it.",
        "Repair the file, or repeat the upload.")
    DAMAGED = ("damaged", _SEGMENT, _FINAL, "Too few sampled frames of a segment decoded cleanly.",
        "Repair the file, or lower `NIGHTREEL_MIN_GOOD_FRAMES`.")
    LIMIT_PIXELS = ("limit_pixels", _VIDEO, _FINAL, "The frames are larger than `NIGHTREEL_MAX_PIXELS`.",
        "Raise the setting.")
    LIMIT_DURATION = ("limit_duration", _VIDEO, _FINAL, "The video is longer than `NIGHTREEL_MAX_DURATION_S`.",
        "Raise the setting.")
    LIMIT_STREAMS = ("limit_streams", _VIDEO, _FINAL, "The file has more streams than `NIGHTREEL_MAX_STREAMS`.",
        "Raise the setting.")
    LIMIT_FRAMES = ("limit_frames", _VIDEO, _FINAL, "The video has more frames than `NIGHTREEL_MAX_FRAMES`.",
        "Raise the setting.")
    FILE_UNREADABLE = ("file_unreadable", _VIDEO, _RETRY, "The decoder could not read the file from the disk.",
        "Check the disk.")
    DECODE_TIMEOUT = ("decode_timeout", _VIDEO, _FINAL, "Decoding took longer than `NIGHTREEL_DECODE_TIMEOUT_S`.",
        "Raise the setting, or repair the file.")
    DECODE_MEMORY = ("decode_memory", _VIDEO, _FINAL,
        "Decoding needs more memory than `NIGHTREEL_DECODE_MEMORY_MIB`.",
        "Raise the setting.")
    DECODER_CRASHED = ("decoder_crashed", _VIDEO, _FINAL, "The file crashed the decode process or broke its output.",
        "Repair or convert the file.")
    DECODER_LIED = ("decoder_lied", _VIDEO, _FINAL,
        "The decode process sent a reply that cannot be true: the file may have taken control of it.",
        "Treat the file as an attack. If it is none, report the message.")
    DECODER_FAILED = ("decoder_failed", _VIDEO, _FINAL, "Decoding the file failed with an unexpected error.",
        "Repair or convert the file, and report the message.")
    DECODER_KILLED = ("decoder_killed", _VIDEO, _RETRY, "The decode process was killed from outside.",
        "Check the system log for an out-of-memory kill. Nightreel retries by itself.")
    DECODER_START = ("decoder_start", _HOST, _RETRY, "No decode process could be started.",
        "Check the host's memory and process limits.")
    DECODER_POOL_CLOSED = ("decoder_pool_closed", _VIDEO, _RETRY, "The run ended before the file was decoded.",
        "Start the run again.")

    # -- models ---------------------------------------------------------------------------------------------------
    MODEL_NOT_FOUND = ("model_not_found", _RUN, _FINAL, "The hub or the model server has no such model or revision.",
        "Correct `NIGHTREEL_MODEL` and `NIGHTREEL_MODEL_REVISION`.")
    HUB_UNREACHABLE = ("hub_unreachable", _RUN, _RETRY,
        "The model hub does not respond, and the model is not cached here.",
        "Check the network, or use a model directory.")
    NO_SAFETENSORS = ("no_safetensors", _RUN, _FINAL, "The model or adapter has no safetensors file.",
        "Convert it with `save_pretrained`.")
    DAMAGED_CHECKPOINT = ("damaged_checkpoint", _RUN, _FINAL,
        "The model's files are truncated, or weights are missing.",
        "Download the model again.")
    CHANGED_CHECKPOINT = ("changed_checkpoint", _RUN, _FINAL, "The model's files changed after the run started.",
        "Start the run again.")
    UNSUPPORTED_MODEL = ("unsupported_model", _RUN, _FINAL, "Nightreel cannot use this model for videos.",
        "Use a model of a supported architecture, with its chat template: README.md lists them.")
    UNSUPPORTED_ADAPTER = ("unsupported_adapter", _RUN, _FINAL, "The LoRA adapter does not fit the model.",
        "Use the adapter with the model that it was trained for.")
    OUT_OF_MEMORY = ("out_of_memory", _SEGMENT, _FINAL, "One segment alone does not fit into the device's memory.",
        "Use a sampling plan with fewer frames, a smaller dtype or a larger device.")
    UNENCODABLE_FRAMES = ("unencodable_frames", _SEGMENT, _FINAL, "The model's processor refuses the frames.",
        "Use another model for videos of this shape.")
    NO_VECTOR = ("no_vector", _SEGMENT, _RETRY,
        "The vector of a segment, for search by meaning, could not be made. Its answers are kept.",
        "Read the cause in the message, then run `nightreel vectors fill`.")
    MODEL_REFUSED = ("model_refused", _SEGMENT, _FINAL, "The model server refused a request.",
        "Read the server's response in the message.")
    MODEL_UNREACHABLE = ("model_unreachable", _RUN, _RETRY, "The model server does not respond.",
        "Start it, or reduce its load.")
    ENGINE_DIED = ("engine_died", _RUN, _RETRY, "The vLLM of the run ended by itself or was killed, too often.",
        "Read the end of its log in the message.")
    MODEL_PROTOCOL = ("model_protocol", _RUN, _FINAL,
        "The model server's response does not follow the OpenAI-compatible API.",
        "Correct the URL in `NIGHTREEL_MODEL`.")

    # -- features and answers -------------------------------------------------------------------------------------
    DAMAGED_FEATURE = ("damaged_feature", _SEGMENT, _RETRY,
        "A cached feature file is not the one that was written, and is not used.",
        "No action needed: the segment is encoded again.")
    STALE_FEATURE = ("stale_feature", _SEGMENT, _RETRY, "Another model or version made a cached feature file.",
        "No action needed: the segment is encoded again.")
    ANSWER_ERROR = ("answer_error", _VIDEO, _FINAL, "The model failed on all prompts of a segment.",
        "Read the first prompt and the cause in the message. Scores that are not finite often need another dtype.")
    INCOMPLETE = ("incomplete", _VIDEO, _RETRY, "Some segments still lack answers.",
        "No action needed: the video is retried.")
    INTERNAL_ERROR = ("internal_error", _CHUNK, _FINAL, "Nightreel failed because of a bug.",
        "Report the message and the video.")
    ATTEMPTS_EXHAUSTED = ("attempts_exhausted", _VIDEO, _FINAL, "Runs died while the video was their only work.",
        "Check the video and the memory of the host, then run `nightreel retry --reason attempts_exhausted`.")
    CACHE_EMPTY = ("cache_empty", _RUN, _FINAL, "The index lists features, but the cache has no files.",
        "Mount the cache, or confirm the loss with `--all-gone`.")
    EVICTION_ELSEWHERE = ("eviction_elsewhere", _RUN, _RETRY, "Another process is evicting features.",
        "Wait for it to finish.")

    # -- Postgres -------------------------------------------------------------------------------------------------
    DATABASE_UNREACHABLE = ("database_unreachable", _RUN, _RETRY, "Postgres does not respond.",
        "Start it, or correct `NIGHTREEL_DATABASE_URL`.")
    DATABASE_REFUSED = ("database_refused", _RUN, _FINAL, "Postgres refuses the user, the password or the database.",
        "Correct `NIGHTREEL_DATABASE_URL` or the user's rights.")
    DATABASE_UNSUITABLE = ("database_unsuitable", _RUN, _FINAL,
        "The version, the encoding or a setting of Postgres does not allow Nightreel's work.",
        "Do what the message says, or use another server or database.")
    DATABASE_BUSY = ("database_busy", _RUN, _RETRY, "No connection of the pool became free in time.",
        "Reduce the load.")
    DATABASE_CONFLICT = ("database_conflict", _RUN, _RETRY, "Two transactions conflicted.",
        "No action needed: the transaction is retried.")
    DATABASE_FULL = ("database_full", _RUN, _RETRY, "Postgres is out of disk, memory or connections.",
        "Give Postgres more of the resource that it lacks.")
    DATABASE_SCHEMA = ("database_schema", _RUN, _FINAL, "The tables belong to another version of Nightreel.",
        "Run `nightreel db upgrade`, or use the newer version.")

    # -- Prefect --------------------------------------------------------------------------------------------------
    PREFECT_UNREACHABLE = ("prefect_unreachable", _RUN, _RETRY, "The Prefect server does not respond.",
        "Start it, or correct `PREFECT_API_URL`.")
    PREFECT_REFUSED = ("prefect_refused", _RUN, _FINAL, "The Prefect server refused a request.",
        "Read the server's response in the message. After status 401, correct `PREFECT_API_AUTH_STRING`.")
    PREFECT_SECRET_LOST = ("prefect_secret_lost", _RUN, _FINAL,
        "The file with the secret of the embedded Prefect server is missing.",
        "Restore the file that the message names, or run `nightreel down`.")
    PREFECT_CHANGED = ("prefect_changed", _RUN, _RETRY,
        "Another client changed the Prefect server at the same time.",
        "Run the command again.")
    MEMORY_LEASE_LOST = ("memory_lease_lost", _RUN, _RETRY, "The lease on device memory expired during the run.",
        "Keep the Prefect server reachable, and start the run again.")
    MEMORY_LIMIT_GONE = ("memory_limit_gone", _RUN, _FINAL, "A concurrency limit for device memory was deleted.",
        "Start the run again: it creates the limit.")
    NO_DEPLOYMENT = ("no_deployment", _RUN, _FINAL, "Prefect has no deployment for shards or helpers on a work pool.",
        "Run `nightreel deploy --pool POOL`.")
    DEPLOY_FAILED = ("deploy_failed", _RUN, _FINAL, "Prefect did not register a deployment.",
        "Read Prefect's output in the message.")
    NO_SUCH_BACKFILL = ("no_such_backfill", _RUN, _FINAL, "No backfill has this number.",
        "List the backfills with `nightreel backfill status`.")
    NO_SUCH_SHARD = ("no_such_shard", _RUN, _FINAL, "No shard has this number.",
        "List the backfills with `nightreel backfill status`.")
    NO_SUCH_RUN = ("no_such_run", _RUN, _FINAL, "No run has this number.",
        "List the runs with `SELECT run_id, name, status FROM reporting.runs ORDER BY run_id DESC`.")
    NIGHT_IS_RUNNING = ("night_is_running", _RUN, _FINAL, "A night of this source is still running.",
        "Wait for its end, or cancel it. It finds new videos too.")
    HELPERS_FAILED = ("helpers_failed", _RUN, _FINAL, "The helpers of a run that only lists failed one after another.",
        "Read their errors: `nightreel runs`. The next run takes what is left.")
    BACKFILL_STATE = ("backfill_state", _RUN, _FINAL, "The state of the backfill does not allow this.",
        "Check its state with `nightreel backfill status`.")

    # -- embedded services ----------------------------------------------------------------------------------------
    SERVICE_DIED = ("service_died", _RUN, _RETRY, "An embedded service died or was killed.",
        "Read the end of its log in the message.")
    SERVICE_NOT_READY = ("service_not_ready", _RUN, _RETRY, "An embedded service was not ready in time.",
        "Stop it with `nightreel down` and try again.")
    SERVICE_IN_USE = ("service_in_use", _RUN, _RETRY, "Commands still use the embedded service.",
        "Wait for them, or pass `--force`.")
    SERVICE_LOCKED = ("service_locked", _RUN, _RETRY, "Another process holds the lock of the service.",
        "Wait for that process, or stop it.")
    SERVICE_STUCK = ("service_stuck", _RUN, _RETRY, "An embedded service does not stop.",
        "Kill its process by hand.")
    SERVICE_NOT_YOURS = ("service_not_yours", _RUN, _FINAL, "Another user started the embedded service.",
        "Run as that user, or set another `NIGHTREEL_WORK_DIR`.")
    SERVICE_ORPHANS = ("service_orphans", _RUN, _RETRY, "Processes of a killed service are still alive.",
        "Wait until they end, or kill them.")
    WORK_DIR_UNUSABLE = ("work_dir_unusable", _RUN, _RETRY, "The work directory cannot be used.",
        "Make it writable, or set `NIGHTREEL_WORK_DIR`.")
    POSTGRES_NOT_INSTALLED = ("postgres_not_installed", _RUN, _FINAL, "The Postgres binaries are not installed.",
        "Install nightreel again, or set `NIGHTREEL_DATABASE_URL`.")
    POSTGRES_NOT_RUNNABLE = ("postgres_not_runnable", _RUN, _FINAL, "The Postgres binaries cannot run here.",
        "Read the cause in the message, or set `NIGHTREEL_DATABASE_URL`.")
    POSTGRES_INITDB_FAILED = ("postgres_initdb_failed", _RUN, _FINAL, "Postgres could not create its data directory.",
        "Read the output of initdb in the message.")
    POSTGRES_PASSWORD_LOST = ("postgres_password_lost", _RUN, _FINAL,
        "A password file of the embedded Postgres is missing.",
        "Restore the file that the message names.")
    POSTGRES_VERSION = ("postgres_version", _RUN, _FINAL,
        "Another major version of Postgres made the data directory.",
        "Dump it with that version and load it into the new one.")
    POSTGRES_FOREIGN = ("postgres_foreign", _RUN, _RETRY, "Another Postgres uses the data directory.",
        "Stop that Postgres.")
    # -- webhooks -------------------------------------------------------------------------------------------------
    WEBHOOK_UNREACHABLE = ("webhook_unreachable", _RUN, _RETRY, "The receiver of a webhook does not respond.",
        "Check the receiver and the network. Nightreel sends the event again, at growing intervals.")
    WEBHOOK_REFUSED = ("webhook_refused", _RUN, _FINAL, "A webhook leads to an address that is not public.",
        "Use another URL, or allow its network with `NIGHTREEL_WEBHOOK_NETWORKS`.")
    # fmt: on


OF_DATABASE: frozenset[Reason] = frozenset(reason for reason in Reason if reason.name.startswith("DATABASE_"))
"""Reasons that concern Postgres itself, whatever the statement."""

UNUSABLE_FEATURES = frozenset({Reason.DAMAGED_FEATURE, Reason.STALE_FEATURE, Reason.OBJECT_GONE})
"""Reasons for which a file of the cache cannot be used, so that its segment is encoded again. No video is at fault."""

OF_HOST: frozenset[Reason] = frozenset(reason for reason in Reason if reason.scope is Scope.HOST)
"""Reasons that are the host's: no video is charged for them."""
