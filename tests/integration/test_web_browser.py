"""The page in a real Chromium: `make browser`. Skipped where there is none."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imagen_video.media.video_io import write_video
from imagen_video.web.server import build_app
from imagen_video.web.service import Service
from integration.web_server import listening
from unit.web.test_uploads import clip
from unit.web.web_services import LIMITS, HeldPipeline, running_service

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PROMPT = "a {{panda}} ${dancing} <b>on</b> `blue`"
PATIENCE = 120_000
"""Milliseconds: the machine may be busy."""


@pytest.fixture
def held() -> HeldPipeline:
    return HeldPipeline()


@pytest.fixture
def service(tmp_path: Path, held: HeldPipeline) -> Iterator[Service]:
    yield from running_service(tmp_path, held, dataclasses.replace(LIMITS, steps=200))


@pytest.fixture
def page(service: Service) -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium: apt install chromium")
    with listening(build_app(service)) as port, playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(PATIENCE)
        foreign: list[str] = []
        faults: list[str] = []
        page.on("request", lambda r: foreign.append(r.url) if f":{port}" not in r.url else None)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto(f"http://127.0.0.1:{port}/")
        page.wait_for_selector("#generate")
        yield page
        browser.close()
        assert not [url for url in foreign if not url.startswith(("data:", "blob:"))]
        assert not faults


def test_generate_watch_reload_and_find_it_in_the_gallery(
    page: Any, held: HeldPipeline, service: Service
) -> None:
    page.fill("#prompt textarea", PROMPT)
    page.click("#generate")
    page.wait_for_selector("[data-state=running]")
    page.wait_for_selector(".iv-runs")
    held.go.set()
    page.wait_for_selector("figure[data-stage=base] video")
    page.reload()
    page.wait_for_selector("figure[data-stage=base] video")
    page.wait_for_selector("[data-state=done]")
    assert PROMPT in page.inner_text("#status")
    page.wait_for_function("document.querySelector('.iv-large video').readyState >= 2")
    page.get_by_role("tab", name="Gallery").click()
    page.click("[data-open]")
    page.wait_for_selector("#details video")
    assert PROMPT in page.inner_text("#details")
    held.go.clear()
    page.click("#reroll")
    page.wait_for_selector("[data-state=running]")
    held.go.set()
    page.wait_for_selector("[data-state=done]")
    assert len(service.gallery) == 2


def test_stop_stops(page: Any, held: HeldPipeline, service: Service) -> None:
    page.fill("#prompt textarea", "a cat")
    page.click("#generate")
    page.wait_for_selector("[data-state=running]")
    page.click("#stop")
    held.go.set()
    page.wait_for_selector("[data-state=stopped]")
    assert len(service.gallery) == 0
    assert page.is_disabled("#stop")


def test_a_mistake_is_shown(page: Any) -> None:
    page.click("#generate")
    page.get_by_text("say what to show").first.wait_for()


def test_a_clip_is_uploaded_and_enlarged(
    page: Any, held: HeldPipeline, service: Service, tmp_path: Path
) -> None:
    held.go.set()
    page.get_by_role("tab", name="Upload a clip").click()
    (tmp_path / "bad.mp4").write_bytes(b"#!/bin/sh")
    page.set_input_files("#clip input", str(tmp_path / "bad.mp4"))
    page.get_by_text("unknown kind").wait_for()
    write_video(tmp_path / "x.mp4", clip(), 12.0)
    page.set_input_files("#clip input", str(tmp_path / "x.mp4"))
    page.get_by_text("Uploaded: 20x30").wait_for()
    page.get_by_label("What the clip shows").fill("a cat")
    page.wait_for_timeout(500)
    page.click("#enlarge")
    page.wait_for_selector("[data-state=done]")
    assert service.gallery.newest()[0].settings.start_stage == "ssr1"
