"""Configurations: every published model by name, and JSON in and out."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from grounding.errors import CheckpointError, LavallamaError
from seem.config import CONFIGS, SeemConfig
from seem.model import build_seem
from tests.parity.seem_files import official_key

KEYS = Path(__file__).parents[1] / "golden" / "seem_keys.json"
REBUILT = {"dilation_kernel", "criterion.empty_weight"}


@pytest.mark.parametrize("name", CONFIGS)
def test_configs_survive_json(name: str) -> None:
    for grouping in ("demo", "v0", "v1"):
        config = replace(CONFIGS[name], grouping=grouping)
        assert SeemConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


@pytest.mark.parametrize("name", sorted(set(CONFIGS) - {"photographs", "stickers", "tiny"}))
def test_published_models_have_the_official_keys_and_shapes(name: str) -> None:
    official = json.loads(KEYS.read_text())[f"{name}_v1"]
    with torch.device("meta"):
        state = build_seem(CONFIGS[name]).state_dict()
    ours = {official_key(key): list(value.shape) for key, value in state.items()}
    assert ours == {k: shape for k, shape in official.items() if k not in REBUILT}


def test_unknown_choices_are_refused() -> None:
    with pytest.raises(LavallamaError, match="grouping must be one of demo, v0, v1; got 'v9'"):
        replace(CONFIGS["tiny"], grouping="v9")
    values = CONFIGS["tiny"].as_dict()
    with pytest.raises(CheckpointError, match="has no surprise"):
        SeemConfig.from_dict({**values, "surprise": 1})
    with pytest.raises(CheckpointError, match="davit, sam_vit, nanodet; got 'swin'"):
        SeemConfig.from_dict({**values, "backbone": {"kind": "swin"}})
