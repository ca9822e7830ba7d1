import pytest
import torch

from grounding.errors import CheckpointError, LavallamaError
from pipelines.segmentation import segmenter
from pipelines.segmentation.segmenter import find_segmenter, open_predictor
from seem.coco_classes import COCO_CLASSES
from seem.config import CONFIGS
from seem.model import build_seem
from tests.pipelines.conftest import tiny_tokenizer
from tests.pipelines.tiny_segmenter import CLASSES, write_segmenter
from tests.seem.predicting import picture
from weights.registry import SEGMENTERS
from weights.seem import write_seem


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_segmenter(tmp_path_factory.mktemp("seem") / "tiny")


@pytest.fixture
def wordless(tmp_path):
    """A model without anything beside its parameters, as official files are."""
    config = CONFIGS["tiny"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = build_seem(config).state_dict()
    return write_seem(state, config, tmp_path / "model")


def test_a_folder_of_ours_brings_its_words_and_classes(folder):
    predictor = open_predictor(folder, device="cpu")
    assert predictor.vocabulary == CLASSES
    predictor.set_image(picture())
    assert predictor.predict(text="a llama").masks.shape == (1, 50, 70)
    again = open_predictor(str(folder), device="cpu", offline=True)
    again.set_image(picture())
    assert torch.equal(again.predict(text="a dog").logits, predictor.predict(text="a dog").logits)


def test_the_grouping_can_be_chosen(folder):
    assert open_predictor(folder, device="cpu", grouping="v0").model.config.grouping == "v0"


@pytest.mark.parametrize("name", ["seem-focalt", "seem-focall-v0", "seem-focalt-demo"])
def test_short_names_and_hub_ids_say_the_grouping(name, folder, monkeypatch):
    asked = []

    def fetch(source, *, offline):
        asked.append((source, offline))
        return folder

    monkeypatch.setattr(segmenter, "fetch_segmenter", fetch)
    known = SEGMENTERS[name]
    names = [name] if name.endswith("-demo") else [name, known.source]
    for source in names:
        predictor = open_predictor(source, device="cpu", offline=True)
        assert predictor.model.config.grouping == known.grouping
    assert asked == [(source, True) for source in names]


def test_without_words_clip_s_are_taken_and_classes_are_coco_s(wordless):
    predictor = open_predictor(wordless, device="cpu", offline=True)
    assert predictor.vocabulary == COCO_CLASSES
    tokenizer = predictor.words.tokenizer
    assert tokenizer is not None
    assert tokenizer("a photo of a cat").input_ids[1:-1] == [320, 1125, 539, 320, 2368]


def test_words_beside_a_file_come_first(wordless):
    tiny_tokenizer(wordless.parent / "tokenizer")
    assert open_predictor(wordless, device="cpu", offline=True).words.tokenizer is not None


@pytest.mark.parametrize("model", ["/nowhere/seem.pt", "./seem.pt", "seem", "a b", "", "x/y/z.txt"])
def test_what_is_neither_a_place_nor_a_name(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        find_segmenter(model, offline=True)
    assert "seem-focalt" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_of_something_else_and_a_strange_device(tmp_path, folder):
    with pytest.raises(CheckpointError):
        open_predictor(tmp_path, device="cpu", offline=True)
    with pytest.raises(LavallamaError, match="device"):
        open_predictor(folder, device="abacus")
