"""The Ray Serve example builds its application, and a replica answers, without a running Ray."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

import pytest

from imagen_video.presets.tiny import tiny
from unit.examples.example_files import example as load_example


@pytest.fixture(scope="module")
def example() -> Any:
    return load_example("ray_serve")


class Pipe:
    """Stands for a pipeline: black frames, and what it was asked for."""

    def __call__(self, prompt: str, **asked: Any) -> Any:
        import numpy as np

        from imagen_video.cascade.request import PipelineOutput
        from imagen_video.text.base import checked_prompts

        checked_prompts([prompt])
        self.asked = asked
        clip = tiny().stages[0].output
        frames = np.zeros((clip.frames, clip.height, clip.width, 3), np.uint8)
        return PipelineOutput(frames=[frames], fps=clip.fps, stages={}, reports=())


@pytest.fixture
def replica(example: Any) -> Any:
    replica = example.Videos(until="ssr1")
    replica.pipe = Pipe()
    return replica


def answer(example: Any, replica: Any, query: str) -> Any:
    scope = {"type": "http", "query_string": query.encode(), "headers": []}
    return asyncio.run(replica(example.Request(scope)))


def test_the_application_is_built_from_its_settings(example: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Ray's own imports
        built = example.application({"until": "ssr1", "replicas": "2", "gpus": "0.5"})
    deployment = built._bound_deployment
    assert deployment.num_replicas == 2
    assert deployment.max_ongoing_requests == 1
    assert deployment.max_queued_requests == example.WAITING
    assert deployment.ray_actor_options["num_gpus"] == 0.5


def test_a_sentence_is_answered_with_a_video(example: Any, replica: Any) -> None:
    found = answer(example, replica, "prompt=a%20cat&seed=3")
    assert found.status_code == 200
    assert found.media_type == "video/mp4"
    assert found.body[4:8] == b"ftyp"
    assert (replica.pipe.asked["seed"], replica.pipe.asked["until"]) == (3, "ssr1")


@pytest.mark.parametrize("query", ["", "prompt=a&seed=-1", "prompt=a&seed=x", "prompt=%20"])
def test_a_mistake_is_answered_with_what_to_do(example: Any, replica: Any, query: str) -> None:
    found = answer(example, replica, query)
    assert found.status_code == 400
    assert b"expected" in found.body
