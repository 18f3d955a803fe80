from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from imagen_video.cascade.options import StageOptions
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import Progress, Stopped
from imagen_video.errors import InputError
from imagen_video.interop.hybrid import HybridPipeline
from imagen_video.presets.tiny import tiny
from unit.cascade.small_cascades import awake
from unit.interop.tiny_diffusers import FRAMES, SIDE, tiny_text_to_video

PROMPT = "a panda"


class Letters:
    """An encoder without weights."""

    width = 384
    max_tokens = 8
    identity: dict[str, Any] = {"encoder": "letters"}  # noqa: RUF012 - a constant

    def encode(self, prompts: Any) -> Any:
        from imagen_video.text.base import TextEmbedding

        def row(text: str) -> Tensor:
            codes = torch.tensor([float(ord(letter)) for letter in text[:8]])
            return torch.sin(codes[:, None] * torch.arange(1, self.width + 1))

        return TextEmbedding.from_rows([row(text) for text in prompts])


@pytest.fixture(scope="module")
def ours() -> ImagenVideoPipeline:
    spec = tiny()
    networks = {stage.name: awake(stage.unet, i) for i, stage in enumerate(spec.stages)}
    return ImagenVideoPipeline(spec, networks.__getitem__, Letters())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return tiny_text_to_video(tmp_path_factory.mktemp("words"))


class Painter:
    """Called as diffusers' pipelines are; paints the same frames every time and takes notes."""

    def __init__(self, frames: Any) -> None:
        self.frames = frames
        self.calls: list[dict[str, Any]] = []

    def __call__(self, **told: Any) -> Any:
        self.calls.append(told)
        return SimpleNamespace(frames=self.frames)


def painted(count: int = 1, frames: int = 2, height: int = 12, width: int = 20) -> np.ndarray:
    noise = np.random.default_rng(0).random((count, frames, height, width, 3))
    return noise.astype(np.float32)


def run(hybrid: HybridPipeline, **settings: Any) -> Any:
    base_options = {"num_frames": FRAMES, "height": SIDE, "width": SIDE, "num_inference_steps": 1}
    return hybrid(PROMPT, base_options=base_options, progress=False, **settings)


def names(output: Any) -> list[str]:
    return [report.name for report in output.reports]


def test_a_latent_pipeline_of_diffusers_is_the_base(base: Any, ours: ImagenVideoPipeline) -> None:
    hybrid = HybridPipeline(base, ours, start="ssr1")
    output = run(hybrid, until="tsr2", seed=5)
    assert names(output) == ["ssr1", "ssr2", "tsr2"]
    # the base's frames, doubled once, in ssr2's size; 6 fps is what ssr1 was made for
    assert output.frames[0].shape == (FRAMES * 2, 48, 80, 3)
    assert output.fps == 12
    np.testing.assert_array_equal(run(hybrid, until="tsr2", seed=5).frames[0], output.frames[0])
    assert (run(hybrid, until="tsr2", seed=6).frames[0] != output.frames[0]).any()


def test_the_bases_frames_decide_what_comes_out(ours: ImagenVideoPipeline) -> None:
    bright = np.ones((1, 2, 6, 10, 3), dtype=np.float32)
    options = {"ssr1": StageOptions(augmentation_logsnr=20.0)}
    results = []
    for frames in (bright, bright * 0):
        hybrid = HybridPipeline(Painter(frames), ours, only=["ssr1"])
        results.append(hybrid(PROMPT, stages=options, output_type="pt", progress=False).frames)
    # ssr1 predicts a residual around what it is given
    assert results[0].mean() > 0.5
    assert results[1].mean() < -0.5


def test_the_result_is_that_of_the_stage_on_the_same_video(ours: ImagenVideoPipeline) -> None:
    frames = painted(height=6, width=10)
    hybrid = HybridPipeline(Painter(frames), ours, only=["ssr1", "ssr2"])
    video = torch.from_numpy(frames).movedim(-1, 2) * 2 - 1
    expected = ours.upscale(video, PROMPT, only=["ssr1", "ssr2"], seed=9, progress=False)
    output = hybrid(PROMPT, seed=9, progress=False)
    np.testing.assert_array_equal(output.frames[0], expected.frames[0])


