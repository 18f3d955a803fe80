from __future__ import annotations

from pathlib import Path

import pytest

from imagen_video.errors import InputError
from imagen_video.presets import PRESETS
from imagen_video.presets.user import load_preset

GOOD = """
from __future__ import annotations

import dataclasses

from imagen_video.cascade.spec import CascadeSpec
from imagen_video.presets.tiny import tiny


@dataclasses.dataclass(frozen=True)
class Width:
    value: int = 1


def cascade() -> CascadeSpec:
    return dataclasses.replace(tiny(), name=f"mine-{Width().value}")


def takes(width):
    return cascade()


def number():
    return 7


def breaks():
    return 1 // 0


def inconsistent():
    return dataclasses.replace(tiny(), stages=())


three = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_cascade.py"
    path.write_text(GOOD, encoding="utf-8")
    return path


def message(text: str) -> str:
    with pytest.raises(InputError) as raised:
        load_preset(text)
    return str(raised.value)


def test_a_plain_name_is_a_shipped_preset() -> None:
    assert load_preset("tiny") == PRESETS["tiny"]()


def test_a_function_in_a_file_is_a_preset_too(file: Path) -> None:
    assert load_preset(f"{file}:cascade").name == "mine-1"


def test_an_edited_file_is_executed_anew_and_leaves_no_cache(file: Path) -> None:
    load_preset(f"{file}:cascade")
    file.write_text(GOOD.replace("value: int = 1", "value: int = 2"), encoding="utf-8")
    assert load_preset(f"{file}:cascade").name == "mine-2"
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_an_unknown_name_lists_the_presets() -> None:
    assert "tiny" in message("tinny")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert f"no file {tmp_path}/none.py" in message(f"{tmp_path}/none.py:cascade")


def test_a_missing_function_lists_those_that_are_there(file: Path) -> None:
    said = message(f"{file}:cascades")
    assert "no function 'cascades'" in said
    assert "cascade, takes, number, breaks" in said


def test_a_file_without_a_function_says_how_to_name_one(file: Path) -> None:
    assert f"write {file}:FUNCTION" in message(str(file))


def test_a_value_is_not_a_function(file: Path) -> None:
    assert "'three' is int, not a function" in message(f"{file}:three")


def test_a_function_with_arguments_is_refused(file: Path) -> None:
    assert "without arguments" in message(f"{file}:takes")


def test_something_else_than_a_cascade_is_refused(file: Path) -> None:
    assert "returns int; expected a CascadeSpec" in message(f"{file}:number")


def test_an_error_in_the_function_names_its_line(file: Path) -> None:
    line = GOOD.splitlines().index("    return 1 // 0") + 1
    assert f"{file} line {line}: got ZeroDivisionError" in message(f"{file}:breaks")


def test_an_error_of_a_spec_keeps_its_message_and_gets_a_line(file: Path) -> None:
    line = GOOD.splitlines().index("    return dataclasses.replace(tiny(), stages=())") + 1
    said = message(f"{file}:inconsistent")
    assert f"line {line}" in said
    assert "CascadeSpec.stages" in said


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("x = 1\ny = = 2\n", "line 2: got SyntaxError"),
        ("x = 1\n\nimport not_there_at_all\n", "line 3: got ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", "line 2: got SystemExit: 3"),
    ],
)
def test_a_file_that_cannot_be_imported_says_where(
    tmp_path: Path, source: str, expected: str
) -> None:
    path = tmp_path / "bad.py"
    path.write_text(source, encoding="utf-8")
    assert expected in message(f"{path}:cascade")
