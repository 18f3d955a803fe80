"""What the arms of the experiments are, on toy stages: nothing here trains for long."""

from __future__ import annotations

import dataclasses
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imagen_video.corpus.sprites import SpriteStore
from imagen_video.data.batches.batch import Batch
from imagen_video.diffusion.loss import weighted_error
from imagen_video.diffusion.parameterization import diffuse, v_target
from imagen_video.models.conditions import Conditions
from unit.corpus.conftest import write_store
from unit.evaluation.conftest import thumbnails
from unit.experiments.scripts import script

ROOT = Path(__file__).resolve().parents[3]
FRAME, TRAINING, SMALL = script("_frame"), script("_training"), script("_small")


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("cv2")
    return write_store(tmp_path_factory.mktemp("experiments") / "store")


def laboratory(out: Path, corpus: Path, deadline: float = math.inf) -> Any:
    session = FRAME.Session(
        out=out, corpus=corpus, updates=2, clips=2, quick=True, deadline=deadline
    )
    return TRAINING.Laboratory(session)


def toy(seed: int = 0, **changes: Any) -> Any:
    config = dataclasses.replace(TRAINING.CONFIG, clips=2, images=2)
    stage = SMALL.ssr(text=False, **changes)
    return TRAINING.Training(stage=stage, source=SMALL.LOW, seed=seed, config=config)


def test_a_training_goes_to_a_milestone_and_on_from_there(tmp_path: Path, corpus: Path) -> None:
    lab = laboratory(tmp_path, corpus)
    first = {n: t.clone() for n, t in lab.trained(toy(), 1).state_dict().items()}
    lab.trained(toy(), 2)
    again = lab.trained(toy(), 1)  # loaded: training has gone past it
    assert all(torch.equal(tensor, first[name]) for name, tensor in again.state_dict().items())
    assert len(list((tmp_path / "trainings").iterdir())) == 1


def weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_milestone_outlives_its_checkpoint(tmp_path: Path, corpus: Path) -> None:
    lab = laboratory(tmp_path, corpus)
    few = dataclasses.replace(toy(), config=dataclasses.replace(toy().config, keep_checkpoints=1))
    first = weights(lab.trained(few, 1))
    lab.trained(few, 2)
    (folder,) = (tmp_path / "trainings").iterdir()
    assert [path.name for path in (folder / "checkpoints").iterdir()] == ["step-00000002"]
    assert equal(weights(lab.trained(few, 1)), first)


def test_a_milestone_that_a_shared_training_has_passed_is_trained_again(
    tmp_path: Path, corpus: Path
) -> None:
    asked_first = weights(laboratory(tmp_path / "a", corpus).trained(toy(), 1))
    lab = laboratory(tmp_path / "b", corpus)
    lab.trained(toy(), 2)
    assert equal(weights(lab.trained(toy(), 1)), asked_first)


def test_another_corpus_is_another_training(tmp_path: Path, corpus: Path) -> None:
    for store in (corpus, write_store(tmp_path / "rebuilt")):
        laboratory(tmp_path, store).trained(toy(), 1)
    assert len(list((tmp_path / "trainings").iterdir())) == 2


def test_a_training_stops_when_the_budget_is_spent(tmp_path: Path, corpus: Path) -> None:
    with pytest.raises(FRAME.OutOfTimeError):
        laboratory(tmp_path, corpus, deadline=0.0).trained(toy(), 2)


def test_equal_trainings_are_shared_and_different_ones_are_not() -> None:
    sampled_otherwise = dataclasses.replace(
        toy(), stage=dataclasses.replace(toy().stage, sampling=SMALL.sampled(toy().stage, steps=3))
    )
    assert toy().key == toy().key == sampled_otherwise.key
    others = (
        toy(seed=1),
        toy(temporal="none"),
        toy(loss="eps"),
        dataclasses.replace(toy(), data="x"),
    )
    assert len({toy().key, *(other.key for other in others)}) == 5


