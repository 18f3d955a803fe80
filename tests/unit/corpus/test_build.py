from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagen_video.corpus import build
from imagen_video.corpus.build import Job, build_corpus, make_sprite, plan_jobs
from imagen_video.corpus.meshes import cube
from imagen_video.corpus.packages import NPM_PACKAGES
from imagen_video.corpus.scenes import SceneSource
from imagen_video.corpus.sprites import SpriteStore
from imagen_video.corpus.subjects import read_subjects
from imagen_video.errors import DataError, InputError, ResourceError

SUBJECTS = (
    "codepoint\tname\tnoun\tverb\tfamily\n"
    "aa\thorse\ta horse\tgalloping\thorse\n"
    "bb\twhale\ta whale\tspouting\twhale\n"
)


def picture(path: Path, frames: int) -> None:
    images = [Image.new("RGBA", (32, 32), (9 * i, 99, 0, 255)) for i in range(frames)]
    path.parent.mkdir(exist_ok=True)
    images[0].save(path, save_all=True, append_images=images[1:], duration=42)


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Packages with two subjects, one of them damaged, and a single quick solid."""
    for module in ("cv2", "resvg_py", "fontpkg_lilita_one"):
        pytest.importorskip(module)
    root = tmp_path / "node_modules"
    for package in NPM_PACKAGES:
        folder = root / package.name
        folder.mkdir(parents=True)
        manifest = {"version": package.version, "license": package.licence}
        (folder / "package.json").write_text(json.dumps(manifest))
    picture(root / "@lobehub/fluent-emoji-anim-2/assets/aa-fe0f.webp", 5)
    picture(root / "@lobehub/fluent-emoji-anim-3/assets/bb.webp", 1)
    picture(root / "@lobehub/fluent-emoji-3d/assets/aa.webp", 3)
    (root / "@lobehub/fluent-emoji-3d/assets/bb.webp").write_bytes(b"broken")
    icons = {"width": 4, "height": 4, "icons": {"x": {"body": '<path d="M0 0h4v2H0z"/>'}}}
    for name, chars in (("fluent-emoji-flat", {"aa": "x", "bb": "x"}), ("noto", {"aa": "x"})):
        folder = root / "@iconify-json" / name
        (folder / "icons.json").write_text(json.dumps(icons))
        (folder / "chars.json").write_text(json.dumps(chars))
    (tmp_path / "subjects.tsv").write_text(SUBJECTS)
    monkeypatch.setattr(build, "SOLIDS", {"cube": cube})
    monkeypatch.setattr(build, "TURN_FRAMES", 1)
    return tmp_path


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(folder: Path) -> None:
        raise AssertionError("760 MB were fetched")

    monkeypatch.setattr(build, "fetch", fetch)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="check the path") as caught:
        build_corpus(tmp_path / "file" / "store")
    assert not isinstance(caught.value, ResourceError)


def test_a_corpus_is_built_from_packages_and_reported(workshop: Path) -> None:
    report = build_corpus(
        workshop / "store",
        workshop,
        subjects_file=workshop / "subjects.tsv",
        workers=1,
        progress=io.StringIO(),
    )
    store = SpriteStore.open(workshop / "store")
    assert store.sprites["animation/aa"].count == 5
    assert store.sprites["render/aa"].count == 1
    assert store.frame(store.sprites["animation/aa"], 0, 256)[100, 100].tolist()[1:] == [99, 0, 255]
    assert report.sprites == {
        "animation": 1, "render": 1, "flat": 2, "cartoon": 1, "solid": 1, "glyph": 26
    }  # fmt: skip
    assert report.subjects == len(store.subjects) == 2
    assert set(report.dropped) == {"animation/bb", "render/bb", "cartoon/bb"}
    assert "not an animation" in report.dropped["animation/bb"]
    assert report.licences["OFL-1.1"] == 26
    saved = json.loads((workshop / "store" / "report.json").read_text())
    assert saved["dropped"] == report.dropped
    assert saved["bytes"] == report.bytes


def test_a_built_corpus_gives_scenes(workshop: Path) -> None:
    table = workshop / "subjects.tsv"
    build_corpus(
        workshop / "store", workshop, subjects_file=table, workers=1, progress=io.StringIO()
    )
    store = SpriteStore.open(workshop / "store")
    source = SceneSource(store, seed=0, split="all", kinds=["subject", "solid", "word"])
    kinds = {source.scene(index).kind for index in range(200)}
    assert kinds == {"subject", "solid", "word"}


def test_a_missing_package_stops_the_build_before_anything_is_written(workshop: Path) -> None:
    shutil.rmtree(workshop / "node_modules/@iconify-json/noto")
    with pytest.raises(DataError, match="noto"):
        build_corpus(workshop / "store", workshop, progress=io.StringIO())
    assert not (workshop / "store").exists()


def test_the_plan_takes_every_style_and_says_what_is_missing(workshop: Path) -> None:
    subjects = read_subjects(workshop / "subjects.tsv")
    jobs, dropped = plan_jobs(subjects, build.locate(workshop))
    assert [job.key for job in jobs] == [
        "animation/aa", "render/aa", "flat/aa", "cartoon/aa",
        "animation/bb", "render/bb", "flat/bb", "solid/cube",
    ]  # fmt: skip
    assert list(dropped) == ["cartoon/bb"]
    assert jobs[0].source == "@lobehub/fluent-emoji-anim-2@1.0.0/aa-fe0f.webp"


def test_a_drawing_that_contradicts_its_noun_is_left_out(
    workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build, "UNFIT", {"flat/aa": "wrong colour", "flat/zz": "not here"})
    jobs, dropped = plan_jobs(read_subjects(workshop / "subjects.tsv"), build.locate(workshop))
    assert "flat/aa" not in {job.key for job in jobs}
    assert dropped["flat/aa"] == "wrong colour"
    assert "flat/zz" not in dropped


def test_an_empty_drawing_is_dropped_with_the_reason() -> None:
    pytest.importorskip("resvg_py")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>'
    made = make_sprite(Job(key="flat/aa", source="", licence="MIT", svg=svg))
    assert made == "nothing but transparent pixels"


def test_sprites_come_in_order_from_worker_processes(tmp_path: Path) -> None:
    jobs = []
    for number in range(8):
        picture(tmp_path / "in" / f"{number}.webp", 1)
        path = tmp_path / "in" / f"{number}.webp"
        jobs.append(Job(key=f"render/{number}", source="", licence="MIT", path=path, still=True))
    made = list(build._made(jobs, workers=2))
    assert [job.key for job, _ in made] == [job.key for job in jobs]
    assert all(isinstance(result, tuple) for _, result in made)
    assert np.array_equal(made[0][1][0], made[7][1][0])
