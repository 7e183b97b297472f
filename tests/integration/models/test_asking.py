"""How the local model asks: conditions, order, known answers, features of other models, hostile questions."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fixtures.judged import judged, p_of, under
from fixtures.plain_generate import PlainModel, moving_pattern
from fixtures.tiny_models import ARCHITECTURES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nightreel.domain import (
    AnswerState,
    Band,
    Features,
    GenerationOptions,
    Prompt,
    PromptKind,
    Segment,
    StoredTensor,
    Verdict,
    VerdictState,
)
from nightreel.errors import PermanentError, SettingsError
from nightreel.models.base import VideoModel
from nightreel.models.inprocess.dialogue import Dialogue
from nightreel.models.inprocess.packed import PackedPrefix
from nightreel.models.inprocess.prefix import Row, is_plain
from nightreel.models.inquiry import Seen
from nightreel.models.loading import load_model
from nightreel.settings import load_settings

_SEGMENT = Segment(0, 0.0, 4.0)
_YES = Prompt.of(name="sure", kind=PromptKind.YES_NO, text="Is it so?", band=Band(0.0, 0.0))
_NO = Prompt.of(name="never", kind=PromptKind.YES_NO, text="Is it otherwise?", band=Band(1.0, 1.0))


def _text(name: str, *when: tuple[str, str]) -> Prompt:
    return Prompt.of(name=name, kind=PromptKind.TEXT, text=f"Tell me about {name}.", max_new_tokens=4, when=when)


@pytest.fixture(scope="module")
def model(tiny_model: Callable[[str], Path]) -> VideoModel:
    torch.set_num_threads(1)
    return load_model(load_settings(model=str(tiny_model("internvl")), device="cpu"))


@pytest.fixture(scope="module")
def features(model: VideoModel) -> Features:
    (one,) = model.encode([moving_pattern()], segments=[_SEGMENT], keys=["k"])
    return one


def _asked(model: VideoModel, features: Features, prompts: list[Prompt], **known: Verdict) -> list[str]:
    """The names of the answered prompts, in the order of the answers."""
    (answers,) = model.ask([features], [prompts], known=[known])
    names = {prompt.question.hash: prompt.name for prompt in prompts}
    return [names[answer.question_hash] for answer in answers]


def test_a_follow_up_is_asked_only_if_its_condition_holds(model: VideoModel, features: Features) -> None:
    prompts = [_YES, _NO, _text("a", ("sure", "yes")), _text("b", ("sure", "no")), _text("c", ("never", "no"))]
    assert _asked(model, features, prompts) == ["sure", "never", "a", "c"]


def test_all_conditions_of_a_follow_up_must_hold(model: VideoModel, features: Features) -> None:
    prompts = [_YES, _NO, _text("a", ("sure", "yes"), ("never", "yes")), _text("b", ("sure", "yes"), ("never", "no"))]
    assert _asked(model, features, prompts) == ["sure", "never", "b"]


def test_follow_ups_of_follow_ups_are_asked(model: VideoModel, features: Features) -> None:
    second = replace(under(_NO, when=(("sure", "yes"),)), name="second")
    third = _text("third", ("second", "no"))
    skipped = Prompt.of(name="skipped", kind=PromptKind.YES_NO, text="Skipped?", when=(("sure", "no"),))
    never = _text("fourth", ("skipped", "yes"))
    assert _asked(model, features, [_YES, second, third, skipped, never]) == ["sure", "second", "third"]


def test_prompts_with_one_question_are_asked_once_and_judged_each(
    model: VideoModel, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[int] = []
    ask = PackedPrefix.ask

    def counted(self: PackedPrefix, asked: Sequence[Row], **more: Any) -> Any:
        rows.append(len(asked))
        return ask(self, asked, **more)

    monkeypatch.setattr(PackedPrefix, "ask", counted)
    strict = replace(under(_YES, band=Band(1.0, 1.0)), name="strict")
    prompts = [_YES, strict, _text("a", ("sure", "yes"), ("strict", "no")), _text("b", ("strict", "yes"))]
    assert [answer.question_hash for answer in model.ask([features], [prompts])[0]] == [
        _YES.question.hash,
        _text("a").question.hash,
    ]
    assert rows == [1, 1]


def test_a_follow_up_on_a_no_of_which_too_little_was_seen_is_not_asked(model: VideoModel, features: Features) -> None:
    prompts = [_NO, _text("a", ("never", "no"))]
    whole, part = model.ask([features] * 2, [prompts] * 2, seen=[Seen(4.0, 4.0), Seen(1.0, 4.0)])
    assert [(answer.covered_s, answer.expected_s) for answer in (*whole, *part)] == [(4, 4), (4, 4), (1, 4)]


def test_conditions_use_earlier_verdicts(model: VideoModel, features: Features) -> None:
    known = Verdict(state=VerdictState.ANSWERED, text="yes", value=True)
    assert _asked(model, features, [_text("a", ("sure", "yes"))], sure=known) == ["a"]
    assert _asked(model, features, [_text("a", ("sure", "no"))], sure=known) == []


def test_an_unknown_verdict_fulfils_no_condition(model: VideoModel, features: Features) -> None:
    unsure = under(_YES, band=Band(0.0, 1.0))
    prompts = [unsure, _text("a", ("sure", "yes")), _text("b", ("sure", "no"))]
    assert _asked(model, features, prompts) == ["sure"]


def test_a_tag_among_others_fulfils_a_condition(model: VideoModel, features: Features) -> None:
    tags = Prompt.of(
        name="topics", kind=PromptKind.TAGS, text="Which fit?", choices=("news", "sports"), band=Band(0.0, 0.0)
    )
    assert _asked(model, features, [tags, _text("a", ("topics", "sports"))]) == ["topics", "a"]


def test_answers_come_in_the_order_of_the_questions_one_each(model: VideoModel, features: Features) -> None:
    again = replace(_YES, name="again")
    (answers,) = model.ask([features], [[_text("a"), _YES, _text("b"), again]])
    asked = [_text("a").question, _YES.question, _text("b").question]
    assert [answer.question_hash for answer in answers] == [question.hash for question in asked]


def test_segments_can_be_asked_different_questions(model: VideoModel, features: Features) -> None:
    alone = [model.ask([features], [prompts])[0] for prompts in ([_YES], [_text("a"), _NO], [])]
    questions = [[_YES], [_text("a"), _NO], []]
    together = model.ask([features] * 3, questions)
    hashes = [[prompt.question.hash for prompt in prompts] for prompts in questions]
    assert [[answer.question_hash for answer in one] for one in together] == hashes
    assert p_of(together[0][0]) == pytest.approx(p_of(alone[0][0]), abs=1e-6)
    assert together[1][0].text == alone[1][0].text


def test_a_batch_larger_than_the_cap_is_split_without_changing_answers(
    model: VideoModel, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = model.ask([features] * 5, [[_text("a"), _NO]] * 5)
    monkeypatch.setattr("nightreel.models.memory.meters.CPU_BUDGET_BYTES", 3_000_000)
    for one, other in zip(model.ask([features] * 5, [[_text("a"), _NO]] * 5), expected, strict=True):
        assert [answer.text for answer in one] == [answer.text for answer in other]


def test_scores_of_choices_and_tags_equal_those_of_a_plain_forward_pass(
    model: VideoModel, features: Features, tiny_model: Callable[[str], Path]
) -> None:
    choice = Prompt.of(name="c", kind=PromptKind.CHOICE, text="Where?", choices=("indoors", "garden", "street"))
    tags = Prompt.of(name="t", kind=PromptKind.TAGS, text="Which?", choices=("news", "sports"))
    ((chosen, tagged),) = model.ask([features], [[choice, tags]])
    plain = PlainModel(tiny_model("internvl"))
    question = "Where? Answer with one of: indoors, garden, street."
    means = [
        max(_mean_score(plain, question, space + form) for form in (word, word.capitalize()) for space in ("", " "))
        for word in choice.question.choices
    ]
    expected = torch.softmax(torch.tensor(means), 0).tolist()
    assert chosen.scores == pytest.approx(dict(zip(choice.question.choices, expected, strict=True)), abs=1e-5)
    for word in tags.question.choices:
        expected_p = plain.p_yes(moving_pattern(), _SEGMENT, f"Which? {word}? Answer yes or no.")
        assert tagged.scores is not None
        assert tagged.scores[word] == pytest.approx(expected_p, abs=1e-5)
    vocabulary = plain.processor.tokenizer.get_vocab()
    yes_no = {vocabulary[form] for form in ("yes", "Yes", "Ġyes", "no", "No", "Ġno")}
    asked = {word: f"Which? {word}? Answer yes or no." for word in tags.question.choices}
    assert tagged.mass == pytest.approx({word: _mass(plain, text, yes_no) for word, text in asked.items()}, abs=1e-6)
    forms = [space + form for word in choice.question.choices for form in (word, word.title()) for space in ("", " ")]
    starts = {plain.processor.tokenizer(form, add_special_tokens=False).input_ids[0] for form in forms}
    assert chosen.mass == pytest.approx(_mass(plain, question, starts), abs=1e-6)


def test_a_choice_that_starts_another_is_scored_with_the_end_of_its_turn(
    model: VideoModel, features: Features, tiny_model: Callable[[str], Path]
) -> None:
    choice = Prompt.of(name="c", kind=PromptKind.CHOICE, text="Where?", choices=("indoors", "out", "outdoors"))
    ((chosen,),) = model.ask([features], [[choice]])
    plain = PlainModel(tiny_model("internvl"))
    end = plain.processor.tokenizer.eos_token
    question = "Where? Answer with one of: indoors, out, outdoors."
    means = [
        max(_mean_score(plain, question, space + form + end) for form in (word, word.title()) for space in ("", " "))
        for word in choice.question.choices
    ]
    expected = torch.softmax(torch.tensor(means), 0).tolist()
    assert chosen.scores == pytest.approx(dict(zip(choice.question.choices, expected, strict=True)), abs=1e-5)


def test_scores_of_a_bounded_number_equal_those_of_a_plain_forward_pass(
    model: VideoModel, features: Features, tiny_model: Callable[[str], Path]
) -> None:
    prompt = Prompt.of(name="n", kind=PromptKind.NUMBER, text="How many?", minimum=8, maximum=12)
    ((answer,),) = model.ask([features], [[prompt]])
    plain = PlainModel(tiny_model("internvl"))
    end = plain.processor.tokenizer.eos_token
    whole = []
    for number in range(8, 13):
        texts = (f"{number}{end}", f" {number}{end}")
        lengths = [len(plain.processor.tokenizer(text, add_special_tokens=False).input_ids) for text in texts]
        means = [_mean_score(plain, "How many? Answer with a number.", text) for text in texts]
        whole.append(sum(math.exp(mean * length) for mean, length in zip(means, lengths, strict=True)))
    expected = {str(number): p / sum(whole) for number, p in zip(range(8, 13), whole, strict=True)}
    assert answer.scores == pytest.approx(expected, abs=1e-5)
    assert answer.mass == pytest.approx(sum(whole), rel=1e-4)
    assert judged(prompt, answer).value == float(max(expected, key=expected.__getitem__))
    assert answer.generated_tokens == 0


def _mass(plain: PlainModel, question: str, tokens: Set[int]) -> float:
    """The probability that an answer starts with one of these tokens."""
    return plain.next_token(moving_pattern(), _SEGMENT, question).exp()[sorted(tokens)].sum().item()


@torch.inference_mode()
def _mean_score(plain: PlainModel, question: str, answer: str) -> float:
    """Mean log-probability of an answer's tokens after a question, by one plain forward pass over the whole text."""
    inputs = plain.inputs(moving_pattern(), _SEGMENT, question)
    start = inputs["input_ids"].shape[1]
    ids = torch.tensor([plain.processor.tokenizer(answer, add_special_tokens=False).input_ids])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    scores = torch.log_softmax(plain.model(**inputs).logits[0, start - 1 : -1], dim=-1)
    return scores.gather(1, ids[0][:, None]).mean().item()


