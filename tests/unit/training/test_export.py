"""A bundle made from runs holds the averaged weights of each run's newest checkpoint."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from imagen_video.errors import DataError
from imagen_video.training.export import export_bundle
from unit.training.small_runs import SPEC, config_of, run


def test_a_bundle_holds_the_averaged_weights_and_says_how_they_came_about(tmp_path: Path) -> None:
    averaged = run(tmp_path / "run", config_of())
    bundle = export_bundle(SPEC, {"base": tmp_path / "run"}, tmp_path / "bundle", {"by": "a test"})
    stored = bundle.network("base").state_dict()
    for name, value in averaged.state_dict().items():
        assert torch.equal(stored[name], value.half().float())
    assert bundle.provenance["by"] == "a test"
    assert bundle.provenance["training"]["base"]["updates"] == config_of().steps
    assert not bundle.has_weights(SPEC.stages[1].name)


def test_a_run_without_a_checkpoint_makes_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match="no checkpoint"):
        export_bundle(SPEC, {"base": tmp_path / "run"}, tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()
