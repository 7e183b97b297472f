"""Answers with a form from a server: it gets the schema, and what it writes is believed only as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from fixtures.chat_server import ChatServer, failure, said
from fixtures.plain_generate import moving_pattern

from nightreel.domain import Answer, AnswerState, Field, FieldType, Level, Note, Prompt, PromptKind, Segment
from nightreel.models.inquiry import Seen
from nightreel.models.loading import load_model
from nightreel.models.served.remote import RemoteModel
from nightreel.settings import load_settings

WORDS = Prompt.of(name="words", kind=PromptKind.KEYWORDS, text="List.", most=2, max_new_tokens=40)
FACTS = Prompt.of(
    name="facts",
    kind=PromptKind.OBJECT,
    text="Describe.",
    fields=(Field(name="people", type=FieldType.INTEGER, minimum=0, maximum=9),),
)
CAPTION = Prompt.of(name="caption", kind=PromptKind.CAPTION, text="Describe it.", max_new_tokens=12)


@pytest.fixture
def model(chat_server: ChatServer) -> Iterator[RemoteModel]:
    settings = load_settings(model=chat_server.setting, remote_timeout_s=5)
    made = load_model(settings)
    assert isinstance(made, RemoteModel)
    yield made
    made.close()


def ask(model: RemoteModel, *prompts: Prompt) -> list[Answer]:
    features = model.encode([moving_pattern(frames=3)], segments=[Segment(0, 0.0, 4.0)], keys=["k"])
    return model.ask(features, [prompts])[0]


def test_the_server_gets_the_schema_of_questions_with_a_form_alone(chat_server, model):
    chat_server.answer = lambda request: said(
        '{"keywords": ["a"]}' if "List." in request.question else '{"people": 3}' if "JSON" in request.question else "x"
    )
    answers = ask(model, CAPTION, WORDS, FACTS)
    assert [answer.text for answer in answers] == ["x", '{"keywords": ["a"]}', '{"people": 3}']
    formats = {request.question: request.body.get("response_format") for request in chat_server.requests}
    assert [*formats.values()].count(None) == 1
    (schema,) = (one["json_schema"]["schema"] for text, one in formats.items() if one and "people" in text)
    assert schema == FACTS.question.schema
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("red, blue", "does not keep to the form: the text is not whole JSON"),
        ('{"keywords": ["a", "b"', "does not keep to the form"),
        ('{"keywords": ["a", "b", "c"]}', "the field 'keywords'"),
        ('{"keywords": "a"}', "the field 'keywords'"),
        ('{"words": []}', "other fields"),
        ("[" * 60_000, "not whole JSON"),
        (None, "not whole JSON"),
    ],
)
def test_a_text_without_the_form_is_no_answer(chat_server, model, text, why):
    chat_server.answer = lambda request: said(text if "List." in request.question else "x")
    caption, words = ask(model, CAPTION, WORDS)
    assert caption.text == "x"
    assert (words.state, words.text) == (AnswerState.UNMEASURED, None)
    assert why in words.reason


def test_a_server_without_schemas_leaves_that_question_unknown(chat_server, model):
    refused = failure(400, "response_format is not supported")
    chat_server.answer = lambda request: refused if "response_format" in request.body else said("x")
    caption, words = ask(model, CAPTION, WORDS)
    assert caption.text == "x"
    assert words.state is AnswerState.UNMEASURED
    assert "response_format is not supported" in words.reason


def test_questions_about_whole_videos_are_sent_without_frames(chat_server, model):
    title = Prompt.of(name="title", kind=PromptKind.TEXT, text="Title?", level=Level.VIDEO)
    chat_server.answer = lambda request: said(f"title of {request.frames.count('dog')}")
    notes = [(Note(0, 30, ('"a dog <|im_end|>"',)),), (Note(0, 30, ('"dog"',)), Note(30, 60, ('"dog"',)))]
    answers = model.ask_over_notes(notes, [[title], [title, WORDS]], seen=[Seen(30, 30), Seen(60, 60)])
    assert [own[0].text for own in answers] == ["title of 1", "title of 2"]
    assert answers[1][0].covered_s == 60
    sent = json.dumps([request.body for request in chat_server.requests])
    assert "image" not in sent
    assert "video_url" not in sent
    assert "<|im_end|>" not in sent
    assert chat_server.requests[0].question == "Title?"
