"""The guard of conftest.py holds: a test cannot leave this machine, and can talk to itself."""

from __future__ import annotations

import os
import socket

import pytest


def test_a_test_cannot_connect_or_look_up_a_name() -> None:
    with socket.socket() as sock, pytest.raises(RuntimeError, match="no network"):
        sock.connect(("192.0.2.1", 80))
    with pytest.raises(RuntimeError, match="no network"):
        socket.getaddrinfo("example.invalid", 80)


def test_a_test_may_talk_to_itself() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()[:2], timeout=5) as client,
    ):
        accepted, _ = server.accept()
        with accepted:
            client.sendall(b"x")
            assert accepted.recv(1) == b"x"


def test_the_model_hub_is_off_and_threads_are_few() -> None:
    import torch

    assert os.environ["HF_HUB_OFFLINE"] == "1"
    wanted = int(os.environ.get("IMAGEN_VIDEO_TEST_THREADS", "1"))
    assert torch.get_num_threads() == wanted