def test_the_eps_arm_minimises_the_error_of_eps() -> None:
    prediction = script("prediction")
    torch.manual_seed(0)
    network = prediction.EpsUNet(SMALL.ssr(text=False, residual=False).unet)
    x, eps = torch.rand(2, 2, 3, 8, 8) * 2 - 1, torch.randn(2, 2, 3, 8, 8)
    logsnr = torch.tensor([3.0, -6.0])
    conditions = Conditions(low_res=x, low_res_logsnr=torch.full((2,), 3.0))
    v_hat = network(diffuse(x, eps, logsnr), logsnr, conditions)
    # an untrained network says eps = 0, so the error of eps is its square
    loss = weighted_error("eps", v_hat, v_target(x, eps, logsnr), logsnr)
    assert torch.allclose(loss, eps.square().mean((1, 2, 3, 4)), rtol=1e-3)


def test_one_model_gets_the_updates_that_the_cascade_costs() -> None:
    both = script("cascade_or_one")
    one = both.equal_updates(300) * both.update_flops(both.ONE)
    cascade = 300 * both.update_flops(both.base()) + 100 * both.update_flops(both.ssr())
    assert one == pytest.approx(cascade, rel=0.01)


def test_own_words_say_which_word_stands_where_and_nothing_else() -> None:
    words = script("learned_text")
    encoder = words.OwnWords(["a", "horse", "red", "zebra"])
    text = encoder.encode(["a red Horse", "horse", "red a horse", "purple"])
    assert text.mask.sum(1).tolist() == [3, 1, 3, 1]
    kinds = text.states[..., : words.WORDS]
    assert torch.equal(kinds[0, 2], kinds[1, 0])  # horse, wherever it stands
    assert not torch.equal(text.states[0, 2], text.states[1, 0])  # third is not first
    assert not torch.equal(text.states[0, :2], text.states[2, :2])  # order is heard
    assert kinds[3, 0].argmax() == words.WORDS - 1  # a word that training never says
    assert len({int(kinds[0, i].argmax()) for i in range(3)}) == 3


def test_every_trained_word_has_a_place_of_its_own(corpus: Path) -> None:
    words = script("learned_text")
    known = words.trained_words(SpriteStore.open(corpus))
    encoder = words.OwnWords(known)
    assert len({encoder.place(word) for word in known}) == len(known) > 30
    assert all(encoder.place(word) == words.WORDS - 1 for word in words.SYNONYMS.values())


def test_other_words_are_never_trained_on() -> None:
    from imagen_video.corpus.captions import STYLES
    from imagen_video.corpus.grounds import GROUNDS
    from imagen_video.corpus.motions import MOTIONS
    from imagen_video.corpus.subjects import SUBJECTS_FILE

    said = [ground.phrase for ground in GROUNDS.values()]
    said += [str(told) for told in (*MOTIONS.values(), *STYLES.values())]
    said.append(SUBJECTS_FILE.read_text(encoding="utf-8"))
    trained = set(re.findall("[a-z]+", " ".join(said).lower()))
    words = script("learned_text")
    assert not trained & set(words.SYNONYMS.values())
    assert words.in_other_words("a cat on a red background") == "a cat on a crimson backdrop"


def test_styles_are_taught_on_animations_alone(tmp_path: Path, corpus: Path) -> None:
    styles, lab = script("styles"), laboratory(tmp_path, corpus)
    usual = styles.SceneSource(lab.store, seed=3)
    source = styles.Animations(lab.store, seed=3)
    assert {source.scene(i).style for i in range(30)} == {"animation"}
    assert {source.image(i)[0].style for i in range(30)} == {"animation"}
    kept = [i for i in range(30) if usual.scene(i).style == "animation"]
    assert 0 < len(kept) < 30
    assert all(source.scene(i) == usual.scene(i) for i in kept)


