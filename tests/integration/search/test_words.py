"""What is found: forms of words, accents, scripts without spaces, quotes, OR, minus, beginnings."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fixtures.work_searched import Library

TEXTS = {
    "van": "A man in a red jacket walks across a parking lot to a white van.",
    "dogs": "Two dogs are running over the beach; a child runs after them.",
    "cafe": "People drink coffee in a café near the Champs-Élysées.",
    "trouble": "Großer Ärger vor der Tür: Øystein verlässt Łódź.",
    "street": "夜晚的街道上,一个穿红色T恤的人骑着自行车。",
    "train": "駅のホームで電車を待つ人々。ガラスの窓が見える。",
    "korean": "공원에서 자전거를 타는 사람들이 있습니다.",
    "mixed": "有人拿着iPhone手机拍摄dog狗狗视频。",
    "thai": "ผู้ชายขี่จักรยานบนถนน",
    "russian": "Красный автомобиль едет по улице",
    "wide": "ＴＡＸＩ stops, ｶﾒﾗ in hand",
    "joined": "A well-known state-of-the-art robot isn't moving: user@example.com",
}


@pytest.fixture
def found(library: Library) -> Callable[[str], set[str]]:
    library.add({name: {"caption": said} for name, said in TEXTS.items()})
    return lambda words: set(library.found(words))


@pytest.mark.parametrize(
    ("words", "names"),
    [
        pytest.param("walking", {"van"}, id="another form of the word"),
        pytest.param("run dog", {"dogs"}, id="two words in any order"),
        pytest.param("the beach", {"dogs"}, id="a stop word is not asked for"),
        pytest.param("the", {"dogs", "cafe", "joined"}, id="a stop word alone is"),
        pytest.param("RED", {"van"}, id="capitals"),
        pytest.param("cafe", {"cafe"}, id="an accent is left out"),
        pytest.param("Café", {"cafe"}, id="an accent is given"),
        pytest.param("Cafe\u0301", {"cafe"}, id="an accent of its own"),
        pytest.param("arger", {"trouble"}, id="an umlaut is left out"),
        pytest.param("Ärger", {"trouble"}, id="an umlaut is given"),
        pytest.param("grosser lodz oystein", {"trouble"}, id="letters that are no accents"),
        pytest.param("champs elysees", {"cafe"}, id="a word with a hyphen"),
        pytest.param("自行车", {"street"}, id="Chinese"),
        pytest.param("街道上", {"street"}, id="Chinese, part of a sentence"),
        pytest.param("行车", {"street"}, id="Chinese, part of a word"),
        pytest.param("车", {"street"}, id="one character, the last one"),
        pytest.param("夜", {"street"}, id="one character, the first one"),
        pytest.param("街上", set(), id="Chinese, not in a row"),
        pytest.param("道街", set(), id="Chinese, turned round"),
        pytest.param("红色T恤的人", {"street"}, id="Chinese with a Latin letter"),
        pytest.param("電車を待つ", {"train"}, id="Japanese"),
        pytest.param("ガラス", {"train"}, id="Katakana"),
        pytest.param("カラス", set(), id="Katakana: another sound is another word"),
        pytest.param("자전거", {"korean"}, id="Korean, before a particle"),
        pytest.param("전거를", {"korean"}, id="Korean, part of a word"),
        pytest.param("iphone手机", {"mixed"}, id="mixed, in a row"),
        pytest.param("手机iphone", set(), id="mixed, turned round"),
        pytest.param("手机 iphone", {"mixed"}, id="mixed, as two words"),
        pytest.param("狗狗 dogs", {"mixed"}, id="mixed, with another form of the word"),
        pytest.param("จักรยาน", {"thai"}, id="Thai"),
        pytest.param("АВТОМОБИЛЬ", {"russian"}, id="Russian capitals"),
        pytest.param("taxi", {"wide"}, id="wide Latin letters"),
        pytest.param("カメラ", {"wide"}, id="narrow Japanese letters"),
        pytest.param('"red jacket"', {"van"}, id="in a row"),
        pytest.param('"jacket red"', set(), id="not in this row"),
        pytest.param('"running over"', {"dogs"}, id="in a row, as written"),
        pytest.param('"run over"', set(), id="in a row, in another form"),
        pytest.param("“red jacket”", {"van"}, id="typographic quotes"),
        pytest.param('"red jacket', {"van"}, id="a quote that is not closed"),
        pytest.param("van OR dog", {"van", "dogs", "mixed"}, id="one or the other"),
        pytest.param("van OR dogs beach", {"dogs"}, id="OR binds its neighbours"),
        pytest.param("van OR", {"van"}, id="OR without another word"),
        pytest.param("OR van", {"van"}, id="OR without a word before it"),
        pytest.param("dogs -beach", {"mixed"}, id="without a word"),
        pytest.param('dogs -"over the beach"', {"mixed"}, id="without words in a row"),
        pytest.param("dog -狗狗", {"dogs"}, id="without Chinese"),
        pytest.param("jack*", {"van"}, id="a beginning"),
        pytest.param("Élys*", {"cafe"}, id="a beginning with an accent"),
        pytest.param("runn*", {"dogs"}, id="a beginning that is no stem"),
        pytest.param("state-of-the-art", {"joined"}, id="a compound"),
        pytest.param("user@example.com", {"joined"}, id="an address"),
        pytest.param("isn't", {"joined"}, id="an apostrophe"),
    ],
)
def test_these_words_find_these_texts(found, words, names):
    assert found(words) == names


def test_no_phrase_goes_from_one_text_to_the_next(library):
    library.add({"clip": {"caption": "a red", "why": "jacket", "scene": "outdoors"}})
    assert library.found("red jacket outdoors") == ["clip"]
    assert library.found('"red jacket"') == library.found('"outdoors a"') == []


def test_a_tag_comes_before_a_caption_and_a_caption_before_a_text(library):
    library.add(
        {
            "text": {"caption": "a garden", "why": "outdoors"},
            "tag": {"caption": "a garden", "scene": "outdoors"},
            "caption": {"caption": "outdoors", "why": "a garden"},
        }
    )
    assert library.found("outdoors") == ["tag", "caption", "text"]


def test_the_words_that_were_found_are_marked(library):
    library.add({name: {"caption": said} for name, said in TEXTS.items()})

    def marked(words: str) -> list[list[str]]:
        return [[part for part, is_marked in hit.snippet.parts() if is_marked] for hit in library.page(words).hits]

    assert marked("runs beach") == [["running", "beach", "runs"]]
    assert marked("cafe elys*") == [["café", "Élysées"]]
    assert marked("自行车") == [["自行车"]]
    assert marked("T恤") == [["T恤"]]
