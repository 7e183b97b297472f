"""Ask about one video or image without a run: `nightreel ask` prints the answers, `POST /ask` of the REST service
returns them. Uses no database and stores nothing.

It fetches, probes, decodes, encodes and asks as the stages do, with the same settings and the same sandbox.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from nightreel.domain import (
    MIN_COVERAGE,
    Answer,
    FrameBatch,
    Prompt,
    PromptKind,
    Segment,
    Verdict,
    VerdictState,
    judge,
    probability,
)
from nightreel.errors import PermanentError, SettingsError
from nightreel.media.probe import Probe
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.models.base import VideoModel
from nightreel.models.inquiry import Seen
from nightreel.models.loading import FoundModel, check_model, find_model, load_model
from nightreel.private import private_directory, tighten_work_dir
from nightreel.prompts.schema import KEYWORD_TOKENS, MOST_KEYWORDS
from nightreel.reasons import Reason
from nightreel.settings import Settings
from nightreel.storage import Storage, open_storage
from nightreel.suggestions import did_you_mean, sentence
from nightreel.units import human_bytes

_IMAGE = Segment(index=0, start_s=0.0, end_s=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedAnswer:
    """The answer to one prompt, and what it means."""

    prompt: Prompt
    answer: Answer
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedSegment:
    """The answers about one segment, or why it failed.

    Args:
        pts_s: presentation times of the sampled frames, seconds.
        damaged_frames: number of sampled frames that did not decode cleanly.
        covered_s: seconds of the segment that the other frames cover.
        answers: one per prompt, in the order asked; none for follow-ups whose condition did not hold. A "no" is unknown
            if too little of the segment was seen.
        failure: why the segment has no answers.
    """

    segment: Segment
    pts_s: tuple[float, ...] = ()
    damaged_frames: int = 0
    covered_s: float = 0.0
    answers: tuple[JudgedAnswer, ...] = ()
    failure: PermanentError | None = None


def prompt_of(question: str, *, kind: PromptKind, choices: Sequence[str], settings: Settings) -> Prompt:
    """The prompt that asks one question.

    Args:
        choices: the allowed answers, for choice and tags.

    Raises:
        SettingsError: other kinds take no choices, or the question cannot be asked.
    """
    if kind is PromptKind.OBJECT:
        raise SettingsError("kind object needs a schema: put the question into a prompt file")
    if bool(choices) != (kind in (PromptKind.CHOICE, PromptKind.TAGS)):
        raise SettingsError(f"kind {kind}: the kinds choice and tags require choices, other kinds do not accept them")
    coverage = MIN_COVERAGE if settings.min_coverage is None else settings.min_coverage
    form: dict[str, Any] = {"most": MOST_KEYWORDS, "max_new_tokens": KEYWORD_TOKENS * MOST_KEYWORDS}
    keys = form if kind is PromptKind.KEYWORDS else {}
    return Prompt.of(name="question", kind=kind, text=question, choices=tuple(choices), coverage=coverage, **keys)


def verdicts_on(reply: AskedSegment) -> list[tuple[Verdict, float | None]]:
    """The verdicts on a segment with their probabilities; an error if it failed."""
    if reply.failure is not None:
        return [(Verdict(state=VerdictState.ERROR, reason=str(reply.failure)), None)]
    return [(one.verdict, probability(one.prompt.question, one.answer)) for one in reply.answers]


def values_of(reply: AskedSegment) -> list[dict[str, Any]]:
    """What a segment's answers say, as JSON has it: one object for each verdict."""
    return [
        {
            "start_s": reply.segment.start_s,
            "end_s": reply.segment.end_s,
            "state": verdict.state,
            "answer": verdict.text,
            "p": p,
            "reason": verdict.reason,
            "frame_times_s": list(reply.pts_s),
            "covered_s": reply.covered_s,
            "expected_s": reply.segment.expected_s,
        }
        for verdict, p in verdicts_on(reply)
    ]


def ask_file(
    uri: str,
    prompts: Sequence[Prompt],
    settings: Settings,
    *,
    found: FoundModel | None = None,
    loaded: VideoModel | None = None,
) -> Iterator[AskedSegment]:
    """Ask about a file or an object: a video, segment by segment, or a still image, as a segment of one frame at 0 s.

    Args:
        uri: a path, `file:///path` or `s3://bucket/key`.
        prompts: asked of every segment.
        settings: model, sampling plan, limits, S3 endpoint.
        found: the result of `find_model` for these settings; None: find it now.
        loaded: the model of the settings, which stays open; None: load it for this call.

    Yields:
        One AskedSegment per segment, in order, as soon as its batch is answered.

    Raises:
        SettingsError: a setting or a question cannot work; no file was touched.
        PermanentError: `object_gone`, or the file or the model cannot be used, or every segment failed.
        TransientError: the storage or the model hub cannot be reached.
    """
    found = found or find_model(settings)
    check_model(settings, prompts=prompts, found=found)  # detect a wrong model or question before the download
    with ExitStack() as stack:
        path = stack.enter_context(local_file(uri, settings))
        pool = stack.enter_context(DecoderPool.from_settings(settings))

        def load() -> VideoModel:
            return loaded or stack.enter_context(closing(load_model(settings, found=found, prompts=prompts)))

        yield from ask_local_file(path, prompts, settings, pool=pool, load=load)


