from __future__ import annotations

import copy
import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imagen_video.errors import InputError
from imagen_video.models.spec import LevelSpec, UNetSpec
from unit.models.random_networks import ATTENTION, EVERYTHING, LOCAL, SPECS, fresh

LEVEL = LevelSpec(channels=8, num_blocks=1)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_spec_survives_json(spec: UNetSpec) -> None:
    back = UNetSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert back == spec
    assert hash(back) == hash(spec)


def plain() -> dict[str, Any]:
    return json.loads(json.dumps(EVERYTHING.to_json()))


@pytest.mark.parametrize("data", [None, 5, "levels", [], [["levels", []]]])
def test_json_that_is_no_object_is_refused(data: Any) -> None:
    with pytest.raises(InputError, match="JSON object"):
        UNetSpec.from_json(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("unknown", 1),
        ("__class__", "os.system"),
        ("channels", "3"),
        ("channels", 3.0),
        ("channels", True),
        ("channels", None),
        ("channels", -1),
        ("channels", 10**12),
        ("patch_size", 0),
        ("embedding_width", 15),
        ("embedding_width", 10**9),
        ("head_width", 0),
        ("text_width", 0),
        ("text_width", 10**9),
        ("num_classes", -1),
        ("vector_width", [3]),
        ("low_res", 1),
        ("low_res", "yes"),
        ("residual_std", "0.5"),
        ("residual_std", float("nan")),
        ("residual_std", float("inf")),
        ("residual_std", 10**400),
        ("residual_std", 0),
        ("levels", None),
        ("levels", {}),
        ("levels", "ab"),
        ("levels", []),
        ("levels", [5]),
        ("levels", [{"channels": 8, "num_blocks": 1}] * 17),
    ],
)
def test_hostile_values_are_refused(key: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        UNetSpec.from_json({**plain(), key: value}, where="base/config.json")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("channels", 12),
        ("channels", 0),
        ("channels", 8.0),
        ("channels", 8 * 10**9),
        ("num_blocks", 0),
        ("num_blocks", 10**9),
        ("temporal", "causal"),
        ("temporal", None),
        ("temporal", ["attention"]),
        ("norm", "batch"),
        ("norm", True),
        ("spatial_attention", "no"),
        ("text_attention", 0),
        ("extra", 1),
    ],
)
def test_hostile_levels_are_refused(key: str, value: Any) -> None:
    data = plain()
    data["levels"][1] = {**data["levels"][1], key: value}
    with pytest.raises(InputError, match=r"[Ll]evel"):
        UNetSpec.from_json(data)


@pytest.mark.parametrize("key", ["channels", "num_blocks"])
def test_a_level_without_a_required_key_is_refused(key: str) -> None:
    data = plain()
    del data["levels"][0][key]
    with pytest.raises(InputError, match="required"):
        UNetSpec.from_json(data)


def test_a_spec_without_levels_is_refused() -> None:
    data = plain()
    del data["levels"]
    with pytest.raises(InputError, match="levels"):
        UNetSpec.from_json(data)


def test_reading_a_spec_leaves_the_data_alone() -> None:
    data = plain()
    kept = copy.deepcopy(data)
    UNetSpec.from_json(data)
    assert data == kept


def test_text_attention_without_text_is_refused() -> None:
    with pytest.raises(InputError, match="text_width"):
        dataclasses.replace(ATTENTION, text_width=None)


def test_a_residual_without_a_low_res_video_is_refused() -> None:
    with pytest.raises(InputError, match="low_res"):
        UNetSpec(levels=(LEVEL,), residual_std=0.5)


attention_kinds = pytest.mark.parametrize(
    "kind", [{"spatial_attention": True}, {"text_attention": True}, {"temporal": "attention"}]
)


@attention_kinds
def test_channels_that_heads_do_not_divide_are_refused_where_attention_is(
    kind: dict[str, Any],
) -> None:
    level = LevelSpec(channels=96, num_blocks=1, **kind)
    with pytest.raises(InputError, match=r"levels\[1\].channels.*multiple of 64"):
        UNetSpec(levels=(LEVEL, level), text_width=4)
    UNetSpec(levels=(LEVEL, level), text_width=4, head_width=32)


@attention_kinds
def test_a_level_narrower_than_a_head_has_one_head(kind: dict[str, Any]) -> None:
    spec = UNetSpec(
        levels=(LevelSpec(channels=24, num_blocks=1, **kind),), text_width=4, embedding_width=8
    )
    heads = [m.num_heads for m in fresh(spec).modules() if hasattr(m, "num_heads")]
    assert heads == [1]


def test_channels_need_not_be_multiples_of_heads_without_attention() -> None:
    UNetSpec(levels=(LevelSpec(channels=96, num_blocks=1, temporal="convolution"),))


@given(st.integers(1, 6), st.integers(1, 8), st.integers(-3, 200), st.integers(-3, 200))
def test_a_size_is_accepted_exactly_when_the_stride_divides_it(
    levels: int, patch: int, height: int, width: int
) -> None:
    spec = UNetSpec(levels=(LEVEL,) * levels, patch_size=patch)
    assert spec.stride == patch * 2 ** (levels - 1)
    fits = height > 0 and width > 0 and height % spec.stride == 0 and width % spec.stride == 0
    if fits:
        spec.check_size("here", height, width)
    else:
        with pytest.raises(InputError, match=f"here: got {height}x{width}"):
            spec.check_size("here", height, width)


def test_only_local_operations_make_a_network_tileable() -> None:
    assert LOCAL.tileable
    local = LOCAL.levels[1]
    for change in (
        {"norm": "group"},
        {"spatial_attention": True},
        {"temporal": "attention"},
    ):
        levels = (LOCAL.levels[0], dataclasses.replace(local, **change))
        assert not dataclasses.replace(LOCAL, levels=levels).tileable
    # text reaches every position alike
    levels = (LOCAL.levels[0], dataclasses.replace(local, text_attention=False))
    assert dataclasses.replace(LOCAL, levels=levels).tileable


def test_levels_given_as_a_list_become_a_tuple() -> None:
    spec = UNetSpec(levels=[LEVEL])  # pyright: ignore[reportArgumentType]
    assert spec.levels == (LEVEL,)
    hash(spec)
