"""Where settings come from: names in every place are checked, files are UTF-8 text, and an empty value is unset."""

from __future__ import annotations

import pytest

from nightreel.errors import SettingsError
from nightreel.settings import Settings, load_settings, where_set


@pytest.fixture(autouse=True)
def secrets(tmp_path, monkeypatch):
    """An own directory without `.env`, no variables of ours, and an own directory of secret files."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "NIGHTREEL_SOURCE",
        "NIGHTREEL_MODEL",
        "NIGHTREEL_DATABASE_URL",
        "PREFECT_API_URL",
        "PREFECT_API_AUTH_STRING",
    ):
        monkeypatch.delenv(name, raising=False)
    directory = tmp_path / "secrets"
    directory.mkdir()
    monkeypatch.setattr("nightreel.settings.SECRETS", directory)
    return directory


def refusal() -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


MISSPELT = {
    "NIGHTREEL_MODLE": "NIGHTREEL_MODEL",
    "nightreel_modle": "NIGHTREEL_MODEL",
    "NIGHTREL_SOURCE": "NIGHTREEL_SOURCE",
    "NIGTHREEL_PROMPTS": "NIGHTREEL_PROMPTS",
    "NIGHTREEL_WORKPOOL": "NIGHTREEL_WORK_POOL",
}


@pytest.mark.parametrize(("name", "meant"), MISSPELT.items())
@pytest.mark.parametrize("place", ["environment", ".env", "secret file"])
def test_a_misspelt_name_is_refused_in_every_place(place, name, meant, tmp_path, monkeypatch, secrets):
    if place == "environment":
        monkeypatch.setenv(name, "x")
    elif place == ".env":
        (tmp_path / ".env").write_text(f"# mine\n{name}=x\n")
    else:
        (secrets / name.lower()).write_text("x\n")
    said = refusal()
    assert said.startswith(name.upper())
    assert f"did you mean {meant}?" in said
    assert place in ("environment", "secret file") or "(.env)" in said


def test_all_misspelt_names_are_reported_together(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("NIGHTREEL_MODLE=x\nexport NIGHTREEL_PLANN=x\n")
    monkeypatch.setenv("NIGHTREEL_SOURCES", "x")
    assert len(refusal().splitlines()) == 3


@pytest.mark.parametrize("line", ["NIGHTLY_BUILD=1", "OTHER_MODEL=1", "some words", "REEL=2", "# NIGHTREEL_MODLE=x"])
def test_lines_of_other_programs_are_left_alone(line, tmp_path):
    (tmp_path / ".env").write_text(f"{line}\nNIGHTREEL_PLAN=uniform:3\n")
    assert load_settings().plan == "uniform:3"


@pytest.mark.parametrize(
    "line", ["NIGHTREEL_MODEL", "NIGHTREEL_MODEL: demo", "NIGHTREEL_MODEL='demo", "set NIGHTREEL_MODEL=x"]
)
def test_a_line_about_a_setting_that_is_not_an_assignment_is_refused(line, tmp_path):
    (tmp_path / ".env").write_text(f"\n\n{line}\n")
    said = refusal()
    assert "NIGHTREEL_MODEL" in said
    assert "line 3" in said


@pytest.mark.parametrize(
    "content",
    [
        "NIGHTREEL_MODEL=mod\xe8le\n".encode("latin-1"),
        "NIGHTREEL_MODEL=x\n".encode("utf-16"),
        "NIGHTREEL_MODEL=x\n".encode("utf-16-le"),
        "NIGHTREEL_MODEL=\u30e2\u30c7\u30eb\n".encode("shift-jis"),
    ],
    ids=["latin-1", "utf-16 with a mark", "utf-16 without a mark", "shift-jis"],
)
@pytest.mark.parametrize("place", [".env", "secret file"])
def test_a_file_in_another_encoding_is_named(content, place, tmp_path, secrets):
    path = tmp_path / ".env" if place == ".env" else secrets / "nightreel_model"
    path.write_bytes(content)
    said = refusal()
    assert path.name in said
    assert "save it as UTF-8" in said


def test_a_byte_order_mark_hides_no_line(tmp_path):
    (tmp_path / ".env").write_bytes("NIGHTREEL_PLAN=uniform:3\n".encode("utf-8-sig"))
    assert load_settings().plan == "uniform:3"


@pytest.mark.parametrize("blank", ["", " ", "''"])
def test_an_empty_value_is_unset_in_every_place(blank, tmp_path, monkeypatch, secrets):
    lines = "".join(f"NIGHTREEL_{name.upper()}={blank}\n" for name in Settings.model_fields)
    (tmp_path / ".env").write_text(f"{lines}PREFECT_API_URL={blank}\n")
    for name in ("model", "gpu_memory_mib", "plan", "suffixes", "database_url"):
        (secrets / f"nightreel_{name}").write_text("\n")
        monkeypatch.setenv(f"NIGHTREEL_{name.upper()}", blank.strip("'"))
    assert load_settings() == Settings.model_construct()
    assert where_set() == {}


def test_an_empty_value_hides_no_value_of_another_place(tmp_path, monkeypatch, secrets):
    monkeypatch.setenv("NIGHTREEL_PLAN", "")
    monkeypatch.setenv("NIGHTREEL_MODEL", "")
    (tmp_path / ".env").write_text("NIGHTREEL_PLAN=uniform:3\nNIGHTREEL_MODEL=\n")
    (secrets / "nightreel_model").write_text("of-a-file")
    assert (load_settings().plan, load_settings().model) == ("uniform:3", "of-a-file")
    assert where_set() == {
        "plan": ("NIGHTREEL_PLAN", ".env"),
        "model": ("NIGHTREEL_MODEL", str(secrets / "nightreel_model")),
    }


def test_a_star_selects_files_with_any_ending(monkeypatch):
    monkeypatch.setenv("NIGHTREEL_SUFFIXES", "*")
    assert load_settings().suffixes == ()


def test_a_wrong_value_names_its_place_or_its_option(tmp_path, monkeypatch):
    (tmp_path / ".env").write_text("NIGHTREEL_PLAN=every:8\n")
    assert "NIGHTREEL_PLAN='every:8' in .env" in refusal()
    with pytest.raises(SettingsError, match=r"^--plan='often'"):
        load_settings(plan="often")
    with pytest.raises(SettingsError, match=r"^--pool='!'"):
        load_settings(plan="uniform:3", work_pool="!")


def test_bytes_that_are_not_text_in_a_variable_are_refused(monkeypatch):
    monkeypatch.setenv("NIGHTREEL_WORK_DIR", "videos-\udcff")
    assert "NIGHTREEL_WORK_DIR" in refusal()
    assert "not UTF-8" in refusal()
