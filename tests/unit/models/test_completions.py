"""A server's texts and probabilities become answers; unlisted probability never becomes a "no"."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from fixtures.judged import Judged, judged, under
from hypothesis import assume, given
from hypothesis import strategies as st

from nightreel.domain import Band, Prompt, PromptKind, VerdictState
from nightreel.errors import PermanentError
from nightreel.models.served.completions import Completion, read_completion, to_answer

_YES = Prompt.of(name="q", kind=PromptKind.YES_NO, text="Is it?")
_CHOICE = Prompt.of(name="q", kind=PromptKind.CHOICE, text="Where?", choices=("indoors", "outdoors", "out at sea"))


def reply(text: str, *listed: tuple[str, float]) -> Completion:
    return Completion(text=text, withheld="", listed=listed, prompt_tokens=7, generated_tokens=2)


def answer(prompt: Prompt, *replies: Completion) -> Judged:
    return judged(prompt, to_answer(prompt.question, replies))


def completion(text: Any = "No.", **choice: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": text}, **choice}]}


# -- reading -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "logprobs",
    [
        {"content": [{"token": "No", "logprob": -0.5, "top_logprobs": [
            {"token": "No", "logprob": -0.5, "bytes": [78, 111]}, {"token": " yes", "logprob": -1.5}]}]},
        {"content": [{"token": "No", "top_logprobs": [
            {"token": "▁No", "logprob": -0.5}, {"token": "Ġyes", "logprob": -1.5}]}, "the second token is not read"]},
        {"content": None, "tokens": ["No"], "token_logprobs": [-0.5], "top_logprobs": [{"No": -0.5, " YES": -1.5}]},
    ],
)  # fmt: skip
def test_candidates_are_read_in_all_usual_formats(logprobs: Any) -> None:
    read = read_completion(completion(logprobs=logprobs))
    assert read.listed == (("no", math.exp(-0.5)), ("yes", math.exp(-1.5)))


@pytest.mark.parametrize(
    "logprobs",
    [
        None, {}, "none", [], {"content": None}, {"content": []}, {"top_logprobs": []}, {"top_logprobs": None},
        {"refusal": None},
    ],
)  # fmt: skip
def test_a_completion_without_listed_candidates_is_read(logprobs: Any) -> None:
    assert read_completion(completion(logprobs=logprobs)).listed == ()


def test_a_token_without_candidates_is_its_own_candidate() -> None:
    read = read_completion(completion(logprobs={"content": [{"token": "No", "logprob": -0.5, "top_logprobs": []}]}))
    assert read.listed == (("no", math.exp(-0.5)),)


def test_placeholders_for_minus_infinity_are_read_as_zero_probability() -> None:
    listed = [{"token": "no", "logprob": 0.0}, {"token": "yes", "logprob": -9999.0}]
    read = read_completion(completion(logprobs={"content": [{"token": "no", "top_logprobs": listed}]}))
    assert read.listed == (("no", 1.0), ("yes", 0.0))
    assert answer(_YES, read).p == pytest.approx(0.0, abs=1e-9)


def test_probabilities_that_sum_to_more_than_one_are_refused() -> None:
    listed = [{"token": "no", "logprob": -0.1}, {"token": "yes", "logprob": -0.1}]
    with pytest.raises(PermanentError, match="sum to 1"):
        read_completion(completion(logprobs={"content": [{"token": "no", "top_logprobs": listed}]}))


@pytest.mark.parametrize("usage", [None, 5, {}])
def test_a_completion_without_usage_counts_zero_tokens(usage: Any) -> None:
    assert read_completion({**completion(), "usage": usage}).prompt_tokens == 0


@pytest.mark.parametrize("count", ["many", -1, True, 1.5, 2**70, None])
def test_invalid_counts_are_read_as_zero(count: Any) -> None:
    assert read_completion({**completion(), "usage": {"prompt_tokens": count}}).prompt_tokens == 0


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "content", "logprobs", "top_logprobs", "token", "logprob", "usage", "refusal"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(whole=st.dictionaries(st.sampled_from(["choices", "usage", "error"]), _JSON), logprobs=_JSON, text=_JSON)
def test_any_json_gives_an_answer_or_a_permanent_error(whole: Any, logprobs: Any, text: Any) -> None:
    for value in (whole, completion(text, logprobs=logprobs)):
        with suppress(PermanentError):
            assert answer(_YES, read_completion(value)).state in (VerdictState.ANSWERED, VerdictState.UNKNOWN)


# -- yes and no --------------------------------------------------------------------------------------------------


def test_p_is_the_share_of_all_forms_of_yes() -> None:
    read = reply("Yes", ("yes", 0.4), ("yes", 0.2), ("no", 0.3), ("it", 0.05), ("the", 1e-6))
    said = answer(_YES, read)
    assert (said.value, said.text, said.prompt_tokens) == (True, "yes", 7)
    assert said.p == pytest.approx(0.6 / 0.9)
    assert said.scores == pytest.approx({"yes": 0.6 / 0.9, "no": 0.3 / 0.9})


def test_min_mass_and_doubt_apply_as_for_a_local_model() -> None:
    read = reply("The", ("the", 0.9), ("yes", 0.06), ("no", 0.03), ("a", 1e-4))
    assert answer(_YES, read).value is True
    thin = answer(under(_YES, min_mass=0.1), read)
    assert (thin.state, thin.p) == (VerdictState.UNKNOWN, pytest.approx(2 / 3))
    assert "min_mass" in (thin.reason or "")
    assert "in doubt" in (answer(under(_YES, band=Band.around(0.5, 0.5)), read).reason or "")


def test_a_close_answer_that_unlisted_tokens_could_change_is_unknown() -> None:
    close = reply("No", ("no", 0.4), ("yes", 0.35), ("maybe", 0.1))
    said = answer(_YES, close)
    assert (said.state, said.value) == (VerdictState.UNKNOWN, None)
    assert "does not list all tokens" in (said.reason or "")
    assert answer(_YES, replace(close, listed=(*close.listed, ("the", 1e-4)))).value is False


def test_several_forms_of_a_word_may_be_missing_from_a_list() -> None:
    """Each form may be as likely as the least likely candidate: five forms of yes could outweigh the no."""
    assert answer(_YES, reply("No", ("no", 0.25), ("yes", 0.06), ("the", 0.06))).state is VerdictState.UNKNOWN


def test_a_single_candidate_decides_only_if_it_has_nearly_all_probability() -> None:
    assert answer(_YES, reply("No", ("no", 0.45))).state is VerdictState.UNKNOWN
    assert answer(_YES, reply("No", ("no", 0.97))).value is False


_WORDS = ("yes", "Yes", " yes", " Yes", "YES", " YES", "no", "No", " no", " No", "NO", " NO", "maybe", "The", "It", "A")


@given(
    weights=st.lists(st.floats(1e-6, 1), min_size=len(_WORDS), max_size=len(_WORDS)),
    shown=st.integers(1, len(_WORDS)),
    threshold=st.floats(0.05, 0.95),
)
def test_an_answer_from_some_candidates_equals_that_from_all(
    weights: Sequence[float], shown: int, threshold: float
) -> None:
    """With any candidates left out, the answer is that of the whole distribution or unknown."""
    total = sum(weights)
    everything = sorted(((weight / total, word) for weight, word in zip(weights, _WORDS, strict=True)), reverse=True)
    listed = [(word.strip().lower(), probability) for probability, word in everything[:shown]]
    assume(any(word in ("yes", "no") for word, _ in listed))
    yes, no = (sum(p for p, word in everything if word.strip().lower() == wanted) for wanted in ("yes", "no"))
    assume(abs(yes / (yes + no) - threshold) > 1e-9)
    said = answer(under(_YES, band=Band(threshold, threshold)), reply("?", *listed))
    assert said.value in (None, yes / (yes + no) >= threshold)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Yes", True), ("no.", False), (" **NO** ", False), ('"yes"', True), ("Yes.\n", True), ("(no)", False),
        ("Yes, there is.", None), ("No one can tell.", None), ("yes no", None), ("not", None), ("yesterday", None),
        ("n", None), ("", None), ("...", None), ("ja", None), ("<think>no", None),
    ],
)  # fmt: skip
def test_without_candidates_only_a_bare_word_is_an_answer(text: str, value: bool | None) -> None:
    said = answer(_YES, reply(text))
    assert (said.value, said.p, said.scores) == (value, None, None)
    assert (said.reason is None) == (value is not None)


@pytest.mark.parametrize("demand", [{"band": Band(0.3, 0.3)}, {"min_mass": 0.5}, {"band": Band(0.45, 0.55)}])
def test_a_prompt_that_needs_a_probability_is_unknown_without_one(demand: dict[str, Any]) -> None:
    for text in ("yes", "no"):
        said = answer(under(_YES, **demand), reply(text))
        assert said.state is VerdictState.UNKNOWN
        assert "needs a probability" in (said.reason or "") or "need a probability" in (said.reason or "")


def test_without_yes_or_no_among_the_candidates_the_text_decides() -> None:
    assert answer(_YES, reply("\nYes", ("", 0.9), ("the", 0.05))).value is True
    assert answer(_YES, reply("The sky", ("the", 0.9), ("a", 0.05))).state is VerdictState.UNKNOWN


_KEPT = [
    (
        _YES,
        [reply("Yes.", ("yes", 0.6), ("no", 0.2), ("the", 0.02))],
        ({"yes": 0.75, "no": 0.25}, 0.8, {"yes": (0.6 / 0.92, 0.72 / 0.92)}, "Yes."),
    ),
    (
        Prompt.of(name="q", kind=PromptKind.TAGS, text="About", choices=("news", "sports")),
        [reply("No", ("no", 0.6), ("yes", 0.2), ("the", 0.02)), reply("yes", ("yes", 0.8), ("no", 0.2))],
        ({"news": 0.25, "sports": 0.8}, {"news": 0.8, "sports": 1.0}, {"news": (0.2 / 0.92, 0.32 / 0.92)}, "No,yes"),
    ),
    (
        _CHOICE,
        [reply("Indoors.", ("in", 0.5), ("outd", 0.2), ("out", 0.1), ("the", 0.01))],
        (
            {"indoors": 0.5 / 0.7, "outdoors": 0.2 / 0.7, "out at sea": 0.0},
            0.8,
            {
                "indoors": (0.5 / 0.86, 0.66 / 0.86),
                "outdoors": (0.2 / 0.86, 0.36 / 0.86),
                "out at sea": (0, 0.16 / 0.86),
            },
            "Indoors.",
        ),
    ),
    (
        Prompt.of(name="q", kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=9),
        [reply("Three.")],
        (None, None, None, "Three."),
    ),
]


@pytest.mark.parametrize(("prompt", "replies", "kept"), _KEPT, ids=lambda one: str(getattr(one, "name", "")))
def test_an_answer_keeps_text_scores_mass_and_the_bounds_of_what_is_not_listed(
    prompt: Prompt, replies: list[Completion], kept: tuple[Any, Any, Any, str]
) -> None:
    measured = to_answer(prompt.question, replies)
    scores, mass, bounds, text = kept
    assert measured.text == text
    assert measured.scores == (scores and pytest.approx(scores, abs=1e-9))
    assert measured.mass == (mass and pytest.approx(mass))
    assert (measured.bounds or {}).keys() == (bounds or {}).keys()
    for name, between in (measured.bounds or {}).items():
        assert between == pytest.approx(bounds[name], abs=1e-9)
        assert between[0] <= measured.scores[name] <= between[1] + 1e-9


# -- tags --------------------------------------------------------------------------------------------------------

_TAGS = Prompt.of(name="q", kind=PromptKind.TAGS, text="About", choices=("news", "sports"))


def test_each_tag_has_its_probability() -> None:
    said = answer(_TAGS, reply("no", ("no", 0.9), ("yes", 0.09)), reply("yes", ("yes", 0.8), ("no", 0.19)))
    assert (said.value, said.text, said.prompt_tokens) == (["sports"], "sports", 14)
    assert said.scores == pytest.approx({"news": 0.09 / 0.99, "sports": 0.8 / 0.99})
    assert said.p == pytest.approx(0.8 / 0.99)


def test_token_counts_of_tags_together_fit_the_column_of_the_table() -> None:
    many = replace(reply("no"), prompt_tokens=2**31 - 1)
    assert answer(_TAGS, many, many).prompt_tokens == 2**31 - 1


def test_one_doubtful_tag_hides_no_other() -> None:
    sure = reply("yes", ("yes", 0.9), ("no", 0.09))
    said = answer(_TAGS, sure, reply("no", ("no", 0.4), ("yes", 0.35)))
    assert (said.value, said.verdict.labels) == (["news"], {"news": "yes", "sports": "unknown"})
    said = answer(_TAGS, reply("yes"), reply("perhaps"))
    assert (said.value, said.verdict.labels) == (["news"], {"news": "yes", "sports": "unknown"})
    assert answer(_TAGS, sure, replace(sure, withheld="the server refused")).reason == "the server refused"


def test_tags_without_probabilities_are_read_from_the_text() -> None:
    said = answer(_TAGS, reply("Yes"), reply("yes", ("yes", 0.9), ("no", 0.09)))
    assert (said.value, said.p) == (["news", "sports"], pytest.approx(0.9 / 0.99))
    assert answer(_TAGS, reply("No"), reply("No")).value == []


# -- choices -----------------------------------------------------------------------------------------------------


def test_a_choice_has_the_probability_of_its_first_token() -> None:
    said = answer(_CHOICE, reply("Indoors.", ("in", 0.6), ("indoor", 0.1), ("outdoors", 0.2), ("out", 0.05)))
    assert (said.text, said.value) == ("indoors", "indoors")
    assert said.p == pytest.approx(0.7 / 0.9)
    assert said.scores == pytest.approx({"indoors": 0.7 / 0.9, "outdoors": 0.2 / 0.9, "out at sea": 0}, abs=1e-9)


def test_choices_with_the_same_start_are_told_apart_by_the_text() -> None:
    said = answer(_CHOICE, reply("outdoors", ("out", 0.9), ("in", 0.05)))
    assert (said.text, said.p) == ("outdoors", None)
    assert answer(under(_CHOICE, min_margin=0.1), reply("outdoors", ("out", 0.9))).state is VerdictState.UNKNOWN


def test_a_choice_that_contradicts_its_probabilities_is_unknown() -> None:
    said = answer(_CHOICE, reply("indoors", ("in", 0.3), ("outd", 0.6), ("the", 1e-5)))
    assert said.state is VerdictState.UNKNOWN
    assert "'outdoors' starts with likelier tokens" in (said.reason or "")


def test_choices_that_are_equally_likely_are_unknown() -> None:
    said = answer(_CHOICE, reply("indoors", ("in", 0.4), ("outd", 0.4), ("the", 1e-5)))
    assert (said.state, said.value) == (VerdictState.UNKNOWN, None)
    assert "equally likely" in (said.reason or "")


@pytest.mark.parametrize(("choice", "text"), [("U.S.", "U.S."), ("U.S.", "u.s"), ('"red"', "red"), ("(none)", "None.")])
def test_a_choice_with_punctuation_around_it_is_found(choice: str, text: str) -> None:
    assert (
        answer(replace(_CHOICE, question=replace(_CHOICE.question, choices=(choice, "other"))), reply(text)).text
        == choice
    )


@pytest.mark.parametrize("text", ["inside", "In this video, people run", "indoors or outdoors", "out", "", "sea"])
def test_a_text_that_is_not_a_choice_is_unknown(text: str) -> None:
    said = answer(_CHOICE, reply(text, ("in", 0.9), ("out", 0.05)))
    assert (said.state, said.value) == (VerdictState.UNKNOWN, None)


def test_min_mass_counts_the_first_tokens_of_choices() -> None:
    listed = (("the", 0.5), ("in", 0.3), ("outd", 0.1), ("a", 1e-5))
    assert answer(_CHOICE, reply("indoors", *listed)).text == "indoors"
    assert answer(under(_CHOICE, min_mass=0.6), reply("indoors", *listed)).state is VerdictState.UNKNOWN


@pytest.mark.parametrize("choice", ["ılık", "İstanbul", "straße", "日本", "yes"])
def test_choices_of_any_language_are_found(choice: str) -> None:
    prompt = replace(_CHOICE, question=replace(_CHOICE.question, choices=(choice, "other")))
    said = answer(prompt, reply(f" {choice}. ", (choice.casefold(), 0.9), ("other", 0.05)))
    assert (said.text, said.p) == (choice, pytest.approx(0.9 / 0.95))


@pytest.mark.parametrize("doubt", [{"min_mass": 0.5}, {"min_margin": 0.1}])
def test_a_number_that_needs_a_probability_is_unknown_on_a_server(doubt: dict[str, float]) -> None:
    number = Prompt.of(name="q", kind=PromptKind.NUMBER, text="How many?", minimum=0, maximum=9)
    assert answer(number, reply("3")).value == 3
    sure = answer(under(number, **doubt), reply("3"))
    assert (sure.state, sure.value) == (VerdictState.UNKNOWN, None)
    assert "need a probability" in (sure.reason or "")
