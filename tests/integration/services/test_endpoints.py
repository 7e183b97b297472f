"""Configured services are used, and no embedded service is started in their place."""

from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy import create_engine, make_url, text

from nightreel.errors import PermanentError, TransientError
from nightreel.services import down, open_services, status
from nightreel.services.state import free_port
from nightreel.settings import Settings


def configured(settings: Settings, database_url: str, prefect_api_url: str | None = None) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(database_url), "prefect_api_url": prefect_api_url})


def test_configured_services_are_used_and_nothing_is_started(
    service_settings: Settings, empty_database_url: str, answering_url: str
) -> None:
    # The scheme that people write, not the one SQLAlchemy expects.
    settings = configured(service_settings, empty_database_url.replace("postgresql+psycopg", "postgres"), answering_url)
    with open_services(settings) as endpoints:
        assert endpoints.started == ()
        assert endpoints.prefect_api_url == answering_url
        assert endpoints.database_url == empty_database_url
        engine = create_engine(endpoints.database_url)
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
        engine.dispose()
    assert not settings.work_dir.exists()
    assert [(service.name, service.state) for service in status(settings)] == [
        ("postgres", "external"),
        ("prefect", "external"),
    ]
    assert str(make_url(empty_database_url).password) not in repr(status(settings))
    assert down(settings) == []
    assert not settings.work_dir.exists()


def test_a_database_that_does_not_answer_is_named_without_its_password(service_settings: Settings) -> None:
    port = free_port()
    settings = configured(service_settings, f"postgresql://ann:hunter2@127.0.0.1:{port}/night")
    with pytest.raises(TransientError, match=f"127.0.0.1:{port}") as caught, open_services(settings, prefect=False):
        pass
    assert caught.value.reason == "database_unreachable"
    assert "hunter2" not in str(caught.value)
    postgres = status(settings)[0]
    assert postgres.state == "broken"
    assert str(port) in postgres.detail
    assert "hunter2" not in repr(postgres)


@pytest.mark.parametrize("change", [{"password": "hunter2"}, {"database": "hunter2_database"}])
def test_a_database_that_refuses_causes_a_permanent_error(
    service_settings: Settings, empty_database_url: str, change: dict[str, str]
) -> None:
    url = make_url(empty_database_url).set(**change).render_as_string(hide_password=False)  # type: ignore[arg-type]
    settings = configured(service_settings, url)
    with pytest.raises(PermanentError, match="Check user, password") as caught, open_services(settings, prefect=False):
        pass
    assert caught.value.reason == "database_refused"
    assert "password=hunter2" not in str(caught.value)
    assert str(make_url(url).password) not in str(caught.value)


def test_a_prefect_server_that_does_not_answer_is_named(service_settings: Settings) -> None:
    settings = service_settings.model_copy(update={"prefect_api_url": f"http://127.0.0.1:{free_port()}/api"})
    with pytest.raises(TransientError, match="PREFECT_API_URL") as caught, open_services(settings, postgres=False):
        pass
    assert caught.value.reason == "prefect_unreachable"
    assert not settings.work_dir.exists()


def test_all_services_are_stopped_before_the_first_start(service_settings: Settings) -> None:
    assert [(service.state, service.detail) for service in status(service_settings)] == [
        ("stopped", "never started here")
    ] * 2
    assert down(service_settings) == []
    assert not service_settings.work_dir.exists()


def test_the_error_for_an_unwritable_work_directory_names_the_setting(tmp_path: Path) -> None:
    (tmp_path / "work").touch()
    settings = Settings(work_dir=tmp_path / "work", database_url=None, prefect_api_url=None)
    with pytest.raises(PermanentError, match="NIGHTREEL_WORK_DIR") as caught, open_services(settings, prefect=False):
        pass
    assert caught.value.reason == "work_dir_unusable"
    assert str(tmp_path / "work") in caught.value.detail


def test_an_error_of_the_body_passes_unchanged(service_settings: Settings, empty_database_url: str) -> None:
    settings = configured(service_settings, empty_database_url)
    with pytest.raises(FileNotFoundError), open_services(settings, prefect=False):
        raise FileNotFoundError("a video")
