"""The client of notebooks, against a real service."""

from __future__ import annotations

import io
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.clips import encode_numbers
from fixtures.work_rest import Rest
from PIL import Image

from nightreel.client import Client, Picture, ServiceError

ROOT = Path(__file__).parents[3]


@pytest.fixture
def client(rest: Rest):
    with Client(rest.url.removesuffix("/api/v1"), rest.token("read", "media", "export", "ask")) as client:
        yield client


def test_rows_are_an_arrow_table_with_the_types_of_the_view(client: Client):
    flags = client.flags(filters=["found=flagged"], columns=["uri", "severity", "worst_p", "judged_at", "ranges"])
    assert flags.schema.types == [pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC"), pa.string()]
    assert flags["severity"].to_pylist() == [3, 3]
    assert client.segments(limit=1)["frame_times_s"].to_pylist() == [[0.0]]
    assert client.coverage()["day"].type == pa.date32()
    assert client.rows("failures").num_rows == 0


def test_all_pages_come_or_as_many_rows_as_wanted(client: Client, monkeypatch):
    monkeypatch.setattr("nightreel.client.client._PAGE", 7)
    answers = client.answers()
    assert answers.num_rows == 80
    assert len(set(zip(answers["answer_id"].to_pylist(), answers["prompt_id"].to_pylist(), strict=True))) == 80
    assert client.answers(limit=10).to_pylist() == answers.slice(0, 10).to_pylist()
    assert client.verdicts(under="s3://bucket/2026/11/clean").num_rows == 4


def test_every_view_can_be_read(client: Client):
    for view, columns in client.views().items():
        assert client.rows(view).column_names == columns, view


def test_a_prompt_set_is_a_table_with_a_column_for_each_prompt(client: Client):
    table = client.wide("test", filters=["violence=yes"], columns=["uri", "violence", "flagged_prompts"])
    assert table["flagged_prompts"].to_pylist() == [["violence"], ["violence"]]
    with pytest.raises(ServiceError, match="did you mean 'wide_test'"):
        client.wide("tests")


def test_hits_of_a_search_are_a_table(client: Client, monkeypatch):
    monkeypatch.setattr("nightreel.client.client._HITS", 4)
    assert client.search("bicycle")["start_s"].to_pylist() == [30.0]
    assert client.search("street").num_rows == 19
    assert client.search("street", limit=6).num_rows == 6
    assert client.search("nowhere", under="s3://bucket/").num_rows == 0


def test_filters_of_a_search_reach_the_service(client: Client):
    assert client.search("street", from_s=0, to_s=30).num_rows == 4
    assert client.search("bicycle", from_s=0, to_s=30).num_rows == 0
    assert (
        client.search("bicycle", from_s=59, min_duration_s=150, max_duration_s=150, min_p=0, model="tiny").num_rows == 1
    )
    assert client.search("bicycle", run_id=1, until=datetime(2020, 1, 1)).num_rows == 0
    assert client.search("bicycle", since=datetime(2020, 1, 1, tzinfo=UTC)).num_rows == 1
    with pytest.raises(ServiceError, match="to_s=3"):
        client.search("street", from_s=3, to_s=3)


def test_an_export_is_a_whole_file_or_none(client: Client, tmp_path: Path):
    path = client.export("answers", tmp_path / "a.parquet", filters=["prompt=violence"])
    assert pq.read_table(path).num_rows == 20
    with pytest.raises(ServiceError, match="did you mean 'answers'"):
        client.export("answer", tmp_path / "b.csv")
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["a.parquet"]


def test_pictures_show_themselves(client: Client, rest: Rest, tmp_path: Path):
    video = rest.video_ids["clean"]
    (tmp_path / "in").mkdir()
    encode_numbers(tmp_path / "in" / "a.mp4", range(50), "-c:v", "libx264", "-pix_fmt", "yuv420p")
    rest.put_file("clean", tmp_path / "in" / "a.mp4", frame_times_s=(0.4, 1.6))
    first, second = client.frames(video)
    assert first._repr_jpeg_()[:3] == b"\xff\xd8\xff"
    assert first != second
    assert Image.open(io.BytesIO(second.jpeg)).format == "JPEG"
    assert repr(first) == "Picture()"
    first.save(tmp_path / "frame.jpg")
    assert (tmp_path / "frame.jpg").read_bytes() == first.jpeg
    assert isinstance(first, Picture)
    with pytest.raises(ServiceError) as refused:
        client.thumbnail(video)
    assert refused.value.status == 404
    (answer,) = client.ask(tmp_path / "in" / "a.mp4", "Is a red triangle visible?", kind="yes_no")
    assert answer["answer"] in ("yes", "no")


def test_an_error_has_a_status_and_a_sentence(client: Client, rest: Rest):
    with pytest.raises(ServiceError, match="did you mean 'prompt'") as refused:
        client.flags(filters=["promt=gore"])
    assert refused.value.status == 400
    with Client(rest.url, "nr_" + "a" * 43) as stranger, pytest.raises(ServiceError) as unknown:
        stranger.videos()
    assert unknown.value.status == 401
    assert "a" * 43 not in repr(stranger)
    with (
        Client("http://127.0.0.1:1", "nr_x") as nowhere,
        pytest.raises(ServiceError, match="cannot be reached") as lost,
    ):
        nowhere.videos()
    assert lost.value.status == 0


def test_a_restricted_video_is_not_in_a_table(client: Client, rest: Rest):
    assert not [uri for uri in client.videos()["uri"].to_pylist() if "bloody" in uri]
    with Client(rest.url, rest.token("read", "restricted")) as allowed:
        assert [uri for uri in allowed.videos()["uri"].to_pylist() if "bloody" in uri]


def test_it_imports_no_part_of_the_pipeline():
    program = "import sys, nightreel.client; print(*{name.split('.')[0] for name in sys.modules}, *sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert not loaded & {"torch", "prefect", "sqlalchemy", "pandas", "pydantic", "fastapi"}
    assert not [name for name in loaded if name.startswith("nightreel.") and not name.startswith("nightreel.client")]