def ask_local_file(
    path: Path, prompts: Sequence[Prompt], settings: Settings, *, pool: DecoderPool, load: Callable[[], VideoModel]
) -> Iterator[AskedSegment]:
    """As `ask_file`, for a file of this host and questions that `check_model` has checked.

    Args:
        load: returns the model, once the file is found to be one that can be asked about.
    """
    probe = _probe(pool, path)
    model = load()
    if probe is None:
        image = pool.decode_image(path, short_side=model.frame_size)
        yield _reply(_IMAGE, image, _said([_IMAGE], [image], prompts, model)[0], prompts)
        return
    windows = segments(probe.duration_s, settings.window_s, expected_s=probe.expected_s)
    failures: list[PermanentError] = []
    for start in range(0, len(windows), settings.chunk_segments):
        batch = windows[start : start + settings.chunk_segments]
        for reply in _ask(batch, prompts, path=path, probe=probe, pool=pool, model=model, settings=settings):
            if reply.failure:
                failures.append(reply.failure)
            yield reply
    if len(failures) == len(windows):
        raise failures[0]


@contextmanager
def local_file(uri: str, settings: Settings) -> Iterator[Path]:
    """The file at an address for the time of the block: itself if it is local, else a download.

    Raises as `local_copy`.
    """
    private_directory(settings.work_dir)
    tighten_work_dir(settings.work_dir)
    with tempfile.TemporaryDirectory(prefix="ask-", dir=settings.work_dir) as directory:
        yield local_copy(uri, Path(directory), settings)


def _probe(pool: DecoderPool, path: Path) -> Probe | None:
    """The probe of a video; None: it is a still image."""
    try:
        return pool.probe(path)
    except PermanentError as error:
        if error.reason is not Reason.IMAGE_FILE:
            raise
        return None


def _ask(
    batch: Sequence[Segment],
    prompts: Sequence[Prompt],
    *,
    path: Path,
    probe: Probe,
    pool: DecoderPool,
    model: VideoModel,
    settings: Settings,
) -> Iterator[AskedSegment]:
    looks: dict[int, FrameBatch] = {}
    failed: dict[int, AskedSegment] = {}
    for segment in batch:
        try:
            looks[segment.index] = pool.decode(
                path, probe=probe, plan=settings.sampling_plan, segment=segment, short_side=model.frame_size
            )
        except PermanentError as error:
            failed[segment.index] = AskedSegment(segment=segment, failure=error)
    good = [segment for segment in batch if segment.index in looks]
    answers = _said(good, list(looks.values()), prompts, model) if good else []
    said = {segment.index: given for segment, given in zip(good, answers, strict=True)}
    for segment in batch:
        yield failed.get(segment.index) or _reply(segment, looks[segment.index], said[segment.index], prompts)


def _said(
    windows: Sequence[Segment], looks: Sequence[FrameBatch], prompts: Sequence[Prompt], model: VideoModel
) -> list[list[Answer]]:
    """What the model says of each segment."""
    features = model.encode(looks, segments=windows, keys=[f"segment-{window.index}" for window in windows])
    seen = [Seen(look.covered_s or 0.0, window.expected_s) for window, look in zip(windows, looks, strict=True)]
    return model.ask(features, [prompts] * len(windows), seen=seen)


def _reply(segment: Segment, looked_at: FrameBatch, said: Sequence[Answer], prompts: Sequence[Prompt]) -> AskedSegment:
    assert looked_at.covered_s is not None
    given = {answer.question_hash: answer for answer in said}
    return AskedSegment(
        segment=segment,
        pts_s=tuple(looked_at.pts_s.tolist()),
        damaged_frames=len(looked_at.flags) - looked_at.flags.count(()),
        covered_s=looked_at.covered_s,
        answers=tuple(
            JudgedAnswer(prompt=prompt, answer=answer, verdict=judge(prompt.question, answer, prompt.policy))
            for prompt in prompts
            if (answer := given.get(prompt.question.hash))
        ),
    )


def local_copy(uri: str, directory: Path, settings: Settings) -> Path:
    """The path of a file as a local one: its own path if it is local, else a download in `directory`.

    Raises:
        PermanentError: `object_gone`, `limit_bytes`, or as `open_storage`. TransientError: as `Storage.fetch`.
    """
    if "://" not in uri:
        return _local_file(Path(uri), settings.max_bytes)
    if uri.startswith("file://"):
        return _local_file(Path(unquote(uri.removeprefix("file://").removeprefix("localhost"))), settings.max_bytes)
    parent, _, name = uri.rpartition("/")
    if not name:
        raise PermanentError(Reason.OBJECT_GONE, f"{uri!r} does not name an object: expected a file or s3://bucket/key")
    storage = open_storage(parent, settings)
    destination = directory / "video"
    storage.fetch(uri, etag=_etag(storage, uri), destination=destination, max_bytes=settings.max_bytes)
    return destination


def _local_file(path: Path, max_bytes: int) -> Path:
    path = path.expanduser()
    if not path.is_file():
        hint = did_you_mean(path.name, _names_in(path.parent))
        what = "expected a video, an image or s3://bucket/key"
        raise PermanentError(Reason.OBJECT_GONE, sentence(f"{path} is not a file", hint, what))
    if path.stat().st_size > max_bytes:
        raise PermanentError(
            Reason.LIMIT_BYTES,
            f"{path} has {human_bytes(path.stat().st_size)}, but NIGHTREEL_MAX_BYTES={max_bytes} allows "
            f"{human_bytes(max_bytes)}: raise it",
        )
    return path


def _names_in(directory: Path) -> list[str]:
    try:
        return [path.name for path in directory.iterdir()]
    except OSError:
        return []


def _etag(storage: Storage, uri: str) -> str:
    """The etag from a listing: names sort by their bytes, so one page that starts just before this name is enough."""
    for page in storage.list_pages(start_after=uri[:-1], page_size=10):
        for item in page:
            if item.uri == uri:
                return item.etag
        if page[-1].uri > uri:
            break
    raise PermanentError(Reason.OBJECT_GONE, f"object {uri!r} does not exist in {storage.url}")