def test_frames_are_cut_to_the_aspect_and_brought_to_the_trained_size(
    ours: ImagenVideoPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # red wings left and right of a grey square that has the aspect of the cascade
    frames = np.full((1, 2, 60, 140, 3), 0.5, dtype=np.float32)
    frames[:, :, :, :20] = frames[:, :, :, 120:] = (1, 0, 0)
    low = []

    def look(progress: Progress) -> None:
        raise Stopped

    hybrid = HybridPipeline(Painter(frames), ours, start="tsr1")
    ours_run = ours.run

    def watched(request: Any, **settings: Any) -> Any:
        low.append(request.video)
        return ours_run(request, **settings)

    monkeypatch.setattr(ours, "run", watched)
    with pytest.raises(Stopped):
        hybrid(PROMPT, callback_on_step_end=look, progress=False)
    assert low[0].shape == (1, 2, 3, 6, 10)
    torch.testing.assert_close(low[0], torch.zeros_like(low[0]))


@pytest.mark.parametrize(
    ("fps", "size", "expected", "rate"),
    [
        # ssr1, ssr2 and ssr3 take 6x10, 12x20 and 48x80; tsr1, tsr2 and tsr3 take 3, 6 and 12 fps
        (None, (6, 10), ["ssr1", "ssr2", "ssr3"], 6),
        (None, (40, 70), ["ssr3"], 24),
        (3, (12, 20), ["tsr1", "ssr2", "tsr2", "tsr3", "ssr3"], 24),
        (8, (40, 70), ["tsr2", "tsr3", "ssr3"], 32),
        (12, (180, 320), ["tsr3"], 24),
        (24, (40, 70), ["ssr3"], 24),
    ],
)
def test_each_chosen_stage_suits_the_frames_that_come(
    ours: ImagenVideoPipeline,
    fps: float | None,
    size: tuple[int, int],
    expected: list[str],
    rate: float,
) -> None:
    frames = painted(1, 2, *size)
    hybrid = HybridPipeline(Painter(frames), ours, fps=fps)
    output = hybrid(PROMPT, progress=False)
    assert names(output) == expected
    doubled = sum(name.startswith("tsr") for name in expected)
    assert len(output.frames[0]) == 2 * 2**doubled
    assert output.fps == rate


def test_the_base_is_called_as_diffusers_pipelines_are(ours: ImagenVideoPipeline) -> None:
    painter = Painter(painted(2))
    hybrid = HybridPipeline(painter, ours, only=["ssr1"])
    hybrid.draft(["a", "b"], "bad", seed=7, num_inference_steps=3)
    [told] = painter.calls
    assert told["prompt"] == ["a", "b"]
    assert told["negative_prompt"] == ["bad", "bad"]
    assert [generator.initial_seed() for generator in told["generator"]] == [7, 8]
    assert told["num_inference_steps"] == 3
    hybrid.draft("a")
    assert "negative_prompt" not in painter.calls[-1]


@pytest.mark.parametrize("form", ["tuple", "pt", "pil"])
def test_every_form_of_frames_is_taken(ours: ImagenVideoPipeline, form: str) -> None:
    from imagen_video.interop.frames import to_diffusers

    video = torch.from_numpy(painted()).movedim(-1, 2) * 2 - 1
    frames = to_diffusers(video, "np" if form == "tuple" else form)
    painter: Any = Painter(frames)
    if form == "tuple":
        painter = lambda **told: (frames,)  # noqa: E731 - a base of one line
    output = HybridPipeline(painter, ours, only=["ssr2"])(PROMPT, progress=False)
    assert output.frames[0].shape == (2, 48, 80, 3)


def test_frames_made_elsewhere_are_refined_without_the_base(ours: ImagenVideoPipeline) -> None:
    painter = Painter(None)
    output = HybridPipeline(painter, ours, only=["ssr2"]).refine(
        painted(2), ["a", "b"], progress=False
    )
    assert len(output.frames) == 2
    assert not painter.calls


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"start": "base"}, "the cascade's own base"),
        ({"only": ["base", "ssr1"]}, "the cascade's own base"),
        ({"only": ["ssr2", "ssr1"]}, "in this order"),
        ({"start": "ssr9"}, "ssr9"),
        ({"fps": 0}, "above 0"),
    ],
)
def test_stages_that_cannot_take_a_video_are_refused_at_once(
    ours: ImagenVideoPipeline, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        HybridPipeline(Painter(None), ours, **settings)


def test_frames_that_have_reached_the_end_of_the_cascade_are_refused(
    ours: ImagenVideoPipeline,
) -> None:
    hybrid = HybridPipeline(Painter(painted(1, 2, 192, 320)), ours, fps=24)
    with pytest.raises(InputError, match=r"none for frames of 192x320 at 24 fps.*only="):
        hybrid(PROMPT, progress=False)


def test_a_stop_before_the_start_leaves_nothing_to_run(ours: ImagenVideoPipeline) -> None:
    hybrid = HybridPipeline(Painter(painted()), ours, start="ssr2")
    with pytest.raises(InputError, match="'ssr2' to 'tsr1'"):
        hybrid(PROMPT, until="tsr1", progress=False)


def test_another_number_of_clips_than_prompts_is_refused(ours: ImagenVideoPipeline) -> None:
    with pytest.raises(InputError, match="2 clips for 1 prompts"):
        HybridPipeline(Painter(painted(2)), ours, start="ssr1")(PROMPT, progress=False)


def test_a_base_without_frames_is_refused(ours: ImagenVideoPipeline) -> None:
    images: Any = lambda **told: SimpleNamespace(images=[])  # noqa: E731 - a base of one line
    with pytest.raises(InputError, match=r"without \.frames"):
        HybridPipeline(images, ours, start="ssr1")(PROMPT, progress=False)
