from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from imagen_video.errors import InputError, ResourceError
from imagen_video.media.video_io import read_metadata, read_video
from imagen_video.web.gallery import Gallery
from imagen_video.web.jobs import State
from imagen_video.web.service import Service
from unit.web.web_services import LIMITS, ended, made, service_at, settings

FILES = ["poster.png", "preview-base.mp4", "preview-tsr1.mp4", "settings.json", "sheet.png"]
FILES += ["video.mp4"]


def test_a_result_has_its_video_previews_sheet_and_settings(service: Service) -> None:
    view = made(service)
    folder = service.gallery.root / view.id
    kept = ["base.safetensors", "tsr1.safetensors"]
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES + kept)
    frames, fps = read_video(folder / "video.mp4")
    assert frames.shape == (8, 8, 12, 3)
    assert fps == 12
    about = read_metadata(folder / "video.mp4")
    assert about["prompt"] == "a cat"
    assert "generative model" in about["description"]
    assert load_file(folder / "base.safetensors")["video"].shape == (4, 3, 4, 6)


def test_the_settings_of_a_result_make_it_again(service: Service) -> None:
    first = made(service, seed=None, steps={"tsr1": 3}, guidance_weight=1.0)
    written = json.loads((service.gallery.root / first.id / "settings.json").read_text("utf-8"))
    again = made(service, **written["settings"])
    one, two = (read_video(service.gallery.root / v.id / "video.mp4")[0] for v in (first, again))
    assert np.array_equal(one, two)


def test_results_survive_a_restart_and_half_written_ones_do_not(tmp_path: Path) -> None:
    with service_at(tmp_path) as service:
        names = [made(service, until="base", seed=seed).id for seed in range(2)]
        root = service.gallery.root
    shutil.copytree(root / names[0], root / f".new-{'a' * 32}")
    shutil.copytree(root / names[0], root / ("b" * 32))  # another's settings
    (root / ("c" * 32)).mkdir()
    shutil.copytree(root / names[0], root / ("d" * 32))
    (root / ("d" * 32) / "settings.json").write_text('{"id": "dd', encoding="utf-8")
    (root / ("e" * 32)).symlink_to(root / names[0])
    (root / "notes.txt").write_text("mine", encoding="utf-8")
    with service_at(tmp_path) as service:
        assert [result.id for result in service.gallery.newest()] == names[::-1]
        assert not list(root.glob(".new-*"))
        assert (root / "notes.txt").is_file()


def test_only_known_files_are_served_and_no_link_is_followed(service: Service) -> None:
    name = made(service, until="base").id
    gallery, folder = service.gallery, service.gallery.root / made(service, until="base").id
    assert gallery.file(name, "video.mp4") == gallery.root / name / "video.mp4"
    secret = gallery.root.parent / "secret.mp4"
    secret.write_text("secret", encoding="utf-8")
    (folder / "preview-x.mp4").symlink_to(secret)
    (gallery.root / "evil.mp4").write_text("x", encoding="utf-8")
    for identity, file in (
        (name, "../secret.mp4"),
        (name, "base.safetensors"),
        (name, "preview-../x.mp4"),
        (name, "video.mp4\n"),
        (folder.name, "preview-x.mp4"),
        ("..", "video.mp4"),
        (".lock", "video.mp4"),
        (name.upper(), "video.mp4"),
        (name + "\n", "video.mp4"),
        ("0" * 32, "video.mp4"),
    ):
        assert gallery.file(identity, file) is None, (identity, file)


def test_a_deleted_result_is_gone(service: Service) -> None:
    name = made(service, until="base").id
    assert service.gallery.delete(name)
    assert not service.gallery.delete(name)
    assert service.gallery.file(name, "video.mp4") is None
    assert len(service.gallery) == 0


def test_a_second_server_does_not_get_the_same_gallery(service: Service) -> None:
    with pytest.raises(InputError, match="in use by another server"):
        Gallery(service.gallery.root)


def test_a_nearly_full_disk_refuses_new_jobs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(service.gallery.root)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(ResourceError, match="free disk"):
        service.submit(settings())


def test_a_reroll_takes_the_stages_before_and_makes_the_others_anew(service: Service) -> None:
    first = made(service)
    again = service.again(first.id, "ssr1").model_copy(update={"seed": 9})
    view = ended(service, service.submit(again).id)
    assert view.state is State.DONE, view.error
    root = service.gallery.root
    for name in ("base.safetensors", "tsr1.safetensors", "preview-tsr1.mp4"):
        assert (root / view.id / name).read_bytes() == (root / first.id / name).read_bytes()
    one, two = (read_video(root / v.id / "video.mp4")[0] for v in (first, view))
    assert one.shape == two.shape
    assert not np.array_equal(one, two)
    result = service.gallery.get(view.id)
    assert result is not None
    assert [stage.steps > 0 for stage in result.stages] == [False, False, True]


def test_a_result_can_be_rerolled_after_its_source_was_deleted(service: Service) -> None:
    first = made(service, until="tsr1")
    second = ended(service, service.submit(service.again(first.id, "tsr1")).id)
    service.gallery.delete(first.id)
    third = service.again(second.id, "tsr1").model_copy(update={"steps": {"tsr1": 4}})
    assert ended(service, service.submit(third).id).state is State.DONE


def test_a_preview_can_be_carried_on_to_the_last_stage(service: Service) -> None:
    preview = made(service, until="tsr1")
    onward = service.again(preview.id, "ssr1").model_copy(update={"until": "ssr1"})
    view = ended(service, service.submit(onward).id)
    assert view.state is State.DONE, view.error
    whole = made(service)
    root = service.gallery.root
    one, two = (read_video(root / v.id / "video.mp4")[0].astype(int) for v in (view, whole))
    # The stages between were kept as uint8, so it is the same to that rounding.
    assert np.abs(one - two).mean() < 3


def test_a_reroll_of_a_stage_that_was_never_made_is_refused(service: Service) -> None:
    first = made(service, until="base")
    with pytest.raises(InputError, match="kept 'tsr1'"):
        service.submit(service.again(first.id, "ssr1").model_copy(update={"until": "ssr1"}))
    with pytest.raises(InputError, match="unknown name"):
        service.again("f" * 32)


def test_times_are_learned_from_the_gallery(tmp_path: Path) -> None:
    with service_at(tmp_path, limits=LIMITS) as service:
        made(service)
    with service_at(tmp_path, limits=LIMITS) as service:
        assert set(service.pace._seconds) == {"base", "tsr1", "ssr1"}
