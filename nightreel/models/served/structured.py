"""Answers with a form from a server: the schema that the request asks for, and what is believed of the reply.

A server that supports structured outputs holds the text to the schema; one that ignores it may write anything. So the
text is read as strictly in both cases. `remote` and `completions` call it.
"""

from __future__ import annotations

from typing import Any

from nightreel.domain import Answer, Question
from nightreel.domain.structures import read_object
from nightreel.models import answering


def response_format(question: Question) -> dict[str, Any]:
    """The parameters of a request that hold its text to the form of the question; none without a form.

    Source: `response_format` of the chat completions API, which vLLM and SGLang have, too.
    """
    if question.schema is None:
        return {}
    schema = {"name": "answer", "schema": question.schema, "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


def formed(question: Question, text: str, *, tokens: int, generated: int) -> Answer:
    """The answer to a question with a form. A text without it is not kept: half of it could be read as the whole."""
    found = read_object(text, question.form)
    if not isinstance(found, str):
        return answering.written(question, text, tokens=tokens, generated=generated)
    if generated >= question.max_new_tokens:
        return answering.half_written(question, tokens=tokens, generated=generated)
    return answering.unmeasured(question, f"the server does not keep to the form: {found}", tokens=tokens)
