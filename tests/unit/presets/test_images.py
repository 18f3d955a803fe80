from __future__ import annotations

import pytest

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.models.cost import num_parameters
from imagen_video.presets.images import imagenet, text_to_image

cascades = pytest.mark.parametrize("cascade", [imagenet(), text_to_image()], ids=lambda c: c.name)


@cascades
def test_images_are_videos_of_one_frame_whose_networks_know_no_time(cascade: CascadeSpec) -> None:
    for stage in cascade.stages:
        assert stage.output.frames == 1
        assert stage.unet.halo_frames == 0
        assert {level.temporal for level in stage.unet.levels} == {"none"}
        assert stage.kind in ("base", "ssr")


def test_text_to_image_has_imagens_sizes() -> None:
    cascade = text_to_image()
    assert [s.output.height for s in cascade.stages] == [64, 256, 1024]
    counted = [num_parameters(stage.unet) for stage in cascade.stages]
    assert counted == pytest.approx([2e9, 600e6, 400e6], rel=0.05)
    assert all(stage.unet.text_width == 4096 for stage in cascade.stages)
    assert cascade.stage("ssr2").unet.tileable
    assert not any(level.spatial_attention for level in cascade.stage("ssr2").unet.levels)


def test_imagenet_is_told_a_class_and_hears_no_text() -> None:
    cascade = imagenet()
    assert cascade.text_encoder is None
    assert [s.output.height for s in cascade.stages] == [32, 64, 256]
    for stage in cascade.stages:
        assert stage.unet.num_classes == 1000
        assert stage.unet.text_width is None