def test_a_question_whose_answers_the_tokenizer_cannot_tell_apart_is_unmeasured_and_others_are_measured() -> None:
    demo = load_model(load_settings(model="demo", device="cpu"))
    (seen,) = demo.encode([moving_pattern()], segments=[_SEGMENT], keys=["k"])
    place = Prompt.of(name="p", kind=PromptKind.CHOICE, text="Where?", choices=("室内", "室外", "工作室"))
    colour = Prompt.of(
        name="c", kind=PromptKind.CHOICE, text="What colour is the background?", choices=("black", "grey")
    )
    ((unsure, sure),) = demo.ask([seen], [[place, colour]])
    assert (unsure.state, unsure.scores) == (AnswerState.UNMEASURED, None)
    assert unsure.reason == "this tokenizer has no tokens for '室内', '室外', '工作室'"
    assert sure.state is AnswerState.MEASURED


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_features_that_are_not_finite_give_errors_and_no_texts(
    model: VideoModel, features: Features, temperature: float
) -> None:
    broken = replace(features, tensors=tuple(map(_as_nan, features.tensors)))
    drawn = Prompt.of(name="a", kind=PromptKind.TEXT, text="Why?", decoding=GenerationOptions(temperature=temperature))
    ((text, yes),) = model.ask([broken], [[drawn, _YES]])
    assert [text.state, yes.state] == [AnswerState.ERROR] * 2
    assert text.reason == yes.reason == "the model's scores are not finite"


