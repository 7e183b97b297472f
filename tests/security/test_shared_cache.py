"""Whoever can write to the place of the cache decides no answer, ends no run, and makes no file cost much memory."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fixtures.work_cache import KEYS
from fixtures.work_cache import features as features_of
from sqlalchemy import text

from nightreel.cache.features import FeatureCache
from nightreel.cache.parquet import _SCHEMA, from_parquet, to_parquet
from nightreel.cache.signing import CacheKeys
from nightreel.database.connection import Database
from nightreel.domain import Features, StoredTensor
from nightreel.errors import NightreelError, PermanentError, SettingsError
from nightreel.settings import load_settings
from nightreel.stages.cache import open_cache, rotate_cache_key
from nightreel.storage import Storage, open_storage

KEY, OTHER = "ab" * 32, "cd" * 32
OURS = features_of(KEY)
STRANGERS = CacheKeys([secrets.token_bytes(32)])
MIB = 1 << 20


@dataclass
class Place:
    """A cache, its storage, and the number of files that it did not accept."""

    storage: Storage
    rejected: list[None] = field(default_factory=list)

    @property
    def cache(self) -> FeatureCache:
        return self.with_keys(KEYS)

    def with_keys(self, keys: CacheKeys) -> FeatureCache:
        return FeatureCache(self.storage, keys=keys, on_rejected=lambda: self.rejected.append(None))

    def plant(self, data: bytes, key: str = KEY) -> str:
        return self.storage.publish(FeatureCache.name_of(key), data).uri


@pytest.fixture(params=["directory", "bucket"])
def place(request, tmp_path) -> Place:
    if request.param == "bucket":
        return Place(open_storage(f"s3://{request.getfixturevalue('s3_bucket')}/features", load_settings()))
    return Place(open_storage(str(tmp_path / "features"), load_settings()))


@pytest.fixture
def directory(tmp_path) -> Place:
    return Place(open_storage(str(tmp_path / "features"), load_settings()))


def changed(features: Features) -> Features:
    """The same tensors with other content: what an attacker wants to be asked about."""
    tensors = tuple(replace(tensor, data=b"\x01" * len(tensor.data)) for tensor in features.tensors)
    return replace(features, tensors=tensors)


def rewritten(features: Features, *, values: list[bytes] | None = None, **options) -> bytes:
    """A file with the metadata of features, and the values and options of pyarrow that an attacker likes."""
    table = pq.read_table(pa.BufferReader(to_parquet(features)))
    if values is not None:
        rows = len(values)
        columns = [
            pa.array(["video/pooler"] * rows),
            pa.array([None] * rows, pa.int32()),
            pa.array([None] * rows, pa.float64()),
            pa.array([[2, 500]] * rows, pa.list_(pa.int64())),
            pa.array(["uint8"] * rows),
            pa.array(values, pa.large_binary()),
        ]
        table = pa.Table.from_arrays(columns, schema=_SCHEMA.with_metadata(table.schema.metadata))
    sink = pa.BufferOutputStream()
    plain = {"compression": "none", "use_dictionary": False, "write_statistics": False, "write_page_checksum": True}
    pq.write_table(table, sink, **{**plain, **options})
    return sink.getvalue().to_pybytes()


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def without_mac(signed: bytes) -> bytes:
    place = signed.index(b"nightreel-mac-1\0") + 16
    return signed[:place] + bytes(32) + signed[place + 32 :]


# Each was adopted by the version before, or cost it memory.
PLANTED: dict[str, Callable[[], bytes]] = {
    "a file without a MAC": lambda: to_parquet(changed(OURS)),
    "a file of another database": lambda: STRANGERS.sign(to_parquet(changed(OURS)), KEY),
    "our file of another key": lambda: KEYS.sign(to_parquet(features_of(OTHER)), OTHER),
    "our file of another key that says it is of this one": lambda: KEYS.sign(to_parquet(changed(OURS)), OTHER),
    "our file with a changed page": lambda: flipped(KEYS.sign(to_parquet(OURS), KEY), 60),
    "our file with a changed end": lambda: flipped(KEYS.sign(to_parquet(OURS), KEY), -40),
    "a MAC of zeros": lambda: without_mac(KEYS.sign(to_parquet(OURS), KEY)),
    "a file of compressed zeros": lambda: rewritten(OURS, values=[bytes(32 * MIB)] * 2, compression="zstd"),
    "a dictionary that repeats one value": lambda: rewritten(OURS, values=[bytes(MIB)] * 64, use_dictionary=True),
    "text": lambda: b"PAR1 not really",
    "nothing": lambda: b"",
    "a footer of 4 GiB": lambda: b"PAR1" + b"\xff" * 4 + b"PAR1",
}


@pytest.mark.parametrize("planted", PLANTED.values(), ids=PLANTED.keys())
def test_a_planted_file_is_replaced_and_counted(directory, planted, caplog):
    uri = directory.plant(planted())
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    ref = directory.cache.put(OURS)
    assert directory.cache.get(ref) == OURS
    assert (ref.uri, len(directory.rejected)) == (uri, 1)
    assert uri in caplog.text
    assert pool.bytes_allocated() - before < 4 * MIB


def test_a_planted_file_in_a_bucket_is_replaced_too(place):
    uri = place.plant(to_parquet(changed(OURS)))
    ref = place.cache.put(OURS)
    assert place.cache.get(ref) == OURS
    assert (ref.uri, len(place.rejected)) == (uri, 1)


def test_a_file_that_this_cache_signed_is_kept_even_after_a_plain_copy_elsewhere(place, tmp_path):
    ref = place.cache.put(OURS)
    other = Place(open_storage(str(tmp_path / "copy"), load_settings()))
    other.plant(place.storage.read(ref.uri))
    again = other.cache.put(replace(OURS, metadata={"another": "version"}))
    assert (again.sha256, other.rejected, place.rejected) == (ref.sha256, [], [])
    assert other.cache.get(again) == OURS


def test_a_signed_file_is_one_that_any_reader_of_parquet_reads(directory):
    ref = directory.cache.put(OURS)
    table = pq.read_table(ref.uri.removeprefix("file://"))
    assert table["data"].to_pylist() == [OURS.tensors[0].data[:500], OURS.tensors[0].data[500:]]


@pytest.mark.parametrize("thing", ["a directory", "a link to nothing", "a file instead of the directory", "a pipe"])
def test_what_stands_in_the_place_of_a_file_is_put_aside(directory, tmp_path, thing):
    path = tmp_path / "features" / FeatureCache.name_of(KEY)
    if thing == "a file instead of the directory":
        path = path.parent
    path.parent.mkdir(parents=True)
    match thing:
        case "a directory":
            (path / "full").mkdir(parents=True)
        case "a link to nothing":
            path.symlink_to(tmp_path / "nowhere")
        case "a pipe":
            os.mkfifo(path)
        case _:
            path.write_bytes(b"")
    ref = directory.cache.put(OURS)
    assert directory.cache.get(ref) == OURS
    assert not (tmp_path / "nowhere").exists()


def test_tensors_that_the_model_would_not_make_are_not_accepted_even_with_a_mac(directory):
    tensor = replace(OURS.tensors[0], shape=(4, 250))
    directory.plant(KEYS.sign(to_parquet(replace(OURS, tensors=(tensor,))), KEY))
    assert directory.cache.get(directory.cache.put(OURS)) == OURS
    assert len(directory.rejected) == 1


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(lambda: rewritten(OURS, values=[bytes(32 * MIB)] * 2, compression="zstd"), id="compressed"),
        pytest.param(lambda: rewritten(OURS, values=[bytes(MIB)] * 64, use_dictionary=True), id="dictionary"),
        pytest.param(lambda: rewritten(OURS, row_group_size=1), id="row groups"),
        pytest.param(lambda: rewritten(replace(OURS, tensors=(replace(OURS.tensors[0], dtype="load"),))), id="dtype"),
        pytest.param(
            lambda: rewritten(OURS, use_dictionary=False, column_encoding={"data": "DELTA_BYTE_ARRAY"}), id="encoding"
        ),
        pytest.param(lambda: rewritten(OURS, values=[None] * 300_000, row_group_size=1 << 21), id="rows"),  # type: ignore[list-item]
        pytest.param(lambda: rewritten(OURS, data_page_version="2.0"), id="pages"),
    ],
)
def test_what_a_file_declares_is_checked_before_it_is_read_even_if_its_row_promises_it(directory, data):
    """A version before could record the SHA-256 of a planted file."""
    content = data()
    uri = directory.plant(content)
    pool = pa.default_memory_pool()
    before = pool.bytes_allocated()
    ref = directory.cache.put(features_of(OTHER))
    ref = replace(ref, key=KEY, uri=uri, size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
    with pytest.raises(PermanentError, match="damaged_feature"):
        directory.cache.get(ref)
    assert pool.bytes_allocated() - before < 4 * MIB
    assert not directory.storage.exists(uri)


def test_a_footer_with_any_flipped_bit_is_read_or_refused_and_ends_no_process():
    data = to_parquet(OURS)
    for position in range(len(data) - 1200, len(data)):
        for bit in (0, 3, 6):
            broken = bytearray(data)
            broken[position] ^= 1 << bit
            try:
                found = from_parquet(bytes(broken), key=KEY)
            except ValueError:
                continue
            assert found == OURS


def test_a_file_that_grew_since_it_was_recorded_is_not_read(place):
    ref = place.cache.put(OURS)
    place.storage.delete(ref.uri)
    place.plant(bytes(8 * MIB))
    read: list[int | None] = []
    original = place.storage.read

    def reading(uri, *, max_bytes=None):
        read.append(max_bytes)
        return original(uri, max_bytes=max_bytes)

    place.storage.read = reading
    with pytest.raises(PermanentError, match="damaged_feature"):
        place.cache.get(ref)
    assert read == [ref.size_bytes]


def test_a_planted_thumbnail_is_replaced(place):
    place.storage.publish(f"{KEY[:2]}/{KEY}.jpg", b"another picture")
    uri = place.cache.put_thumbnail(KEY, b"jpeg")
    assert place.storage.read(uri) == b"jpeg"
    assert place.cache.put_thumbnail(KEY, b"jpeg") == uri


# -- keys --------------------------------------------------------------------------------------------------------


def test_each_database_has_its_own_key_and_keeps_it(database, tmp_path):
    settings = load_settings(cache_url=str(tmp_path / "features"))
    ref = open_cache(settings, database).put(OURS)
    rejected: list[None] = []
    cache = open_cache(settings, database, on_rejected=lambda: rejected.append(None))
    assert cache.put(OURS) == ref
    assert rejected == []
    Place(open_storage(settings.cache_prefix, settings)).cache.put(OURS)
    with pytest.raises(PermanentError, match="damaged_feature"):
        cache.get(replace(ref, sha256="0" * 64))


def rejects(settings, database) -> bool:
    """Whether opening the cache anew rejects what is there."""
    rejected: list[None] = []
    open_cache(settings, database, on_rejected=lambda: rejected.append(None)).put(OURS)
    return bool(rejected)


def test_a_rotated_key_still_verifies_until_it_is_forgotten(database, tmp_path):
    settings = load_settings(cache_url=str(tmp_path / "features"))
    open_cache(settings, database).put(OURS)
    assert rotate_cache_key(settings, database) == 0
    assert not rejects(settings, database)
    assert rotate_cache_key(settings, database, forget_old=True) == 2
    assert rejects(settings, database)
    assert not rejects(settings, database), "the file that replaced it has the new key"


def test_two_databases_share_a_cache_by_one_secret(database, tmp_path):
    old, new = secrets.token_hex(32), secrets.token_hex(32)
    url = str(tmp_path / "features")
    storage = open_storage(url, load_settings())
    FeatureCache(storage, keys=CacheKeys([old.encode()])).put(OURS)
    assert not rejects(load_settings(cache_url=url, cache_key=f"{new}, {old}"), database)
    assert rejects(load_settings(cache_url=url, cache_key=new), database)
    with pytest.raises(SettingsError, match="NIGHTREEL_CACHE_KEY"):
        rotate_cache_key(load_settings(cache_key=new), database)


@pytest.mark.parametrize("secret", ["short", f"{'a' * 32},", f",{'a' * 32}", f"{'a' * 32},short"])
def test_a_short_secret_is_refused_and_not_shown(secret):
    with pytest.raises(SettingsError, match="32 characters") as caught:
        load_settings(cache_key=secret)
    assert secret not in str(caught.value)


def test_no_output_shows_a_key(database):
    secret = secrets.token_hex(32)
    settings = load_settings(cache_key=secret)
    shown = repr(settings.public()) + repr(settings) + repr(CacheKeys([secret.encode()]))
    assert secret not in shown
    open_cache(load_settings(), database)
    with database.begin() as connection:
        views = connection.execute(
            text(
                "SELECT string_agg(pg_get_viewdef(oid), '') FROM pg_class WHERE relkind = 'v' "
                "AND relnamespace = 'reporting'::regnamespace"
            )
        ).scalar_one()
    assert "cache_keys" not in views


# -- runs --------------------------------------------------------------------------------------------------------


def cached(pipeline) -> list[Path]:
    return sorted((pipeline.work_dir / "features").rglob("*.parquet"))


def answers(pipeline) -> list:
    return pipeline.rows("SELECT uri, prompt, state, value, p FROM reporting.answers ORDER BY uri, prompt")


def unsigned(path: Path) -> bytes:
    """A file as the version before wrote it."""
    return to_parquet(from_parquet(path.read_bytes(), key=path.stem))


def test_files_that_another_planted_decide_no_answer_of_a_new_database(pipeline, owner_url):
    pipeline.analyze()
    honest = answers(pipeline)
    for path in cached(pipeline):
        path.write_bytes(to_parquet(changed(from_parquet(path.read_bytes(), key=path.stem))))
    with closing(Database(owner_url)) as owner, owner.begin() as connection:
        connection.execute(text("TRUNCATE nightreel.features, nightreel.videos CASCADE"))
    summary = pipeline.analyze()
    assert summary.videos == {"done": 3}
    assert summary.work["rejected_features"] == 3
    assert answers(pipeline) == honest
    assert pipeline.value("SELECT counts -> 'work' ->> 'rejected_features' FROM nightreel.runs ORDER BY id DESC") == "3"


@pytest.mark.parametrize("attack", ["grown", "a directory"])
def test_a_replaced_file_of_a_known_video_is_made_again_and_charges_no_video(pipeline, tmp_path, attack):
    pipeline.analyze()
    for path in cached(pipeline):
        content = unsigned(path)
        path.unlink()
        if attack == "a directory":
            path.mkdir()
        else:
            path.write_bytes(content + bytes(MIB))
    more = tmp_path / "more.yaml"
    more.write_text('name: more\nprompts:\n  - {name: blue, kind: yes_no, text: "Is there something blue?"}\n')
    summary = pipeline.analyze(prompts=(str(more),))
    assert (summary.videos["done"], summary.failed, summary.is_green) == (3, 0, True)
    assert summary.work["decoded_segments"] == 3
    assert pipeline.value("SELECT max(attempts) FROM nightreel.analyses") == 1
    assert pipeline.value("SELECT count(*) FROM reporting.answers WHERE prompt = 'blue'") == 3


def test_after_an_upgrade_recorded_files_without_a_mac_are_used(pipeline, tmp_path):
    pipeline.analyze()
    for path in cached(pipeline):
        content = unsigned(path)
        path.write_bytes(content)
        with pipeline.database.begin() as connection:
            connection.execute(
                text("UPDATE nightreel.features SET sha256 = :sha, size_bytes = :size WHERE key = :key"),
                {"sha": hashlib.sha256(content).hexdigest(), "size": len(content), "key": path.stem},
            )
    more = tmp_path / "more.yaml"
    more.write_text('name: more\nprompts:\n  - {name: blue, kind: yes_no, text: "Is there something blue?"}\n')
    summary = pipeline.analyze(prompts=(str(more),))
    assert summary.videos == {"done": 3}
    assert (summary.work["cached_segments"], "decoded_segments" in summary.work) == (3, False)


def test_a_store_that_refuses_the_keys_is_no_planted_file(directory, monkeypatch):
    from nightreel.reasons import Reason

    ref = directory.cache.put(OURS)

    def refused(*_, **__):
        raise PermanentError(Reason.OBJECT_DENIED, "refused")

    monkeypatch.setattr(directory.storage, "read", refused)
    with pytest.raises(NightreelError) as caught:
        directory.cache.get(ref)
    assert caught.value.reason == "object_denied"
    assert directory.storage.exists(ref.uri)


def test_any_bytes_are_refused_with_a_value_error():
    for size in (0, 1, 7, 8, 11, 12, 100):
        for filler in (b"\0", b"\xff", b"P", b"\x15"):
            data = (filler * size)[:size]
            for content in (data, b"PAR1" + data + size.to_bytes(4, "little") + b"PAR1"):
                with pytest.raises(ValueError, match=r"."):
                    from_parquet(content, key=KEY)


def test_tensors_of_every_dtype_that_models_store_come_back():
    for dtype, size in (("bfloat16", 2), ("float32", 4), ("int64", 8), ("bool", 1), ("uint8", 1)):
        stored = Features(
            key=KEY,
            tensors=(StoredTensor(name="t", dtype=dtype, shape=(3,), data=bytes(3 * size)),),
            pts_s=(0.0,),
            metadata={},
        )
        assert from_parquet(to_parquet(stored), key=KEY) == stored
