from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from imagen_video.cascade.bundle import save_bundle
from imagen_video.cascade.model_card import CardFacts, CardMetric, model_card
from imagen_video.cascade.spec import CascadeSpec
from imagen_video.errors import InputError
from unit.cascade.small_cascades import small_cascade, small_networks, small_pipeline

FACTS = CardFacts(
    licence="cc-by-4.0",
    summary="Makes small clips.",
    data="Ten clips of a tree, drawn by us.",
    metrics=(CardMetric(name="Frechet distance", value=7.25, data="8 clips", stage="ssr1"),),
    limits=("Trees only.", "Not for people."),
)


def card_of(facts: CardFacts, **more: Any) -> str:
    return model_card(small_cascade(), {"card": facts.to_json(), **more}, ("base", "ssr1"))


def head(card: str) -> Any:
    return ModelCard(card).data


def section(card: str, name: str) -> str:
    return card.split(f"\n## {name}\n")[1].split("\n## ")[0]


def test_the_head_is_what_the_hub_reads() -> None:
    data = head(card_of(FACTS))
    assert data.license == "cc-by-4.0"
    assert data.library_name == "imagen-video"
    assert data.pipeline_tag == "text-to-video"
    assert data.model_name == "small"
    [result] = data.eval_results
    assert (result.metric_value, result.dataset_name) == (7.25, "8 clips")


def test_the_page_says_what_is_known_of_stages_data_metrics_and_limits() -> None:
    card = card_of(FACTS, training={"base": {"updates": 12345}})
    rows = [line.split(" | ") for line in section(card, "Stages").splitlines() if "fps" in line]
    assert [row[0] for row in rows] == ["| base", "| tsr1", "| ssr1"]
    assert [row[2] for row in rows] == ["4x4x6 at 6 fps", "8x4x6 at 12 fps", "8x8x12 at 12 fps"]
    assert [row[-1] for row in rows] == ["12,345 updates |", "no weights |", "not stated |"]
    assert "Ten clips of a tree" in section(card, "Data")
    assert "| ssr1 | Frechet distance | 7.25 | 8 clips |" in section(card, "Metrics")
    assert "* Trees only.\n* Not for people." in section(card, "Limits")
    assert "cc-by-4.0" in section(card, "Licence")


def test_what_nobody_said_is_called_not_stated() -> None:
    card = model_card(small_cascade(), {}, ())
    assert head(card).license == "unknown"
    for name in ("Data", "Metrics", "Limits", "Licence"):
        assert section(card, name).strip().startswith("Not stated")


def test_the_note_of_an_export_is_the_data_section() -> None:
    assert "Our own recordings." in section(
        model_card(small_cascade(), {"note": "Our own recordings."}, ()), "Data"
    )


def test_a_cascade_without_text_is_no_text_to_video_model() -> None:
    told = small_cascade().to_json()
    for stage in told["stages"]:
        stage["unet"]["text_width"] = None
        for level in stage["unet"]["levels"]:
            level["text_attention"] = False
    card = model_card(CascadeSpec.from_json({**told, "text_encoder": None}), {}, ())
    assert head(card).pipeline_tag is None
    assert "pipe(seed=1)" in card


@pytest.mark.parametrize(
    "told",
    [
        None,
        "x",
        {"licence": 3, "data": ["x"], "metrics": "x", "limits": {"a": 1}},
        {"licence": "Not A Licence\n---\nx: y", "limits": [1, None], "metrics": [{"value": "x"}]},
        {"metrics": [{"name": "a | b\n---\n: {", "value": 1.0, "data": "x\n- y: ["}]},
        {"data": "x" * 100_000, "limits": ["y"] * 10_000},
    ],
)
def test_facts_from_a_strange_bundle_make_a_whole_page_or_are_left_out(told: object) -> None:
    card = model_card(small_cascade(), {"card": told, "training": told}, ("base",))
    data = head(card)
    assert data.license == "unknown"
    assert data.library_name == "imagen-video"
    assert len(card) < 20_000
    widths = {line.count(" | ") for line in section(card, "Metrics").splitlines() if line}
    assert len(widths) == 1


@pytest.mark.parametrize("licence", ["", "Apache 2.0", "mit\nx: y"])
def test_a_licence_that_the_hub_would_refuse_is_refused(licence: str) -> None:
    with pytest.raises(InputError, match="as the hub names it"):
        CardFacts(licence=licence)


def test_a_saved_bundle_has_its_card_and_keeps_the_facts(tmp_path: Path) -> None:
    pipe = small_pipeline()
    pipe.card = FACTS
    pipe.save_pretrained(tmp_path / "bundle")
    again = type(pipe).from_pretrained(tmp_path / "bundle")
    assert again.card == FACTS
    assert "Trees only." in (tmp_path / "bundle" / "README.md").read_text()
    kept = json.loads((tmp_path / "bundle" / "cascade.json").read_text())["provenance"]
    assert kept["card"]["licence"] == "cc-by-4.0"


def test_a_bundle_saved_without_some_weights_says_so(tmp_path: Path) -> None:
    spec = small_cascade()
    save_bundle(tmp_path / "b", spec, {"base": small_networks(spec)["base"]})
    stages = section((tmp_path / "b" / "README.md").read_text(), "Stages")
    assert stages.count("no weights") == 2
