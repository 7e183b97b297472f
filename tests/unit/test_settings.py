from pathlib import Path

import pytest
from pydantic import SecretStr

from nightreel.errors import SettingsError
from nightreel.settings import load_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # away from any .env of the checkout


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("NIGHTREEL_CHUNK_SEGMENTS", "many", "integer"),
        ("NIGHTREEL_CHUNK_SEGMENTS", "0", "greater than or equal to 1"),
        ("NIGHTREEL_PLAN", "every:8", "uniform:N, fps:RATE:CAP or keyframes:CAP"),
        ("NIGHTREEL_DTYPE", "int3", "bfloat16"),
        ("NIGHTREEL_DEVICE", "tpu", "auto"),
        ("NIGHTREEL_WINDOW_S", "-1", "greater than or equal to 1"),
        ("NIGHTREEL_DATABASE_URL", "mysql://u:secret-4711@h/x", "postgresql://"),
        ("NIGHTREEL_MODLE", "x", "did you mean NIGHTREEL_MODEL?"),
    ],
)
def test_the_error_for_a_wrong_value_names_its_variable_and_the_expected_form(monkeypatch, variable, value, said):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert variable in str(caught.value)
    assert said in str(caught.value)
    assert "4711" not in str(caught.value)


def test_all_wrong_values_are_reported_together(monkeypatch):
    monkeypatch.setenv("NIGHTREEL_CHUNK_SEGMENTS", "many")
    monkeypatch.setenv("NIGHTREEL_PLAN", "every:8")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert len(str(caught.value).splitlines()) == 2


def test_secrets_are_never_printed(monkeypatch):
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", "postgresql://u:secret-4711@h/x")
    monkeypatch.setenv("NIGHTREEL_S3_ENDPOINT_URL", "https://key:secret-4711@h:9000/")
    settings = load_settings()
    assert isinstance(settings.database_url, SecretStr)
    assert "4711" not in repr(settings.database_url)
    assert "4711" not in str(settings.public())


def test_a_dotenv_file_is_read_and_the_environment_overrides_it(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("NIGHTREEL_PLAN=uniform:3\nNIGHTREEL_PROMPTS=a, b\n")
    assert load_settings().prompts == ("a", "b")
    monkeypatch.setenv("NIGHTREEL_PLAN", "fps:2:16")
    assert load_settings().plan == "fps:2:16"


def test_arguments_override_the_environment_unless_they_are_none(monkeypatch):
    monkeypatch.setenv("NIGHTREEL_PLAN", "uniform:3")
    assert load_settings(plan="uniform:5").plan == "uniform:5"
    assert load_settings(plan=None).plan == "uniform:3"


def test_the_usual_variable_of_the_s3_endpoint_is_also_read(monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9000")
    assert load_settings().s3_endpoint_url == "http://127.0.0.1:9000"


def test_a_secret_is_read_from_its_file_and_a_variable_overrides_it(tmp_path, monkeypatch):
    monkeypatch.delenv("NIGHTREEL_DATABASE_URL", raising=False)
    monkeypatch.setattr("nightreel.settings.SECRETS", tmp_path / "secrets")
    assert load_settings().database_url is None
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "nightreel_database_url").write_text("postgresql://u:of-a-file@h/d\n")
    assert load_settings().database_url == SecretStr("postgresql://u:of-a-file@h/d")
    monkeypatch.setenv("NIGHTREEL_DATABASE_URL", "postgresql://u:of-a-variable@h/d")
    assert load_settings().database_url == SecretStr("postgresql://u:of-a-variable@h/d")


def test_an_unreadable_secret_is_named(tmp_path, monkeypatch):
    def refuse(self, *args, **kwargs):
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / "nightreel_database_url").write_text("postgresql://u:p@h/d")
    monkeypatch.setattr("nightreel.settings.SECRETS", tmp_path)
    monkeypatch.setattr(Path, "read_bytes", refuse)  # tests may run as root, who can read everything
    with pytest.raises(SettingsError, match=r"Permission denied.*nightreel_database_url"):
        load_settings()


@pytest.mark.parametrize(("cores", "processes"), [(1, 2), (5, 5), (96, 16)])
def test_decode_processes_follow_the_cores_unless_they_are_set(
    monkeypatch: pytest.MonkeyPatch, cores: int, processes: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)))
    assert load_settings().decode_processes == processes
    assert load_settings(decode_workers=3).decode_processes == 3
