from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from imagen_video.cascade.distilled import DistilledSpec
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cli import serve
from imagen_video.distillation.rounds import student_stage
from unit.cascade.small_cascades import small_cascade, small_pipeline


def test_a_distilled_base_warms_up_in_its_own_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two steps, as others take, would be refused: the server would not start."""
    spec = small_cascade()
    base = student_stage(spec.stages[0], DistilledSpec(sampler="ddim", steps=1))
    spec = dataclasses.replace(spec, stages=(base, *spec.stages[1:]))
    pipeline = small_pipeline(spec)
    monkeypatch.setattr(ImagenVideoPipeline, "from_pretrained", lambda *_: pipeline)
    service = serve._service(serve.ServeOptions(gallery=tmp_path / "gallery", precision="fp32"))
    try:
        assert service.spec.stages[0].sampling.steps == 1
    finally:
        service.close()
