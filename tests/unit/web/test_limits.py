from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from imagen_video.errors import InputError
from imagen_video.web.messages import public_message
from imagen_video.web.service import Service
from unit.web.web_services import settings

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an empty prompt": ({"prompt": " \n"}, "an empty one"),
    "a megabyte of prompt": ({"prompt": "a" * 1_000_000}, "at most 2000"),
    "a control character": ({"prompt": "a \x00 cat"}, "U\\+0000"),
    "an escape sequence": ({"prompt": "a \x1b[31m cat"}, "U\\+001B"),
    "a long negative prompt": ({"negative_prompt": "a" * 2001}, "negative prompt"),
    "too many steps": ({"steps": {"ssr1": 257}}, "1 to 256"),
    "no steps": ({"steps": {"ssr1": 0}}, "1 to 256"),
    "steps of an unknown stage": ({"steps": {"ssr9": 2}}, "ssr9"),
    "an unknown stage": ({"until": "../.."}, "stage"),
    "too many frames": ({"num_frames": 16}, "frames: got 16"),
    "too many pixels": ({"height": 16, "width": 24}, "size: got 16x24"),
    "a start in the middle of nothing": ({"start_stage": "ssr1"}, "no video to start from"),
    "an upload at the base": ({"upload": "0" * 32}, "a later stage"),
    "an unknown upload": ({"upload": "0" * 32, "start_stage": "tsr1"}, "upload it again"),
    "an unknown result": ({"result": "0" * 32, "start_stage": "tsr1"}, "result"),
    "two sources": (
        {"result": "0" * 32, "upload": "0" * 32, "start_stage": "tsr1"},
        "result and upload",
    ),
    "too little memory": ({"memory_gb": 0.001}, "memory"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_over_a_limit_is_refused_before_it_is_queued(case: str, service: Service) -> None:
    changes, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        service.submit(settings(**changes))
    assert not any(service.queue.count().values())
    assert not list(service.gallery.root.glob(".new-*"))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": -1},
        {"seed": 2**63},
        {"guidance_weight": float("nan")},
        {"result": "../../etc"},
        {"colour": "red"},
        {"steps": {"base": "many"}},
        {"num_frames": 0},
    ],
)
def test_settings_of_the_wrong_kind_are_no_settings(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**changes)


def test_a_seed_is_drawn_and_noted(service: Service) -> None:
    seeds = {service.submit(settings(seed=None, until="base")).settings.seed for _ in range(2)}
    assert len(seeds) == 2
    assert None not in seeds


def test_line_ends_in_a_prompt_are_spaces(service: Service) -> None:
    view = service.submit(settings("a\tcat\r\n on\na mat", until="base"))
    assert view.settings.prompt == "a cat on a mat"


def test_a_request_lowers_the_servers_memory_and_never_raises_it(service: Service) -> None:
    from dataclasses import replace

    bounded = replace(service.limits, memory=2_000_000_000)
    assert bounded.memory_for(None) == 2_000_000_000
    assert bounded.memory_for(1.0) == 1_000_000_000
    assert bounded.memory_for(64.0) == 2_000_000_000


def test_messages_lose_the_servers_folders() -> None:
    for text in ("/srv/a b/x.mp4", "~/gallery/x.mp4", "C:\\data\\x.mp4", "(/a/b/x.mp4)"):
        message = public_message(InputError(text, "/var/lib/y", "http://z/w", "a/b and 1/2"))
        assert "x.mp4" in message
        for secret in ("srv", "gallery", "data", "/a/", "var", "lib"):
            assert secret not in message, message
    assert "memory" in public_message(MemoryError())
