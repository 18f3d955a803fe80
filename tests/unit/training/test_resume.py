"""A run goes on only as what it is, and what was changed on the way is said and kept."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from imagen_video.data.batches.batch import Batch
from imagen_video.data.batches.epochs import example
from imagen_video.errors import InputError
from imagen_video.training.config import HARMLESS, TrainConfig
from imagen_video.training.resume import differences
from unit.training.small_runs import ColourClips, config_of, network_of, run, stage_meta


def meta_with(**unet: Any) -> dict[str, Any]:
    meta = stage_meta()
    meta["stage"]["unet"].update(unet)
    return meta


def newest_state(run_dir: Path) -> dict[str, Any]:
    newest = sorted((run_dir / "checkpoints").iterdir())[-1]
    return json.loads((newest / "state.json").read_text())


def test_another_spec_is_refused_with_every_difference(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1))
    meta = meta_with(embedding_width=32, num_classes=3)
    meta["stage"]["output"]["frames"] = 8
    with pytest.raises(InputError) as raised:
        run(tmp_path, config_of(steps=2), meta=meta)
    for line in (
        "output.frames: 4 -> 8",
        "unet.embedding_width: 16 -> 32",
        "unet.num_classes: null -> 3",
    ):
        assert line in str(raised.value)
    assert "head_width" not in str(raised.value)


def test_weights_of_another_shape_are_never_loaded_in_part(tmp_path: Path) -> None:
    """Also where nobody gave a spec to compare: the tensors themselves are."""
    run(tmp_path, config_of(steps=1), meta={"stage": None})
    with pytest.raises(InputError, match=r"missing|unknown|shape"):
        run(
            tmp_path, config_of(steps=2), meta={"stage": None}, network=network_of("ssr1"),
        )  # fmt: skip


def test_differences_are_named_by_their_place() -> None:
    before = {"a": [{"b": 1}, {"b": 2}], "c": "x", "d": [1, 2]}
    after = {"a": [{"b": 1}, {"b": 3}], "c": "x", "d": [1, 2, 3], "e": None}
    assert list(differences(before, after)) == [
        "a[1].b: 2 -> 3",
        "d: [1, 2] -> [1, 2, 3]",
        'e: "(nothing)" -> null',
    ]
    assert not list(differences(before, before))


def test_a_field_that_is_younger_than_the_run_counts_as_its_default(tmp_path: Path) -> None:
    meta = stage_meta()
    del meta["stage"]["unet"]["guidance_weight"]
    run(tmp_path, config_of(steps=1), meta=meta)
    run(tmp_path, config_of(steps=2), meta=stage_meta())
    with pytest.raises(InputError, match=r"unet\.guidance_weight: false -> true"):
        run(tmp_path, config_of(steps=3), meta=meta_with(guidance_weight=True))


def test_changed_settings_are_named_in_a_warning_and_kept_in_the_history(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1))
    with pytest.warns(UserWarning, match=re.escape("learning_rate 0.0004 -> 0.1; seed 0 -> 3")):
        run(tmp_path, config_of(steps=2, learning_rate=0.1, seed=3))
    with pytest.warns(UserWarning, match="clips 4 -> 5"):
        run(tmp_path, config_of(steps=3, learning_rate=0.1, seed=3, clips=5))
    history = newest_state(tmp_path)["meta"]["history"]
    assert [entry["from_step"] for entry in history] == [1, 2]
    assert history[0]["changed"] == {
        "steps": [1, 2], "learning_rate": [0.0004, 0.1], "seed": [0, 3],
    }  # fmt: skip


def test_other_data_is_named(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1), meta={**stage_meta(), "data": {"shards": "a"}})
    with pytest.warns(UserWarning, match=r"data \{'shards': 'a'\} -> \{'shards': 'b'\}"):
        run(tmp_path, config_of(steps=2), meta={**stage_meta(), "data": {"shards": "b"}})


def test_a_run_goes_on_over_fewer_clips_than_it_began_with(tmp_path: Path) -> None:
    """The step counts on; the position in the data starts over and indexes nothing outside."""

    class Clips(ColourClips):
        count = 12

        def batch(self, step: int) -> Batch:
            row = example("clips", step, self.count, seed=0)
            assert row < self.count
            return super().batch(row)

    run(tmp_path, config_of(steps=11), batches=Clips())
    Clips.count = 3
    run(tmp_path, config_of(steps=15), batches=Clips())
    assert newest_state(tmp_path)["step"] == 15


def test_more_steps_and_how_often_to_save_are_nobodys_concern(tmp_path: Path) -> None:
    run(tmp_path, config_of(steps=1))
    run(tmp_path, config_of(steps=2, log_every=3, keep_checkpoints=5, validate_every=7))


def test_every_harmless_setting_is_a_setting() -> None:
    assert {field.name for field in dataclasses.fields(TrainConfig)} > HARMLESS
