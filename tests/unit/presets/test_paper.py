from __future__ import annotations

import inspect
import re

import pytest

from imagen_video.cascade.spec import CascadeSpec, Clip, StageSpec
from imagen_video.models.cost import num_parameters
from imagen_video.presets.paper import paper
from imagen_video.text.t5 import DEFAULT_SOURCE

# Imagen Video, Fig. 6: stage, frames, height, width, fps, parameters
TABLE = (
    ("base", 16, 24, 40, 3, 5.6e9),
    ("tsr1", 32, 24, 40, 6, 1.7e9),
    ("ssr1", 32, 48, 80, 6, 1.4e9),
    ("ssr2", 32, 192, 320, 6, 1.2e9),
    ("tsr2", 64, 192, 320, 12, 780e6),
    ("tsr3", 128, 192, 320, 24, 630e6),
    ("ssr3", 128, 768, 1280, 24, 340e6),
)


@pytest.fixture(scope="module")
def cascade() -> CascadeSpec:
    return paper()


def of_kind(stage: StageSpec, field: str) -> list[bool]:
    return [bool(getattr(level, field)) for level in stage.unet.levels]


def test_the_stages_are_the_papers_in_its_order(cascade: CascadeSpec) -> None:
    assert [stage.name for stage in cascade.stages] == [row[0] for row in TABLE]
    for stage, (_, frames, height, width, fps, _) in zip(cascade.stages, TABLE, strict=True):
        assert stage.output == Clip(frames=frames, height=height, width=width, fps=fps)
    strides = [cascade.frame_stride(stage.name) for stage in cascade.stages]
    assert strides == [8, 4, 4, 4, 2, 1, 1]


@pytest.mark.parametrize("row", TABLE, ids=[row[0] for row in TABLE])
def test_each_stage_is_within_two_percent_of_the_papers_size(
    cascade: CascadeSpec, row: tuple[str, int, int, int, int, float]
) -> None:
    counted = num_parameters(cascade.stage(row[0]).unet)
    assert counted == pytest.approx(row[-1], rel=0.02)


def test_the_cascade_has_eleven_point_six_billion_parameters(cascade: CascadeSpec) -> None:
    total = sum(num_parameters(stage.unet) for stage in cascade.stages)
    assert total == pytest.approx(11.65e9, rel=0.01)


def test_the_table_in_the_docstring_is_true(cascade: CascadeSpec) -> None:
    table = inspect.getdoc(inspect.getmodule(paper)) or ""
    rows = re.findall(
        r"^    (\w+) +\w+ +\d+ x +\d+ x +\d+ +\d+ +([\d.]+[BM]) .*?([-+][\d.]+) %$",
        table,
        flags=re.MULTILINE,
    )
    assert len(rows) == 7
    for (name, size, difference), (expected_name, *_, published) in zip(rows, TABLE, strict=True):
        assert name == expected_name
        counted = num_parameters(cascade.stage(name).unet)
        unit = {"B": 1e9, "M": 1e6}[size[-1]]
        digits = len(size[:-1].partition(".")[2])
        assert float(size[:-1]) == pytest.approx(counted / unit, abs=0.51 * 10**-digits)
        assert float(difference) == pytest.approx(100 * (counted / published - 1), abs=0.051)


def test_only_the_base_mixes_frames_by_attention(cascade: CascadeSpec) -> None:
    for stage in cascade.stages:
        kinds = {level.temporal for level in stage.unet.levels}
        assert kinds == {"attention" if stage.name == "base" else "convolution"}


def test_spatial_attention_is_in_the_base_and_the_first_two_spatial_stages(
    cascade: CascadeSpec,
) -> None:
    attending = [s.name for s in cascade.stages if any(of_kind(s, "spatial_attention"))]
    assert attending == ["base", "ssr1", "ssr2"]
    assert all(of_kind(cascade.stage("base"), "spatial_attention"))
    for name in ("ssr1", "ssr2"):
        *finer, coarsest = of_kind(cascade.stage(name), "spatial_attention")
        assert coarsest
        assert not any(finer)


def test_spatial_attention_in_tsr1_is_a_flag_and_keeps_the_size() -> None:
    stage = paper(tsr1_spatial_attention=True).stage("tsr1")
    assert all(of_kind(stage, "spatial_attention"))
    assert num_parameters(stage.unet) == pytest.approx(1.7e9, rel=0.02)
    others = [s for s in paper(tsr1_spatial_attention=True).stages if s.name != "tsr1"]
    assert others == [s for s in paper().stages if s.name != "tsr1"]


def test_the_fully_convolutional_stages_can_be_tiled(cascade: CascadeSpec) -> None:
    tileable = [stage.name for stage in cascade.stages if stage.unet.tileable]
    assert tileable == ["tsr2", "tsr3", "ssr3"]


def test_every_stage_hears_the_text_of_t5_xxl(cascade: CascadeSpec) -> None:
    assert cascade.text_encoder is not None
    assert cascade.text_encoder["encoder"] == "t5"
    assert cascade.text_encoder["source"] == DEFAULT_SOURCE
    assert cascade.text_encoder["dtype"] != "float16"
    for stage in cascade.stages:
        assert stage.unet.text_width == cascade.text_encoder["width"] == 4096
        assert any(of_kind(stage, "text_attention"))


def test_pixels_are_not_folded_into_patches_and_v_is_plain(cascade: CascadeSpec) -> None:
    for stage in cascade.stages:
        assert stage.unet.patch_size == 1
        assert stage.unet.residual_std is None
        assert stage.loss == "v"


def test_sampling_is_the_papers(cascade: CascadeSpec) -> None:
    for stage in cascade.stages:
        sampling = stage.sampling
        assert sampling.sampler == "ancestral"
        assert sampling.gamma == 0.3
        assert sampling.steps == (256 if stage.name == "base" else 128)
        assert sampling.augmentation_logsnr in (3.0, 5.0)
    oscillating = [s.name for s in cascade.stages if s.sampling.guidance == "oscillating"]
    assert oscillating == ["base", "tsr1", "ssr1"]
    for name in oscillating:
        sampling = cascade.stage(name).sampling
        assert (sampling.guidance_weight, sampling.guidance_low) == (15.0, 1.0)


def test_only_the_last_stage_trains_on_crops(cascade: CascadeSpec) -> None:
    assert [s.name for s in cascade.stages if s.crop is not None] == ["ssr3"]
    assert cascade.stage("ssr3").crop == (256, 256)
