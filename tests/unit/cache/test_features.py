"""The feature cache returns exactly the stored features or an error."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nightreel.cache.features import FeatureCache, feature_key
from nightreel.cache.parquet import from_parquet, to_parquet
from nightreel.cache.signing import CacheKeys
from nightreel.domain import Features, SamplingPlan, Segment, StoredTensor
from nightreel.errors import PermanentError
from nightreel.models.base import ModelSpec
from nightreel.settings import load_settings
from nightreel.storage import open_storage

_SPEC = ModelSpec(
    name="tiny",
    revision="sha256:1",
    model_class="Tiny",
    dtype="bfloat16",
    attention="sdpa",
    device="cpu",
    processor_hash="2",
    transformers_version="5.23.0",
)
_KEY_PARTS = {
    "content_sha256": "c" * 64,
    "segment": Segment(0, 0.0, 30.0),
    "plan": SamplingPlan.parse("uniform:8"),
    "decoder": "decord",
    "decoder_version": "0.6.0",
    "spec": _SPEC,
}


def _features(frames: int = 4) -> Features:
    random = np.random.default_rng(0)
    return Features(
        key="ab" * 32,
        tensors=(
            StoredTensor(name="video/pooler", dtype="bfloat16", shape=(frames, 3, 4), data=random.bytes(frames * 24)),
            StoredTensor(name="input/prefix_ids", dtype="int64", shape=(9,), data=random.bytes(72)),
            StoredTensor(name="input/scale", dtype="float64", shape=(), data=random.bytes(8)),
        ),
        pts_s=tuple(0.5 * i for i in range(frames)),
        metadata={"decoder": "decord", "source_hw": [90, 120]},
    )


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(open_storage(str(tmp_path / "cache"), load_settings()), keys=CacheKeys([bytes(32)]))


def test_writing_features_keeps_no_reference_to_their_bytes() -> None:
    features = _features()
    held = [sys.getrefcount(tensor.data) for tensor in features.tensors]
    for _ in range(3):
        to_parquet(features)
    assert [sys.getrefcount(tensor.data) for tensor in features.tensors] == held


def test_features_come_back_bit_for_bit(cache: FeatureCache) -> None:
    features = _features()
    ref = cache.put(features)
    assert cache.get(ref) == features
    assert ref.key == features.key


def test_putting_twice_keeps_the_first_file(cache: FeatureCache) -> None:
    ref = cache.put(_features())
    again = cache.put(replace(_features(), metadata={"decoder": "pyav"}))
    assert again == ref
    assert cache.get(again).metadata["decoder"] == "decord"


def test_a_damaged_file_under_the_key_is_replaced_when_put_again(cache: FeatureCache) -> None:
    ref = cache.put(_features())
    path = Path(ref.uri.removeprefix("file://"))
    path.write_bytes(b"PAR1 not really")
    assert cache.get(cache.put(_features())) == _features()


def test_every_flipped_bit_is_detected_even_without_the_hash_of_the_file() -> None:
    features = _features()
    data = to_parquet(features)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        try:
            read = from_parquet(bytes(damaged), key=features.key)
        except ValueError:
            continue
        assert read == features, f"byte {position} of {len(data)}"


def test_a_tensor_that_the_metadata_do_not_name_counts_as_damage() -> None:
    features = _features()
    data = to_parquet(features)
    table = pq.read_table(pa.BufferReader(data))
    extra = table.slice(0, 1).set_column(0, table.schema.field(0), pa.array(["extra"], table.schema.field(0).type))
    sink = pa.BufferOutputStream()
    pq.write_table(
        pa.concat_tables([table, extra]).combine_chunks(),
        sink,
        compression="none",
        use_dictionary=False,
        write_statistics=False,
        write_page_checksum=True,
    )
    with pytest.raises(ValueError, match="extra"):
        from_parquet(sink.getvalue().to_pybytes(), key=features.key)


@pytest.mark.parametrize("place", ["data", "footer", "truncated", "empty"])
def test_a_damaged_file_is_deleted_and_reported(cache: FeatureCache, place: str) -> None:
    ref = cache.put(_features())
    path = Path(ref.uri.removeprefix("file://"))
    data = bytearray(path.read_bytes())
    if place in ("data", "footer"):
        data[100 if place == "data" else -200] ^= 4
    path.write_bytes({"truncated": data[:-5], "empty": b""}.get(place, data))
    with pytest.raises(PermanentError) as caught:
        cache.get(ref)
    assert caught.value.reason == "damaged_feature"
    assert not path.exists()


def test_a_file_of_another_key_is_refused(cache: FeatureCache) -> None:
    ref = cache.put(_features())
    with pytest.raises(PermanentError) as caught:
        cache.get(replace(ref, key="cd" * 32))
    assert caught.value.reason == "damaged_feature"


def test_a_missing_file_is_reported_as_gone(cache: FeatureCache) -> None:
    ref = cache.put(_features())
    Path(ref.uri.removeprefix("file://")).unlink()
    with pytest.raises(PermanentError) as caught:
        cache.get(ref)
    assert caught.value.reason == "object_gone"


@given(frames=st.integers(1, 9), names=st.lists(st.text(min_size=1), min_size=1, max_size=4, unique=True))
def test_any_names_and_frame_counts_survive(frames: int, names: list[str]) -> None:
    tensors = tuple(
        StoredTensor(name=name, dtype="uint8", shape=(frames, 2), data=bytes(range(2 * frames))) for name in names
    )
    features = Features(key="k" * 64, tensors=tensors, pts_s=tuple(map(float, range(frames))), metadata={"ü": "\0"})
    assert from_parquet(to_parquet(features), key=features.key) == features


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("content_sha256", "d" * 64),
        ("segment", Segment(0, 0.0, 29.0)),
        ("segment", Segment(1, 30.0, 60.0)),
        ("plan", SamplingPlan.parse("uniform:9")),
        ("plan", SamplingPlan.parse("keyframes:8")),
        ("decoder", "pyav"),
        ("decoder_version", "0.6.1"),
        ("spec", replace(_SPEC, revision="sha256:2")),
        ("spec", replace(_SPEC, dtype="float32")),
        ("spec", replace(_SPEC, attention="eager")),
        ("spec", replace(_SPEC, processor_hash="3")),
        ("spec", replace(_SPEC, transformers_version="5.24.0")),
    ],
)
def test_every_dependency_of_features_changes_their_key(part: str, value: object) -> None:
    assert feature_key(**{**_KEY_PARTS, part: value}) != feature_key(**_KEY_PARTS)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("segment", Segment(3, 0.0, 30.0)),
        ("plan", SamplingPlan.parse("uniform:8", window_s=60)),
        ("spec", replace(_SPEC, name="renamed")),
        ("spec", replace(_SPEC, device="cuda:1")),
        ("spec", replace(_SPEC, parameters=5)),
    ],
)
def test_names_and_places_do_not_change_a_key(part: str, value: object) -> None:
    assert feature_key(**{**_KEY_PARTS, part: value}) == feature_key(**_KEY_PARTS)
