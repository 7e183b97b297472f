"""A model on an OpenAI-compatible server (vLLM, SGLang, ...): implements VideoModel.

Its features are the frames as JPEG, so that a new question needs no download and no decoding. Segments are asked with
up to `remote_concurrency` requests in parallel.

`loading.load_model` makes one. `served_inquiry` decides the order of requests. `layouts`, `chat_endpoint` and
`completions` make, send and read them.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import cached_property
from typing import Any

import PIL

from nightreel.domain import Answer, Features, FrameBatch, MemoryPeak, Note, Prompt, Question, Segment, Verdict
from nightreel.errors import NightreelError, PermanentError
from nightreel.models.base import ModelSpec
from nightreel.models.inquiry import Seen
from nightreel.models.served import jpeg_frames
from nightreel.models.served.chat_endpoint import CHAT, ChatEndpoint
from nightreel.models.served.completions import Completion, read_completion
from nightreel.models.served.frame_limits import require_grey_frames
from nightreel.models.served.layouts import Sending, Shown, show, show_notes
from nightreel.models.served.probe import Server
from nightreel.models.served.questions import require_askable, without_special_tokens
from nightreel.models.served.scoring import ask_scored, is_scored
from nightreel.models.served.served_inquiry import ServedInquiry, ServedRequest, next_requests
from nightreel.models.served.structured import response_format
from nightreel.models.served.trials import trials_of_a_segment
from nightreel.models.served.vocabulary import Vocabulary
from nightreel.prompts.wording import before_question
from nightreel.reasons import Reason
from nightreel.settings import Settings

logger = logging.getLogger(__name__)

_NUMBER_TOKENS = 16  # for numbers that a local model would score, whose prompts set no number of tokens
_MAX_KEPT = 10_000


class RemoteModel:
    """A model on a server. See `base.VideoModel`.

    Args:
        endpoint: the server, which lists the model under the name of `spec`. `close` closes it.
        settings: those named `remote_*`.
        find_server: returns what the server can do. Called with the first question.
        concurrency: requests at the same time.
    """

    def __init__(
        self,
        endpoint: ChatEndpoint,
        settings: Settings,
        spec: ModelSpec,
        find_server: Callable[[], Server],
        *,
        concurrency: int,
    ) -> None:
        self._endpoint = endpoint
        self.spec = spec
        self._find_server = find_server
        self.frame_size: int | None = settings.remote_frame_size
        self._quality = settings.remote_jpeg_quality
        self._concurrency = concurrency
        self._trials = trials_of_a_segment(self._endpoint, settings, spec.name)
        self._vocabulary = Vocabulary(self._endpoint, spec.name)
        self._has_answered = False
        # answers from failed calls, by frames and question: the caller asks again, segment by segment
        self._kept: dict[tuple[str, str], Answer] = {}
        self._uploaded: dict[str, None] = {}  # names of frames that the server has

    def close(self) -> None:
        """Close the connections to the server."""
        self._endpoint.close()

    def encode(
        self, batches: Sequence[FrameBatch], *, segments: Sequence[Segment], keys: Sequence[str]
    ) -> list[Features]:
        assert self.frame_size
        return [
            Features(
                key=key,
                tensors=jpeg_frames.to_jpegs(batch, short_side=self.frame_size, quality=self._quality),
                pts_s=tuple(batch.pts_s.tolist()),
                metadata={
                    "model": self.spec.identity,
                    "segment": [segment.index, segment.start_s, segment.end_s],
                    "decoder": batch.decoder,
                    "decoder_version": batch.decoder_version,
                    "source_hw": list(batch.source_hw),
                    "pillow_version": PIL.__version__,
                },
            )
            for batch, segment, key in zip(batches, segments, keys, strict=True)
        ]

    def ask(
        self,
        features: Sequence[Features],
        questions: Sequence[Sequence[Prompt]],
        *,
        known: Sequence[Mapping[str, Verdict]] | None = None,
        seen: Sequence[Seen] | None = None,
    ) -> list[list[Answer]]:
        inquiries = [
            ServedInquiry(
                waiting=list(prompts),
                known=dict(known[i] if known else {}),
                seen=seen[i] if seen else Seen(),
                shown=self._show(one),
                kept=self._kept,
            )
            for i, (one, prompts) in enumerate(zip(features, questions, strict=True))
        ]
        return self._ask(inquiries, questions)

    def ask_over_notes(
        self, notes: Sequence[Sequence[Note]], questions: Sequence[Sequence[Prompt]], *, seen: Sequence[Seen]
    ) -> list[list[Answer]]:
        inquiries = [
            ServedInquiry(
                waiting=list(prompts),
                known={},
                seen=seen[i],
                shown=show_notes(without_special_tokens(before_question(own))),
                kept=self._kept,
            )
            for i, (own, prompts) in enumerate(zip(notes, questions, strict=True))
        ]
        return self._ask(inquiries, questions)

    def _ask(self, inquiries: Sequence[ServedInquiry], questions: Sequence[Sequence[Prompt]]) -> list[list[Answer]]:
        require_askable({prompt: None for prompts in questions for prompt in prompts})
        try:
            self._ask_all(inquiries)
        except NightreelError:
            self._keep(inquiries)
            raise
        for inquiry in inquiries:
            for answer in inquiry.answers:
                self._kept.pop((inquiry.shown.name, answer.question_hash), None)
        return [one.in_order(prompts) for one, prompts in zip(inquiries, questions, strict=True)]

    def take_peaks(self) -> list[MemoryPeak]:
        """Return no peaks: the server manages its own memory."""
        return []

    @cached_property
    def _server(self) -> Server:
        return self._find_server()

    def _show(self, features: Features) -> Shown:
        if features.metadata.get("model") != self.spec.identity:
            raise PermanentError(
                Reason.STALE_FEATURE,
                f"features {features.key[:12]} were made for {features.metadata.get('model')}, "
                f"but this model is {self.spec.identity}: encode the segment again",
            )
        return show(features, self._server.layout, least=self._server.least_frames)

    def _ask_all(self, inquiries: Sequence[ServedInquiry]) -> None:
        """Ask until no prompt is waiting.

        A question that the server refuses is unknown. If it refuses all questions of a segment, the segment failed: its
        error is raised after the others finish.
        """
        stop = threading.Event()
        running: dict[Future[Completion], tuple[ServedInquiry, ServedRequest]] = {}
        failed: NightreelError | None = None
        with ThreadPoolExecutor(self._concurrency, "ask") as pool:
            try:
                while True:
                    for inquiry, question in next_requests(inquiries, self._concurrency - len(running)):
                        future = pool.submit(self._request, inquiry.shown, question, stop)
                        running[future] = inquiry, question
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        inquiry, question = running.pop(future)
                        try:
                            inquiry.replied(question, future.result())
                            self._has_answered = True
                        except NightreelError as error:
                            if self._concerns_one_question(error):
                                inquiry.refused(question, error)
                                continue
                            failed = failed or error
                            stop.set()
                            for one in inquiries:
                                one.abandon()
            finally:
                stop.set()
        for inquiry in inquiries:
            refused = inquiry.take_failure()
            if refused and not failed:
                if inquiry.shown.frames:
                    require_grey_frames(self._trials, frames=inquiry.shown.frames, layout=self._server.layout)
                failed = refused
        if failed:
            raise failed

    def _concerns_one_question(self, error: NightreelError) -> bool:
        """Whether the server refused or garbled one question, so that it may answer the others."""
        if error.reason is Reason.MODEL_PROTOCOL:
            return self._has_answered  # else it is a server of another kind
        return error.reason is Reason.MODEL_REFUSED

    def _request(self, shown: Shown, request: ServedRequest, stop: threading.Event) -> Completion:
        question = request.prompt.question

        def send(options: Mapping[str, Any], more: Sequence[Mapping[str, str]]) -> dict[str, Any]:
            if shown.name in self._uploaded:
                try:
                    return post(Sending.NAME, options, more)
                except PermanentError as error:
                    if error.reason is not Reason.MODEL_REFUSED:
                        raise
                    self._uploaded.pop(shown.name, None)  # it dropped them, or refuses the question, as will show
            reply = post(Sending.BYTES_WITH_NAME if self._server.remembers else Sending.BYTES, options, more)
            if self._server.remembers:
                self._uploaded[shown.name] = None
                _limit(self._uploaded)
            return reply

        def post(sending: Sending, options: Mapping[str, Any], more: Sequence[Mapping[str, str]]) -> dict[str, Any]:
            body = shown.request(request.text, sending=sending)
            body = {"model": self.spec.name, **body, "messages": [*body["messages"], *more], **options}
            return self._endpoint.post(CHAT, body, stop=stop)

        if is_scored(question, self._server):
            return ask_scored(question, send, server=self._server, vocabulary=self._vocabulary)
        return read_completion(send({**_decoding(question), **response_format(question)}, ()))

    def _keep(self, inquiries: Sequence[ServedInquiry]) -> None:
        for inquiry in inquiries:
            refused = {prompt.question.hash for prompt in inquiry.refusals}
            for answer in inquiry.answers:
                if answer.question_hash not in refused:
                    self._kept[inquiry.shown.name, answer.question_hash] = answer
        _limit(self._kept)


def _limit(kept: dict[Any, Any]) -> None:
    while len(kept) > _MAX_KEPT:
        kept.pop(next(iter(kept), None), None)  # other threads may take the same


def _decoding(question: Question) -> dict[str, Any]:
    """The parameters that choose tokens: only those that the question sets, because few servers know all of them."""
    wanted = question.decoding
    max_tokens = _NUMBER_TOKENS if question.numbers else question.max_new_tokens
    parameters: dict[str, Any] = {"temperature": wanted.temperature, "max_tokens": max_tokens}
    if wanted.temperature:
        parameters |= {"top_p": wanted.top_p, "seed": wanted.seed % 2**31}
        parameters |= {"top_k": wanted.top_k} if wanted.top_k else {}
    if wanted.repetition_penalty != 1:
        parameters["repetition_penalty"] = wanted.repetition_penalty
    return parameters
