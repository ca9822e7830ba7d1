"""A predictor in a folder: what it answers, it answers again."""

import json

import pytest
import torch

from grounding.errors import CheckpointError
from seem.config import CONFIGS, SeemConfig
from seem.encoded_image import Resizing
from seem.mask_rules import MaskRules
from seem.model import build_seem
from seem.predictor import Predictor
from seem.refined_predictor import RefinedPredictor
from seem.vocabulary import Vocabulary
from tests.pipelines.conftest import LENGTH, tiny_tokenizer
from tests.seem.predicting import picture
from tests.seem.tiny import REFINED
from weights.predictor import load_predictor, save_predictor

THINGS = ("cat", "dog", "hot dog", "person", "bicycle")
CONFIGS_OF = {Predictor: CONFIGS["tiny"], RefinedPredictor: REFINED}


def build(kind: type[Predictor], folder) -> Predictor:
    tokenizer = tiny_tokenizer(folder)
    config: SeemConfig = CONFIGS_OF[kind]
    values = {**config.as_dict(), "vocabulary": len(tokenizer), "text_context": LENGTH}
    torch.manual_seed(0)
    return kind(
        build_seem(SeemConfig.from_dict(values)),
        tokenizer,
        vocabulary=Vocabulary(things=THINGS, templates=("{}",)),
        resizing=Resizing(short_side=64, long_side=96),
        box_mode="outline",
        object_threshold=0.3,
        rules=MaskRules(connected=True),
    )


@pytest.mark.parametrize("kind", CONFIGS_OF)
def test_a_saved_predictor_comes_back_as_its_kind_and_answers_the_same(tmp_path, kind):
    predictor = build(kind, tmp_path / "words")
    predictor.model.half()  # as the embedded models are kept; to compute they are float32
    loaded = load_predictor(save_predictor(predictor, tmp_path / "model"))
    predictor.model.float()
    assert type(loaded) is kind
    for name in ("vocabulary", "resizing", "box_mode", "object_threshold", "rules"):
        assert getattr(loaded, name) == getattr(predictor, name)
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}
    assert not any(p.requires_grad for p in loaded.model.parameters())
    for one in (predictor, loaded):
        one.set_image(picture())
    for asked in ({"points": [[12, 9]]}, {"box": [10, 5, 45, 40]}, {"text": "dog"}):
        got, wanted = loaded.predict(**asked), predictor.predict(**asked)
        assert all(torch.equal(a, b) for a, b in zip(got, wanted, strict=True))


@pytest.mark.parametrize("kind", CONFIGS_OF)
def test_a_model_without_settings_is_opened_by_what_it_is(tmp_path, kind):
    folder = save_predictor(build(kind, tmp_path / "words"), tmp_path / "model")
    (folder / "predictor.json").unlink()
    loaded = load_predictor(folder)
    assert type(loaded) is kind
    assert loaded.vocabulary is None


def test_settings_that_make_no_sense_are_one_line(tmp_path):
    folder = save_predictor(build(RefinedPredictor, tmp_path / "words"), tmp_path / "model")
    values = json.loads((folder / "predictor.json").read_text())

    def says(message: str, **changes: object) -> None:
        (folder / "predictor.json").write_text(json.dumps({**values, **changes}))
        with pytest.raises(CheckpointError, match=message):
            load_predictor(folder)

    says("short_side", short_side=0)
    says("box_mode", box_mode="round")
    says("surprise", surprise=1)
    says("knows 5 classes .* has 4 things", things=list(THINGS[:4]))


def test_what_has_no_tokenizer_is_not_saved(tmp_path):
    predictor = RefinedPredictor(build_seem(REFINED))
    with pytest.raises(CheckpointError, match="tokenizer"):
        save_predictor(predictor, tmp_path / "model")
    assert not (tmp_path / "model").exists()
