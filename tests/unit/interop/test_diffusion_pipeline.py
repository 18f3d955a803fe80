from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.pipeline_utils import DiffusionPipeline
from huggingface_hub import ModelCard

from house.source_tree import ROOT
from imagen_video.cascade.bundle import save_bundle
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cascade.request import Progress, Stopped
from imagen_video.errors import BundleError, InputError, MissingExtraError
from imagen_video.interop.diffusion_pipeline import ImagenVideoDiffusionPipeline
from imagen_video.presets.tiny import tiny
from unit.cascade.fake_hub import FakeHub, serving, use
from unit.cascade.small_cascades import awake
from unit.interop.test_hybrid import Letters

PROMPT = "a panda"
MODULE = ImagenVideoDiffusionPipeline.__module__
SPEC = tiny()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "b"
    networks = {stage.name: awake(stage.unet, i) for i, stage in enumerate(SPEC.stages)}
    save_bundle(folder, SPEC, networks)
    return folder


@pytest.fixture(scope="module")
def ours(bundle: Path) -> ImagenVideoPipeline:
    return with_letters(ImagenVideoPipeline.from_pretrained(bundle))


@pytest.fixture(scope="module")
def saved(ours: ImagenVideoPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diffusers") / "f"
    ImagenVideoDiffusionPipeline(ours).save_pretrained(folder)
    return folder


@pytest.fixture
def pipe(ours: ImagenVideoPipeline) -> Iterator[ImagenVideoDiffusionPipeline]:
    wrapped = ImagenVideoDiffusionPipeline(ours)
    wrapped.set_progress_bar_config(disable=True)
    yield wrapped
    wrapped.to(torch.float32)


def with_letters(pipeline: ImagenVideoPipeline) -> ImagenVideoPipeline:
    pipeline._encoder = Letters()
    return pipeline


def seed(number: int) -> torch.Generator:
    return torch.Generator().manual_seed(number)


def test_the_folder_that_it_writes_is_loaded_by_diffusers_and_makes_the_same_video(
    ours: ImagenVideoPipeline, saved: Path
) -> None:
    loaded: Any = DiffusionPipeline.from_pretrained(saved)
    assert type(loaded) is ImagenVideoDiffusionPipeline
    with_letters(loaded.cascade.pipeline)
    loaded.set_progress_bar_config(disable=True)
    before = ImagenVideoDiffusionPipeline(ours)
    before.set_progress_bar_config(disable=True)
    settings: dict[str, Any] = {"until": "tsr2", "output_type": "pil"}
    first: Any = before(PROMPT, generator=seed(3), **settings)
    second: Any = loaded(PROMPT, generator=seed(3), **settings)
    own = ours(PROMPT, seed=3, until="tsr2", progress=False)
    pictures = [np.stack([np.asarray(image) for image in v.frames[0]]) for v in (first, second)]
    np.testing.assert_array_equal(pictures[0], own.frames[0])
    np.testing.assert_array_equal(pictures[1], own.frames[0])
    assert first.fps == second.fps == own.fps == 12


def test_the_folder_holds_a_bundle_an_index_a_card_and_no_code(saved: Path) -> None:
    index = json.loads((saved / "model_index.json").read_text())
    assert index["_class_name"] == "ImagenVideoDiffusionPipeline"
    assert index["cascade"] == ["imagen_video.interop.diffusion_pipeline", "CascadeModel"]
    assert ImagenVideoPipeline.from_pretrained(saved / "cascade").spec == SPEC
    card = ModelCard.load(saved / "README.md")
    assert card.data.to_dict()["library_name"] == "diffusers"
    assert "DiffusionPipeline.from_pretrained" in card.text
    kinds = {path.suffix for path in saved.rglob("*") if path.is_file()}
    assert kinds == {".json", ".safetensors", ".md"}


@pytest.mark.slow
def test_a_new_process_needs_one_import_and_no_remote_code(saved: Path) -> None:
    program = (
        "import sys, imagen_video.interop.diffusion_pipeline\n"
        "from diffusers import DiffusionPipeline\n"
        "pipe = DiffusionPipeline.from_pretrained(sys.argv[1])\n"
        "print(type(pipe).__name__, 'torchvision' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(saved)],
        env={"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=110,
    )
    assert done.stdout.split() == ["ImagenVideoDiffusionPipeline", "False"]


def test_diffusers_fetches_it_from_a_hub(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = FakeHub()
    files = {str(p.relative_to(saved)): p.read_bytes() for p in saved.rglob("*") if p.is_file()}
    evil = {f"cascade/{name}.py": b"raise SystemExit" for name in ("pipeline", MODULE)}
    first = hub.commit("me/video", {**files, **evil})
    hub.commit("me/video", {"model_index.json": b"{}"})
    with serving(hub) as address:
        use(monkeypatch, address, tmp_path / "cache")
        loaded: Any = DiffusionPipeline.from_pretrained("me/video", revision=first)
    assert loaded.cascade.pipeline.spec == SPEC
    assert next(loaded.cascade.pipeline.network("ssr3").parameters()).isfinite().all()


@pytest.mark.parametrize("output_type", ["np", "pt"])
def test_frames_have_the_form_and_range_of_diffusers(
    pipe: ImagenVideoDiffusionPipeline, ours: ImagenVideoPipeline, output_type: str
) -> None:
    settings: dict[str, Any] = {"until": "ssr1", "num_inference_steps": 2}
    prompts = [PROMPT, "a cat"]
    told: Any = pipe(prompts, generator=seed(1), output_type=output_type, **settings)
    frames = torch.as_tensor(told.frames)
    if output_type == "np":
        assert isinstance(told.frames, np.ndarray)
        frames = frames.movedim(-1, 2)
    own = ours(prompts, seed=1, output_type="pt", progress=False, **settings).frames
    torch.testing.assert_close(frames * 2 - 1, own.clamp(-1, 1), atol=1e-6, rtol=0)
    [plain] = pipe(prompts, generator=seed(1), output_type="pt", return_dict=False, **settings)
    torch.testing.assert_close(plain, frames, atol=1e-6, rtol=0)


def test_generators_are_seeds_one_or_one_a_prompt(pipe: ImagenVideoDiffusionPipeline) -> None:
    def frames(generator: Any, prompts: Any = PROMPT) -> Any:
        settings: dict[str, Any] = {"until": "base", "num_inference_steps": 1}
        return pipe(prompts, generator=generator, output_type="pt", **settings).frames  # type: ignore[union-attr]

    pair = frames([seed(4), seed(8)], [PROMPT, PROMPT])
    torch.testing.assert_close(pair[1:], frames(seed(8)))
    assert not torch.equal(pair[0], pair[1])
    torch.manual_seed(5)
    first, second = frames(None), frames(None)
    torch.manual_seed(5)
    assert torch.equal(frames(None), first)
    assert not torch.equal(first, second)


def test_the_callback_is_called_after_each_step_as_in_diffusers(
    pipe: ImagenVideoDiffusionPipeline,
) -> None:
    seen = []

    def callback(pipeline: Any, step: int, timestep: float, told: dict[str, Any]) -> dict[str, Any]:
        assert pipeline is pipe
        seen.append((step, timestep, told["stage"]))
        return told

    pipe(PROMPT, until="tsr1", callback_on_step_end=callback)
    assert [step for step, *_ in seen] == list(range(6))
    assert [stage for *_, stage in seen] == ["base"] * 4 + ["tsr1"] * 2
    assert [time for _, time, stage in seen if stage == "base"] == [1000, 750, 500, 250]
    assert pipe.num_timesteps == 6


def test_tiles_are_no_steps(
    pipe: ImagenVideoDiffusionPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def run(request: Any, *, on_progress: Any, **settings: Any) -> Any:
        for done in range(1, 13):
            on_progress(
                Progress(stage="base", index=0, num_stages=1, done=done, total=12, seconds=0.0)
            )
        raise Stopped

    monkeypatch.setattr(pipe.cascade.pipeline, "run", run)
    with pytest.raises(Stopped):
        pipe(PROMPT, until="base", callback_on_step_end=lambda *told: seen.append(told[1]))
    assert seen == [0, 1, 2, 3]


def test_an_interrupt_ends_with_the_last_finished_stage(
    pipe: ImagenVideoDiffusionPipeline,
) -> None:
    def stop_in(stage: str) -> Any:
        def callback(pipeline: Any, step: int, timestep: float, told: dict[str, Any]) -> None:
            pipeline._interrupt = told["stage"] == stage

        return pipe(PROMPT, until="ssr1", callback_on_step_end=callback)

    assert stop_in("ssr1").frames.shape == (1, 8, 6, 10, 3)
    assert pipe.interrupt
    with pytest.raises(Stopped):
        stop_in("base")
    whole: Any = pipe(PROMPT, until="tsr1")
    assert whole.frames.shape == (1, 8, 6, 10, 3)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"guidance_scale": 7.5}, "guidance_weight=6.5"),
        ({"output_type": "latent"}, "output_type"),
        ({"callback_on_step_end_tensor_inputs": ["latents"]}, "keeps its latents"),
        ({"callback_on_step_end": lambda *a: {"latents": 1}}, r"new values of \['latents'\]"),
        ({"num_frames": 5}, "multiple of"),
    ],
)
def test_what_does_not_map_is_refused(
    pipe: ImagenVideoDiffusionPipeline, settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        pipe(PROMPT, until="tsr1", **settings)


def test_device_and_dtype_are_the_cascades(
    pipe: ImagenVideoDiffusionPipeline, ours: ImagenVideoPipeline
) -> None:
    pipe.to(torch.bfloat16)
    assert ours.bf16
    assert pipe.dtype == torch.bfloat16
    with pytest.raises(InputError, match="float16"):
        pipe.to(torch.float16)
    pipe.to("cpu", torch.float32)
    assert (pipe.device.type, pipe.dtype, ours.bf16) == ("cpu", torch.float32, False)


def test_offloading_holds_one_stage_at_a_time(bundle: Path) -> None:
    pipe = ImagenVideoDiffusionPipeline(ImagenVideoPipeline.from_pretrained(bundle))
    pipe.enable_model_cpu_offload(device="cpu")
    pipe.cascade.pipeline.network("base")
    pipe.cascade.pipeline.network("ssr1")
    assert list(pipe.cascade.pipeline._networks) == ["ssr1"]


def test_loading_takes_a_dtype_and_refuses_what_it_cannot_do(saved: Path) -> None:
    loaded: Any = DiffusionPipeline.from_pretrained(saved, dtype=torch.bfloat16)
    assert loaded.cascade.pipeline.bf16
    with pytest.raises(InputError, match="float16"):
        DiffusionPipeline.from_pretrained(saved, dtype=torch.float16)
    with pytest.raises(InputError, match="safetensors"):
        loaded.save_pretrained(saved.parent / "pickled", safe_serialization=False)


def test_a_damaged_folder_is_refused(saved: Path, tmp_path: Path) -> None:
    shutil.copytree(saved, tmp_path / "f")
    (tmp_path / "f" / "cascade" / "cascade.json").write_text("[")
    with pytest.raises(BundleError, match="unreadable JSON"):
        DiffusionPipeline.from_pretrained(tmp_path / "f")


def test_without_diffusers_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    monkeypatch.delitem(sys.modules, MODULE)
    with pytest.raises(MissingExtraError, match=r"imagen-video\[diffusers\]"):
        importlib.import_module(MODULE)
