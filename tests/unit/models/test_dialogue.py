"""Suffix tokens are those of the whole text for every kind of tokenizer."""

from __future__ import annotations

import string
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from nightreel.errors import PermanentError, SettingsError
from nightreel.models.inprocess.dialogue import PROBE, Dialogue

_CORPUS = [
    "USER: what is shown in this video? ASSISTANT: a dog runs over the wet grass, and then it stops; a cat too.",
    "How many people can be seen? Answer with a number. Is it indoors, outdoors or in a studio?",
] * 5
_SPECIAL = ["<s>", "</s>", "<unk>", "<video>", "<frame>"]
_QUESTIONS = ["What is shown?", "How many people can be seen?", "Qué?  two", "dog", "e", ".,:", "日本語 🎬", "\ttab"]


def _byte_level() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(_CORPUS, trainers.BpeTrainer(special_tokens=_SPECIAL, initial_alphabet=alphabet))
    return tokenizer


def _bpe_trainer() -> trainers.BpeTrainer:
    return trainers.BpeTrainer(special_tokens=_SPECIAL, initial_alphabet=list(string.printable))


def _metaspace(scheme: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme=scheme)
    tokenizer.train_from_iterator(_CORPUS, _bpe_trainer())
    return tokenizer


def _legacy_llama() -> Tokenizer:
    """A tokenizer whose normalizer prepends a space to every stretch of text."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    tokenizer.train_from_iterator(_CORPUS, _bpe_trainer())
    return tokenizer


def _words() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    split = pre_tokenizers.Split(Regex(r"[?:.,!]"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), split])
    tokenizer.train_from_iterator(_CORPUS, trainers.WordLevelTrainer(special_tokens=_SPECIAL))
    return tokenizer


_TOKENIZERS = {
    "byte-level BPE": _byte_level,
    "metaspace, first": lambda: _metaspace("first"),
    "metaspace, always": lambda: _metaspace("always"),
    "legacy llama": _legacy_llama,
    "words": _words,
}


class _Processor:
    """The parts of a processor that Dialogue uses: a tokenizer, a template, and the expansion of a video."""

    video_token = "<video>"

    def __init__(self, tokenizer: Tokenizer, *, head: str, tail: str, expansion: str) -> None:
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
        )
        self._head, self._tail, self._expansion = head, tail, expansion

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> str:
        return f"{self._head}{messages[0]['content'][1]['text']}{self._tail}"

    def whole(self, question: str) -> list[int]:
        text = f"{self._head}{question}{self._tail}".replace("<video>", self._expansion)
        return self.tokenizer(text).input_ids


@pytest.fixture(params=_TOKENIZERS)
def tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    return _TOKENIZERS[request.param]()


@pytest.mark.parametrize(
    ("head", "tail", "expansion"),
    [
        ("<s>USER: <video>\n", " ASSISTANT:", "<frame><frame>"),
        ("<s>USER: <video>", "</s>ASSISTANT:", "<frame> then <frame>"),
        ("USER: <video>in this video: ", "</s>\n<s>ASSISTANT: ", "<frame>"),
        ("<s>USER: <s><video></s> ", "</s>", "<frame>"),
    ],
)
def test_prefix_and_suffix_together_equal_the_whole_text(
    tokenizer: Tokenizer, head: str, tail: str, expansion: str
) -> None:
    processor = _Processor(tokenizer, head=head, tail=tail, expansion=expansion)
    dialogue = Dialogue(processor)
    probe = processor.whole(PROBE)
    length, lead = dialogue.split(probe)
    for question in _QUESTIONS:
        ids = processor.whole(question)
        assert [*probe[:length], *dialogue.suffix(probe[length - 1], lead, question)] == ids


@pytest.mark.parametrize("kind", [kind for kind in _TOKENIZERS if kind != "words"])
def test_text_after_the_video_precedes_each_question(kind: str) -> None:
    expansion = "0.5 s: <frame>, 1.0 s: <frame>; "
    processor = _Processor(_TOKENIZERS[kind](), head="<s>USER: <video>", tail=" ASSISTANT:", expansion=expansion)
    dialogue = Dialogue(processor)
    probe = processor.whole(PROBE)
    length, lead = dialogue.split(probe)
    assert lead.strip() == ";"
    for question in _QUESTIONS:
        assert [*probe[:length], *dialogue.suffix(probe[length - 1], lead, question)] == processor.whole(question)


def test_text_after_the_video_that_cannot_be_read_back_is_unsupported() -> None:
    processor = _Processor(_words(), head="<s><video>", tail=" ASSISTANT:", expansion="<frame>; ")
    with pytest.raises(PermanentError, match="merges the end of the video with the question"):
        Dialogue(processor).split(processor.whole(PROBE))


def test_a_template_without_a_special_token_before_the_question_is_unsupported(tokenizer: Tokenizer) -> None:
    with pytest.raises(PermanentError, match="no special token between the video and the question") as caught:
        Dialogue(_Processor(tokenizer, head="USER: video ", tail="</s>", expansion=""))
    assert caught.value.reason == "unsupported_model"


def test_a_template_that_repeats_the_question_is_unsupported(tokenizer: Tokenizer) -> None:
    processor = _Processor(tokenizer, head="<video>", tail="</s>", expansion="<frame>")
    processor.apply_chat_template = lambda messages, **_: "<video>" + 2 * messages[0]["content"][1]["text"]  # type: ignore[method-assign]
    with pytest.raises(PermanentError, match="shows a question 2 times"):
        Dialogue(processor)


def test_questions_can_contain_added_tokens_but_not_special_ones(tokenizer: Tokenizer) -> None:
    tokenizer.add_tokens([AddedToken("<think>", normalized=False)])
    dialogue = Dialogue(_Processor(tokenizer, head="<s><video>", tail="</s>", expansion="<frame>"))
    dialogue.check("What does <think> mean?")
    for token in ("<video>", "</s>"):
        with pytest.raises(SettingsError, match="a special token of this model"):
            dialogue.check(f"What does {token} mean?")