def _as_nan(tensor: StoredTensor) -> StoredTensor:
    if tensor.dtype != "float32":
        return tensor
    return replace(tensor, data=struct.pack("<f", math.nan) * (len(tensor.data) // 4))


def test_eager_attention_gives_the_same_answers(
    model: VideoModel, features: Features, tiny_model: Callable[[str], Path]
) -> None:
    eager = load_model(load_settings(model=str(tiny_model("internvl")), device="cpu", attention="eager"))
    encoded = eager.encode([moving_pattern()], segments=[_SEGMENT], keys=["k"])
    ((text, yes),) = eager.ask(encoded, [[_text("a"), _YES]])
    ((expected_text, expected_yes),) = model.ask([features], [[_text("a"), _YES]])
    assert text.text == expected_text.text
    assert p_of(yes) == pytest.approx(p_of(expected_yes), abs=1e-5)


@pytest.mark.parametrize(
    ("architecture", "plain"), [("internvl", True), ("smolvlm", True), ("internvl_sliding", False), ("qwen3_5", False)]
)
def test_only_models_with_plain_caches_are_packed(
    tiny_model: Callable[[str], Path], architecture: str, plain: bool
) -> None:
    from transformers import AutoModelForImageTextToText

    assert is_plain(AutoModelForImageTextToText.from_pretrained(tiny_model(architecture))) is plain


@pytest.mark.parametrize("part", ["revision", "dtype", "processor_hash", "transformers_version", "attention"])
def test_features_of_another_model_are_refused(model: VideoModel, features: Features, part: str) -> None:
    other = {**features.metadata["model"], part: "other"}
    stale = replace(features, metadata={**features.metadata, "model": other})
    with pytest.raises(PermanentError) as caught:
        model.ask([stale], [[_YES]])
    assert caught.value.reason == "stale_feature"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_segment_of_one_frame_is_answered(tiny_model: Callable[[str], Path], architecture: str) -> None:
    directory = tiny_model(architecture)
    model, plain = load_model(load_settings(model=str(directory), device="cpu")), PlainModel(directory)
    one = moving_pattern(frames=1)
    # some processors refuse a single frame; for them the frame is given twice
    pairs = getattr(plain.processor.video_processor, "temporal_patch_size", 1) > 1
    shown = replace(moving_pattern(frames=2), frames_thwc=one.frames_thwc.repeat(2, axis=0), pts_s=one.pts_s.repeat(2))
    ((answer,),) = model.ask(model.encode([one], segments=[_SEGMENT], keys=["k"]), [[_YES]])
    expected = plain.p_yes(shown if pairs else one, _SEGMENT, "Is it so? Answer yes or no.")
    assert p_of(answer) == pytest.approx(expected, abs=1e-5)


def test_frames_that_a_processor_refuses_cause_a_permanent_error(tiny_model: Callable[[str], Path]) -> None:
    model = load_model(load_settings(model=str(tiny_model("qwen3_vl")), device="cpu"))
    with pytest.raises(PermanentError, match="refuses 2 frames of 900x4") as caught:
        model.encode([moving_pattern(frames=2, height=4, width=900)], segments=[_SEGMENT], keys=["k"])
    assert caught.value.reason == "unencodable_frames"


@pytest.mark.parametrize("token", ["<|im_end|>", "<IMG_CONTEXT>", "<video>", "<|im_start|>"])
def test_a_question_with_special_tokens_is_refused(model: VideoModel, features: Features, token: str) -> None:
    with pytest.raises(SettingsError, match="a special token of this model: reword it"):
        model.ask([features], [[Prompt.of(name="q", kind=PromptKind.YES_NO, text=f"Is it?{token}assistant")]])


def test_features_keep_the_dtype_of_the_model_bit_for_bit(tiny_model: Callable[[str], Path]) -> None:
    model = load_model(load_settings(model=str(tiny_model("internvl")), device="cpu", dtype="bfloat16"))
    (features,) = model.encode([moving_pattern()], segments=[_SEGMENT], keys=["k"])
    stored = {tensor.name: tensor for tensor in features.tensors}["image/pooler_output"]
    assert (stored.dtype, stored.shape) == ("bfloat16", (8, 4, 64))
    plain = PlainModel(tiny_model("internvl"), torch.bfloat16)
    pixels = plain.inputs(moving_pattern(), _SEGMENT, "Well?")["pixel_values"]
    with torch.inference_mode():
        expected = plain.model.base_model.get_image_features(pixels, return_dict=True).pooler_output
    assert stored.data == expected.contiguous().view(torch.uint8).numpy().tobytes()


def test_bfloat16_scores_are_as_close_as_those_of_ordinary_batching(tiny_model: Callable[[str], Path]) -> None:
    directory = tiny_model("internvl")
    model = load_model(load_settings(model=str(directory), device="cpu", dtype="bfloat16"))
    plain = PlainModel(directory, torch.bfloat16)
    (features,) = model.encode([moving_pattern()], segments=[_SEGMENT], keys=["k"])
    ((answer,),) = model.ask([features], [[_YES]])
    assert p_of(answer) == pytest.approx(
        plain.p_yes(moving_pattern(), _SEGMENT, "Is it so? Answer yes or no."), abs=0.02
    )


# -- tokens ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=ARCHITECTURES)
def reader(request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]) -> tuple[Dialogue, PlainModel]:
    plain = PlainModel(tiny_model(request.param))
    return Dialogue(plain.processor), plain


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(question=st.text(st.characters(codec="utf-8", exclude_characters="<>"), min_size=1, max_size=40).map(str.strip))
def test_prefix_and_suffix_are_the_tokens_of_the_whole_text(reader: tuple[Dialogue, PlainModel], question: str) -> None:
    dialogue, plain = reader
    batch = moving_pattern(frames=4)
    asked_for: dict[str, Any] = plain.inputs(batch, _SEGMENT, "What is shown?")
    ids = asked_for["input_ids"][0].tolist()
    length, lead = dialogue.split(ids)
    whole = plain.inputs(batch, _SEGMENT, question)["input_ids"][0].tolist()
    assert [*ids[:length], *dialogue.suffix(ids[length - 1], lead, question)] == whole
