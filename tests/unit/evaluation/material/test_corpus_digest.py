"""Whatever is kept of real renders is kept under the corpus that they were drawn from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from imagen_video.corpus.digest import corpus_digest
from imagen_video.corpus.scenes import Scene, held_out_prompts
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.distillation.judging import Judge, ProbeSize
from imagen_video.errors import DataError
from unit.corpus.conftest import write_store
from unit.evaluation.conftest import script, thumbnails


@pytest.fixture(scope="module")
def stores(store: SpriteStore, tmp_path_factory: pytest.TempPathFactory) -> list[SpriteStore]:
    """The same small corpus, built twice."""
    return [store, SpriteStore.open(write_store(tmp_path_factory.mktemp("rebuilt") / "store"))]


def scenes_of(store: SpriteStore) -> list[Scene]:
    return held_out_prompts(store, 3, kinds={"subject": 1.0})


def test_every_build_has_its_own_digest(stores: list[SpriteStore], tmp_path: Path) -> None:
    first, second = (corpus_digest(store.folder) for store in stores)
    assert first == corpus_digest(stores[0].folder) != second
    with pytest.raises(DataError, match="a sprite store"):
        corpus_digest(tmp_path)


def test_the_probe_of_distillation_is_fitted_on_this_corpus(
    stores: list[SpriteStore], tmp_path: Path
) -> None:
    looked: list[int] = []

    def features(frames: np.ndarray) -> torch.Tensor:
        looked.append(len(frames))
        return thumbnails(frames)

    size = ProbeSize(names=3, renders=2, work=tmp_path)
    counts = []
    for store in (stores[0], *stores):
        before = len(looked)
        Judge.of(features, store, scenes_of(store), range(0, 32, 8), (24, 40), size)
        counts.append(len(looked) - before)
    assert counts[0] == counts[2] > counts[1] == 0


def test_the_probe_of_the_benchmark_is_fitted_on_this_corpus(
    stores: list[SpriteStore], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quality = script("benchmarks", "quality")
    monkeypatch.setattr(quality, "Lite0", lambda: SimpleNamespace(frames=thumbnails))
    args = SimpleNamespace(renders=2, work=tmp_path)
    for store in (stores[0], *stores):
        names = quality.candidates(store, scenes_of(store), 3)
        quality.fitted_probe(store, names, range(0, 32, 8), (24, 40), args)
    assert len(list(tmp_path.iterdir())) == 2


def test_what_corruptions_keep_depends_on_corpus_names_scene_and_fault(
    stores: list[SpriteStore], tmp_path: Path
) -> None:
    corruptions = script("docs", "metric_corruptions")

    def judge(store: SpriteStore, names: int) -> Any:
        like = corruptions.Clip(
            frames=np.zeros((len(corruptions.TIMES), *corruptions.SIZE, 3), np.uint8),
            times=corruptions.TIMES,
        )
        probes = corruptions.Probes.fit(
            thumbnails, store, scenes_of(store), like, names=names, renders=1, cache=tmp_path
        )
        return corruptions.Judge(
            metrics=("concept",),
            features=thumbnails,
            probes=probes,
            styles=None,
            pairs=None,
            reader=None,
            extractors={},
        )

    one, other = scenes_of(stores[0])[:2]
    few, many = judge(stores[0], 4), judge(stores[0], 5)
    places = [
        corruptions.record_path(tmp_path, stores[0], few, one, "blur-1"),
        corruptions.record_path(tmp_path, stores[0], few, one, "blur-2"),
        corruptions.record_path(tmp_path, stores[0], few, other, "blur-1"),
        corruptions.record_path(tmp_path, stores[0], many, one, "blur-1"),
        corruptions.record_path(tmp_path, stores[1], few, one, "blur-1"),
    ]
    assert len(set(places)) == 5
    assert corruptions.record_path(tmp_path, stores[0], few, one, "blur-1") == places[0]
