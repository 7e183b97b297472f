from __future__ import annotations

import secrets

import pytest

from nightreel.accounts.passwords import check_password, hash_password, is_outdated, is_password, new_password
from nightreel.errors import SettingsError

GOOD = "correct horse battery staple"


def test_a_password_has_its_hash_and_no_other_one() -> None:
    stored = hash_password(GOOD)
    assert stored.startswith("$argon2id$")
    assert is_password(GOOD, stored)
    assert not is_password(GOOD + " ", stored)
    assert not is_outdated(stored)
    assert hash_password(GOOD) != stored


@pytest.mark.parametrize("stored", [None, "", "$argon2id$", "plain text"])
def test_no_password_fits_where_there_is_no_hash(stored: str | None) -> None:
    assert not is_password(GOOD, stored)
    assert not is_password("", stored)


@pytest.mark.parametrize("hostile", ["\x00", "\ud800", "é" * 5000, ""])
def test_hostile_passwords_are_wrong_and_break_nothing(hostile: str) -> None:
    assert not is_password(hostile, hash_password(GOOD))


def test_a_hash_with_weaker_parameters_is_outdated() -> None:
    assert is_outdated("$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$vSTSkm1jDEg9PJyKGFmTnzYCKjKVFTOhJnEWdKaxWNY")


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("short", "has 5 characters"),
        ("x" * 1025, "has 1025 characters"),
        ("aaaaaaaaaaaaaaaaa", "repeats"),
        ("annabel-annabel", "contains the name"),
        ("MY-ANNABEL-PASSWORD", "contains the name"),
    ],
)
def test_a_weak_password_is_refused_without_being_repeated(password: str, why: str) -> None:
    with pytest.raises(SettingsError, match=why) as caught:
        check_password(password, name="annabel")
    assert password not in str(caught.value)


def test_any_characters_make_a_good_password() -> None:
    check_password("пароль, который длинный", name="ann")
    check_password(GOOD, name="x")


def test_new_passwords_are_good_and_differ() -> None:
    made = {new_password(name="ann") for _ in range(50)}
    assert len(made) == 50
    for password in made:
        check_password(password, name="ann")


def test_a_new_password_does_not_contain_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = iter("xxann" + "bcdef" * 3 + "hjkmn" * 4)
    monkeypatch.setattr(secrets, "choice", lambda _: next(drawn))
    assert new_password(name="Ann") == "hjkmn-hjkmn-hjkmn-hjkmn"
