"""POST /ask: one file and one question, as `nightreel ask` does it. Nothing is stored.

The form is read here and not by FastAPI, which would read a body before it knows who sends it. The token and the limits
come first.
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from nightreel.api.access import Caller, needs
from nightreel.api.problems import Problem, busy, described
from nightreel.api.replies import json_reply
from nightreel.api.service import UPLOADS_AT_ONCE, Service, service_of
from nightreel.asking import ask_file, prompt_of, values_of
from nightreel.domain import Prompt, PromptKind
from nightreel.domain.tokens import Scope

MOST_SECONDS = 600
"""Of a video: a longer one would keep the model from everybody else."""
_MOST_FIELDS = 40
_LARGEST_FIELD = 16 << 10
_UPLOAD_S = 600
_FORM_BYTES = 1 << 20  # besides the file
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,8}")

_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file", "question"],
                    "properties": {
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "a video, or a JPEG, PNG or WebP image",
                        },
                        "question": {"type": "string", "minLength": 1, "maxLength": 4000},
                        "kind": {"type": "string", "enum": list(PromptKind), "default": "text"},
                        "choice": {"type": "array", "items": {"type": "string"}, "maxItems": 32},
                    },
                }
            }
        },
    }
}


class AskedShape(BaseModel):
    """The answer about a segment."""

    start_s: float
    end_s: float
    state: str
    answer: str | None
    p: float | None
    reason: str | None
    frame_times_s: list[float]
    covered_s: float
    expected_s: float


class AnswersShape(BaseModel):
    """The answers about all segments."""

    model: str
    answers: list[AskedShape]


def add_questions(router: APIRouter) -> None:
    """Add the route."""
    router.add_api_route(
        "/ask",
        _ask,
        methods=["POST"],
        response_model=AnswersShape,
        operation_id="ask",
        openapi_extra=_BODY,
        responses=described(400, 401, 403, 408, 413, 415, 422, 429),
    )


async def _ask(request: Request, _: Annotated[Caller, Depends(needs(Scope.ASK))]) -> Response:
    """Ask one question about one file."""
    service = service_of(request)
    service.model.refuse_if_busy()
    if not service.uploads.acquire(blocking=False):
        raise busy(f"{UPLOADS_AT_ONCE} other files are being sent: ask again")
    try:
        form = await _form(request, most_bytes=(service.settings.api_upload_mib << 20) + _FORM_BYTES)
        try:
            prompt, upload = _prompt(form, service), form.get("file")
            if not isinstance(upload, UploadFile):
                raise Problem(422, "file: expected a file in the form")
            answers = await run_in_threadpool(_answers, service, upload.file, upload.filename or "", prompt)
        finally:
            await form.close()
    finally:
        service.uploads.release()
    return json_reply(request, {"model": service.settings.model, "answers": answers})


async def _form(request: Request, *, most_bytes: int) -> FormData:
    """Read a form, at most so many bytes of it.

    Raises:
        Problem: 413, 415, or 400 for a broken form.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise Problem(415, "expected a form (multipart/form-data) with `file` and `question`")
    said = request.headers.get("content-length", "")
    if said.isdecimal() and int(said) > most_bytes:
        raise _too_large(most_bytes)

    async def stream() -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > most_bytes:
                raise _too_large(most_bytes)
            yield chunk

    parser = MultiPartParser(
        request.headers, stream(), max_files=1, max_fields=_MOST_FIELDS, max_part_size=_LARGEST_FIELD
    )
    try:
        async with asyncio.timeout(_UPLOAD_S):
            return await parser.parse()
    except TimeoutError as error:
        raise Problem(408, f"the form did not arrive within {_UPLOAD_S} s") from error
    except MultiPartException as error:
        raise Problem(400, f"the form cannot be read: {error.message}") from error
    except (KeyError, ValueError, LookupError) as error:
        raise Problem(400, "the form cannot be read: its headers are broken") from error


def _prompt(form: FormData, service: Service) -> Prompt:
    question = form.get("question")
    if not isinstance(question, str) or not question.strip():
        raise Problem(422, "question: expected a text in the form")
    kind, choices = form.get("kind", PromptKind.TEXT), form.getlist("choice")
    if kind not in list(PromptKind):
        raise Problem(422, f"kind={str(kind)[:100]!r}: expected one of {', '.join(PromptKind)}")
    if not all(isinstance(choice, str) for choice in choices):
        raise Problem(422, "choice: expected texts in the form")
    return prompt_of(
        question, kind=PromptKind(str(kind)), choices=[str(choice) for choice in choices], settings=service.settings
    )


def _answers(service: Service, file: BinaryIO, name: str, prompt: Prompt) -> list[dict[str, Any]]:
    settings = service.settings.model_copy(
        update={
            "max_bytes": min(service.settings.max_bytes, service.settings.api_upload_mib << 20),
            "max_duration_s": min(service.settings.max_duration_s, MOST_SECONDS),
        }
    )
    # One at a time: it never waits for room in the spool.
    with service.model.taken() as (found, model), service.spool.admit(0) as directory:
        suffix = Path(name).suffix
        path = directory / f"upload{suffix if _SUFFIX.fullmatch(suffix) else ''}"
        with path.open("wb") as out:
            shutil.copyfileobj(file, out, 1 << 20)
        replies = ask_file(str(path), [prompt], settings.without_patience(), found=found, loaded=model)
        return [value for reply in replies for value in values_of(reply)]


def _too_large(most_bytes: int) -> Problem:
    return Problem(413, f"the form has more than {most_bytes:,} bytes: NIGHTREEL_API_UPLOAD_MIB allows no more")
