"""A real vLLM with the demo model: its answers are those of the model in this process, and it is as `vllm_like` says.

Skipped unless TEST_VLLM names an environment with vLLM, or the URL of a running one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from fixtures.judged import judged

from nightreel.demo.clips import draw_clip, write_clip
from nightreel.demo.grading import is_right
from nightreel.domain import FrameBatch, Prompt, PromptKind, SamplingPlan, Segment
from nightreel.errors import PermanentError, SettingsError
from nightreel.media.sampling import segments
from nightreel.media.sandbox import DecoderPool
from nightreel.models.loading import FoundModel, check_model, find_model, load_model
from nightreel.models.served.frame_order import Order, frame_order
from nightreel.models.served.identity import connect
from nightreel.models.served.layouts import Layout, Sending
from nightreel.models.served.trials import Trials, with_times
from nightreel.prompts.loading import load_prompt_sets
from nightreel.settings import Settings, load_settings

PROMPTS = [prompt for prompt in load_prompt_sets(("demo", "demo_moderation")).prompts if not prompt.policy.when]
SEEDS = range(4)


@pytest.fixture(scope="module")
def settings(vllm_server: str) -> Settings:
    return load_settings(model=vllm_server)


@pytest.fixture(scope="module")
def found(settings: Settings) -> FoundModel:
    return find_model(settings)


@pytest.fixture
def trials(settings: Settings) -> Iterator[Trials]:
    with closing(connect(settings)) as endpoint:
        yield Trials(endpoint, "demo", height=112, width=112)


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[FrameBatch, Segment]]:
    directory: Path = tmp_path_factory.mktemp("clips")
    settings = load_settings(plan="uniform:8")
    found = []
    with DecoderPool.from_settings(settings) as pool:
        for seed in SEEDS:
            path = write_clip(directory / f"{seed}.mp4", draw_clip(f"test model {seed}"))
            probe = pool.probe(path)
            (segment,) = segments(probe.duration_s, settings.window_s)
            plan = SamplingPlan.parse("uniform:8", settings.window_s)
            found.append((pool.decode(path, probe=probe, plan=plan, segment=segment, short_side=448), segment))
    return found


def test_its_answers_are_right_and_its_probabilities_those_of_the_model_in_this_process(
    settings: Settings, found: FoundModel, looks: list[tuple[FrameBatch, Segment]]
) -> None:
    said = []
    for model in (load_model(settings, found=found), load_model(load_settings(model="demo", device="cpu"))):
        with closing(model):
            batches, windows = [batch for batch, _ in looks], [segment for _, segment in looks]
            features = model.encode(batches, segments=windows, keys=[str(seed) for seed in SEEDS])
            said.append(model.ask(features, [PROMPTS] * len(looks)))
    for seed, served, local in zip(SEEDS, *said, strict=True):
        scene = draw_clip(f"test model {seed}").parts[0].scene
        for prompt, one, other in zip(PROMPTS, served, local, strict=True):
            answer = judged(prompt, one)
            assert is_right(prompt, answer.text, scene), (prompt.name, one)
            assert one.bounds is None
            assert one.scores == pytest.approx(other.scores, abs=1e-3), prompt.name
    assert sum(one.prompt_tokens for one in said[0][0]) < 2000, "as one video"


def test_it_is_probed_as_it_is(found: FoundModel) -> None:
    server = found.server
    assert server
    assert (server.layout, server.remembers, server.candidates) == (Layout.TIMED_VIDEO, True, 20)
    assert (server.scores_tokens, server.scores_prompts, server.chooses) == (True, True, True)
    assert (server.version.startswith("0."), server.context, server.lacks) == (True, 4096, ())


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("frames", [4, 40])
def test_all_frames_arrive_in_order_unless_they_are_left_out(trials: Trials, layout: Layout, frames: int) -> None:
    left_out = layout is Layout.VIDEO and frames > 32
    assert frame_order(trials, frames=frames, layout=layout) is (Order.WRONG if left_out else Order.IN_ORDER)


@pytest.mark.parametrize(("layout", "most"), [("video", 32), ("timed_video", 510)])
def test_a_plan_beyond_its_limit_is_refused_with_the_limit(settings: Settings, layout: str, most: int) -> None:
    wanted = settings.model_copy(update={"remote_layout": layout, "plan": "uniform:600", "remote_frame_size": 64})
    with pytest.raises(SettingsError, match=f"takes at most {most} frames of a video"):
        check_model(wanted, prompts=[])


def test_it_refuses_as_the_small_server_does(trials: Trials) -> None:
    video = trials.shown(4, Layout.TIMED_VIDEO)
    for words, send in {
        "Cache miss for video": lambda: trials.request(trials.shown(5, Layout.VIDEO), sending=Sending.NAME),
        "must match number of frames": lambda: trials.request(with_times(video, [0])),
        "max allowed: 20": lambda: trials.request(video, logprobs=True, top_logprobs=21),
        "maximum context length": lambda: trials.request(trials.shown(600, Layout.TIMED_VIDEO)),
    }.items():
        with pytest.raises(PermanentError, match=words) as caught:
            send()
        assert caught.value.reason == "model_refused"


def test_a_choice_of_several_words_is_scored_as_a_whole(
    settings: Settings, found: FoundModel, looks: list[tuple[FrameBatch, Segment]]
) -> None:
    prompt = Prompt.of(name="q", kind=PromptKind.CHOICE, text="Motion?", choices=("moving left", "moving right"))
    with closing(load_model(settings, found=found)) as model:
        features = model.encode([looks[0][0]], segments=[looks[0][1]], keys=["k"])
        ((answer,),) = model.ask(features, [[prompt]])
    assert answer.scores is not None
    assert set(answer.scores) == {"moving left", "moving right"}
    assert sum(answer.scores.values()) == pytest.approx(1)