@pytest.mark.parametrize("moving", [False, True])
def test_clips_have_styles_in_one_arm_only(moving: bool) -> None:
    styles = script("styles")
    clips = {0: torch.rand(5, 2, 3, 8, 8), 1: torch.rand(5, 1, 3, 8, 8)}
    plain = SimpleNamespace(
        batch=lambda step: Batch(video=clips[step], captions=tuple("abcde")),
    )
    source = styles.Styled(plain, moving=moving)
    images = source.batch(1)
    assert images.captions == (
        "a, sepia photograph",
        "b, pencil drawing",
        "c, pixel art",
        "d",
        "e, sepia photograph",
    )
    for row, name in enumerate(("sepia", "pencil", "pixels", "plain", "sepia")):
        assert torch.equal(images.video[row], styles.STYLES[name][1](clips[1][row]))
    assert source.batch(0).captions[0] == "a"
    assert source.batch(0).captions[1] == ("b, sepia photograph" if moving else "b")
    assert torch.equal(source.batch(0).video, clips[0]) != moving


def test_what_the_styles_are() -> None:
    styles = script("styles")
    white, black = torch.ones(2, 3, 8, 8), -torch.ones(2, 3, 8, 8)
    cream = 2 * torch.tensor(styles.SEPIA) - 1
    torch.testing.assert_close(styles.sepia(white), cream[:, None, None].expand_as(white))
    torch.testing.assert_close(styles.sepia(black), black)
    torch.testing.assert_close(styles.pencil(black), white)  # paper: nothing has an edge
    half = torch.cat([black, white], dim=-1)
    edge = styles.pencil(half)
    assert edge[..., 7].max() < -0.9  # a line where black meets white, and nowhere else
    torch.testing.assert_close(edge[..., 8:], white)
    video = torch.rand(1, 2, 3, 8, 12)
    coarse = styles.pixels(video)
    torch.testing.assert_close(coarse.mean((-2, -1)), video.mean((-2, -1)))
    assert torch.equal(coarse[..., :4, :4], coarse[..., :1, :1].expand(1, 2, 3, 4, 4))


def test_the_judge_of_styles_knows_real_clips(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    styles = script("styles")
    lab = laboratory(tmp_path, corpus)
    monkeypatch.setattr(styles.measures, "lite0", lambda: SimpleNamespace(frames=thumbnails))
    scenes = styles.moving_scenes(lab, 4)
    assert len(scenes) == 4
    assert not {"still"} & {scene.motion for scene in scenes}
    real = lab.real(scenes, SMALL.HIGH)
    looks, later = styles.looks_of, real.roll(1, dims=1)
    renders = {name: looks(style(later)) for name, (_, style) in styles.STYLES.items()}
    for name in ("sepia", "pencil"):
        assert styles.shown(looks(styles.STYLES[name][1](real)), renders) == [name] * 4


def test_images_come_beside_clips_as_often_as_an_arm_says() -> None:
    joint = script("joint_training")
    configs = [joint.training_of(arm, 0).config for arm in joint.IMAGES]
    assert [c.image_fraction for c in configs] == [0.0, 0.5, 0.5]
    assert [c.images / c.clips for c in configs[1:]] == [4, 8]


def test_the_distilled_page_hands_its_words_over() -> None:
    command = script("distilled").command
    assert command(["--teacher", "t", "--out", "o"]) == [
        "distill",
        "report",
        "--teacher",
        "t",
        "--out",
        "o",
    ]
    assert "--out" in command([])


QUICK = ("prediction", "whole_block", "text_in_sr")
SLOW = (
    "augmentation",
    "joint_training",
    "sizes",
    "learned_text",
    "cascade_or_one",
    "styles",
    "guidance",
)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*QUICK, *SLOW])
def test_every_experiment_runs_at_toy_size(name: str, tmp_path: Path, corpus: Path) -> None:
    if script(name).EXPERIMENT.bundle == FRAME.TEACHERS and not Path(FRAME.TEACHERS).exists():
        recipe = [sys.executable, str(ROOT / "recipes" / "emoji.py"), "--teachers", FRAME.TEACHERS]
        subprocess.run(recipe, check=True, cwd=ROOT)
    words = ["--quick", "--out", str(tmp_path), "--corpus", str(corpus)]
    assert FRAME.main(script(name).EXPERIMENT, words) == 0
    assert list((tmp_path / "quick" / name / "results").glob("*.json"))
