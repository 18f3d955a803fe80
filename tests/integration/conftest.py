"""A tiny cascade with random weights, its real text encoder, and the command that uses them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from imagen_video.cascade.bundle import save_bundle
from imagen_video.cli.progress import ProgressDisplay
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.tiny import tiny
from imagen_video.text import registry
from integration.command_line import PROMPT, Done, Generate, command


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny cascade with weights that do something, also where training starts at zero."""
    path = tmp_path_factory.mktemp("bundles") / "tiny"
    generator = torch.Generator().manual_seed(0)
    networks = {}
    for stage in tiny().stages:
        network = VideoUNet(stage.unet)
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        networks[stage.name] = network
    save_bundle(path, tiny(), networks, provenance={"data": "none"})
    return path


@pytest.fixture(scope="session")
def encoder() -> Any:
    return registry.build_text_encoder(dict(tiny().text_encoder or {}))


@pytest.fixture
def one_encoder(encoder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load the text encoder once for all tests."""
    monkeypatch.setattr(registry, "build_text_encoder", lambda identity, **_: encoder)


@pytest.fixture
def generate(bundle: Path, one_encoder: None) -> Generate:
    """Run `generate` with the tiny bundle in fp32."""

    def run(*words: str | Path) -> Done:
        return command("generate", "--bundle", bundle, "--precision", "fp32", *words)

    return run


@pytest.fixture(scope="session")
def whole(bundle: Path, encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """All seven stages once."""
    out = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "build_text_encoder", lambda identity, **_: encoder)
        words = ("--out", out, "--seed", "7", "--bundle", bundle, "--keep-stages", "--json")
        return command("generate", PROMPT, *words)


@pytest.fixture
def no_sampling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if anything is computed."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("a stage ran")

    monkeypatch.setattr("imagen_video.cascade.runner.sample_stage", refuse)


@pytest.fixture
def interrupt(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[str], contextlib.AbstractContextManager]:
    """Press Ctrl-C while a stage runs."""

    @contextlib.contextmanager
    def during(stage: str) -> Iterator[None]:
        def on_progress(self: ProgressDisplay, progress: Any) -> None:
            if progress.stage == stage:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(ProgressDisplay, "on_progress", on_progress)
            yield

    return during
