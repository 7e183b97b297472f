import pytest
from pydantic import SecretStr

from nightreel.errors import SettingsError
from nightreel.services.configured import check_prefect, database_url, without_login


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_scheme_for_postgres_becomes_that_of_psycopg(scheme: str) -> None:
    url = database_url(SecretStr(f"{scheme}://ann:p%40ss@db.example:6432/night?sslmode=require"))
    assert url.render_as_string(hide_password=False) == (
        "postgresql+psycopg://ann:p%40ss@db.example:6432/night?sslmode=require"
    )


@pytest.mark.parametrize("text", ["postgresql://ann:hunter2@db:port/x", "postgresql:ann:hunter2"])
def test_an_invalid_database_url_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(SettingsError, match="NIGHTREEL_DATABASE_URL") as caught:
        database_url(SecretStr(text))
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_prefects_url_must_be_http() -> None:
    with pytest.raises(SettingsError, match="PREFECT_API_URL='file:///etc/passwd'"):
        check_prefect("file:///etc/passwd")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://ann:hunter2@prefect.example/api", "https://prefect.example/api"),
        ("http://127.0.0.1:4200/api", "http://127.0.0.1:4200/api"),
        ("http://prefect.example", "http://prefect.example"),
    ],
)
def test_a_url_is_shown_without_credentials(url: str, shown: str) -> None:
    assert without_login(url) == shown
