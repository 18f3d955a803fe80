"""Pushed and fetched with the real client, against a hub on this machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard, constants

from imagen_video.cascade.model_card import CardFacts
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.errors import BundleError, InputError, ResourceError
from unit.cascade.fake_hub import FakeHub, serving, use
from unit.cascade.small_cascades import WordEncoder, small_cascade, small_pipeline

DEAD = "http://127.0.0.1:9"
PARTS = ("cascade.json", "text_encoder.json", "README.md")
WEIGHTS = "base/model.safetensors"


@pytest.fixture(scope="module")
def address_and_hub() -> Iterator[tuple[str, FakeHub]]:
    hub = FakeHub()
    with serving(hub) as address:
        yield address, hub


@pytest.fixture
def address(
    address_and_hub: tuple[str, FakeHub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> str:
    use(monkeypatch, address_and_hub[0], tmp_path / "cache")
    return address_and_hub[0]


@pytest.fixture
def hub(address_and_hub: tuple[str, FakeHub], address: str) -> FakeHub:
    hub = address_and_hub[1]
    hub.refs, hub.commits, hub.fetched, hub.refuses = {}, {}, [], None
    return hub


def weight(pipe: ImagenVideoPipeline) -> torch.Tensor:
    return next(pipe.network("base").parameters()).detach()


def changed_pipeline() -> ImagenVideoPipeline:
    pipe = small_pipeline()
    with torch.no_grad():
        next(pipe.network("base").parameters()).add_(1.0)
    return pipe


def test_what_is_pushed_comes_back_and_makes_the_same_video(hub: FakeHub) -> None:
    pipe = small_pipeline()
    pipe.card = CardFacts(licence="mit", data="Nothing: random weights.")
    commit = pipe.push_to_hub("me/small", dtype=torch.float32)
    assert hub.refs["me/small"]["main"] == commit
    again = ImagenVideoPipeline.from_pretrained("me/small")
    again._encoder = WordEncoder()
    assert again.card == pipe.card
    np.testing.assert_array_equal(pipe("a b", seed=3).frames[0], again("a b", seed=3).frames[0])


def test_only_the_bundles_own_files_are_pushed_and_the_card_knows_its_home(hub: FakeHub) -> None:
    commit = small_pipeline().push_to_hub("me/small")
    stages = [stage.name for stage in small_cascade().stages]
    own = {f"{name}/{file}" for name in stages for file in ("config.json", "model.safetensors")}
    assert set(hub.commits[commit]) == own | set(PARTS)
    card = ModelCard(hub.commits[commit]["README.md"].decode())
    assert 'from_pretrained("me/small")' in card.text
    assert card.data.to_dict()["library_name"] == "imagen-video"


def test_only_the_bundles_own_files_are_fetched(hub: FakeHub) -> None:
    small_pipeline().push_to_hub("me/small")
    foreign = {
        "pipeline.py": b"raise SystemExit",
        "base/model.bin": b"x",
        "ssr9/config.json": b"{}",
    }
    hub.commit("me/small", foreign)
    pipe = ImagenVideoPipeline.from_pretrained("me/small")
    assert weight(pipe).isfinite().all()
    assert not set(foreign) & set(hub.fetched)
    assert WEIGHTS in hub.fetched


def test_a_commit_stays_what_it_was(hub: FakeHub) -> None:
    first = small_pipeline().push_to_hub("me/small")
    second = changed_pipeline().push_to_hub("me/small")
    old = weight(ImagenVideoPipeline.from_pretrained("me/small", revision=first))
    new = weight(ImagenVideoPipeline.from_pretrained("me/small"))
    assert first != second
    torch.testing.assert_close(new, old + 1, atol=2e-3, rtol=0)


def test_a_branch_is_pushed_to_and_fetched_from_and_main_stays(hub: FakeHub) -> None:
    main = small_pipeline().push_to_hub("me/small")
    branch = changed_pipeline().push_to_hub("me/small", revision="trial")
    assert hub.refs["me/small"] == {"main": main, "trial": branch}
    trial = weight(ImagenVideoPipeline.from_pretrained("me/small", revision="trial"))
    assert not torch.equal(trial, weight(ImagenVideoPipeline.from_pretrained("me/small")))


@pytest.mark.parametrize("how", ["offline", "dead"])
def test_without_a_network_the_cache_serves_what_was_fetched_before(
    hub: FakeHub, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    first = small_pipeline().push_to_hub("me/small")
    online = weight(ImagenVideoPipeline.from_pretrained("me/small"))
    use(monkeypatch, DEAD if how == "dead" else address, tmp_path / "cache", offline=how != "dead")
    hub.fetched.clear()
    for revision in (None, "main", first):
        cached = ImagenVideoPipeline.from_pretrained("me/small", revision=revision)
        assert torch.equal(weight(cached), online)
    assert not hub.fetched
    with pytest.raises(BundleError, match=f"the cache has only main, {first}"):
        ImagenVideoPipeline.from_pretrained("me/small", revision="v2")


@pytest.mark.parametrize(
    ("how", "told"), [("offline", "HF_HUB_OFFLINE=1"), ("dead", "cannot be reached")]
)
def test_without_a_network_and_with_nothing_cached_the_error_says_so(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str, told: str
) -> None:
    use(monkeypatch, DEAD if how == "dead" else address, tmp_path / "cache", offline=how != "dead")
    with pytest.raises(BundleError, match=f"(?s){told}.*nothing of it is in the cache"):
        ImagenVideoPipeline.from_pretrained("me/small")
    with pytest.raises(InputError, match="push_to_hub"):
        small_pipeline().push_to_hub("me/small")


def test_half_a_download_is_no_bundle_offline(
    hub: FakeHub, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    small_pipeline().push_to_hub("me/small")
    ImagenVideoPipeline.from_pretrained("me/small")
    [cached] = (tmp_path / "cache").rglob(f"snapshots/*/{WEIGHTS}")
    cached.unlink()
    use(monkeypatch, address, tmp_path / "cache", offline=True)
    with pytest.raises(BundleError, match="only a part of it is in the cache"):
        ImagenVideoPipeline.from_pretrained("me/small")


def test_a_repository_that_is_not_there_is_named(hub: FakeHub) -> None:
    with pytest.raises(BundleError, match="no such repository") as caught:
        ImagenVideoPipeline.from_pretrained("me/none")
    assert "me/none" in caught.value.where


def test_a_revision_that_is_not_there_is_named(hub: FakeHub) -> None:
    small_pipeline().push_to_hub("me/small")
    with pytest.raises(BundleError, match="without this revision") as caught:
        ImagenVideoPipeline.from_pretrained("me/small", revision="v9")
    assert "v9" in caught.value.where


def test_a_repository_that_is_no_bundle_is_refused_before_its_weights_are_fetched(
    hub: FakeHub,
) -> None:
    hub.commit("me/other", {"model_index.json": b"{}", "unet/model.safetensors": b"x" * 1000})
    with pytest.raises(BundleError, match=r"without cascade\.json"):
        ImagenVideoPipeline.from_pretrained("me/other")
    hub.commit("me/other", {"cascade.json": b'{"schema": 99}'})
    with pytest.raises(BundleError, match="schema 99"):
        ImagenVideoPipeline.from_pretrained("me/other")
    assert set(hub.fetched) <= {"cascade.json"}


def test_weights_that_were_changed_on_the_way_are_refused(hub: FakeHub) -> None:
    commit = small_pipeline().push_to_hub("me/small")
    whole = hub.commits[commit][WEIGHTS]
    hub.commit("me/small", {WEIGHTS: whole[:-1] + bytes([whole[-1] ^ 1])})
    with pytest.raises(BundleError, match="SHA-256"):
        ImagenVideoPipeline.from_pretrained("me/small").network("base")


@pytest.mark.parametrize("status", [401, 403, 500])
def test_a_refusal_of_the_hub_says_what_to_do(hub: FakeHub, status: int) -> None:
    hub.refuses = status
    told = "hf auth login" if status < 500 else "see the hub's answer"
    with pytest.raises(InputError, match=told) as caught:
        small_pipeline().push_to_hub("me/small")
    assert "a-token-of-a-test" not in str(caught.value)


@pytest.mark.parametrize("name", ["no slash but spaces", "a/b/c", "me/..", ""])
def test_a_name_that_the_hub_cannot_have_is_refused(hub: FakeHub, name: str) -> None:
    with pytest.raises(InputError, match="owner/name"):
        small_pipeline().push_to_hub(name)


def test_a_revision_of_something_that_has_none_is_refused(tmp_path: Path) -> None:
    small_pipeline().save_pretrained(tmp_path / "b")
    for name in ("emoji", tmp_path / "b"):
        with pytest.raises(BundleError, match="only with a hub id"):
            ImagenVideoPipeline.from_pretrained(name, revision="main")


def test_a_full_disk_is_not_called_a_fault_of_the_hub(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **kwargs: object) -> str:
        raise OSError(errno.ENOSPC, "No space left on device", "cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", full)
    with pytest.raises(ResourceError, match="room on the disk"):
        ImagenVideoPipeline.from_pretrained("me/small")


def test_the_tests_own_hub_is_the_one_that_the_client_talks_to(address: str, hub: FakeHub) -> None:
    assert address == constants.ENDPOINT
