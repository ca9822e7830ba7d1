"""What a document says of single regions: kept apart, several phrases of a box."""

import numpy as np
import pytest

from gligen.config import AdapterConfig
from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt, Region
from pipelines.generate import main
from pipelines.generation.generator import Generator
from pipelines.generation.layout import plan_layout
from pipelines.generation.png import read_png

SETTINGS = {"seed": 3, "steps": 2, "schedule": (1.0, 0.0, 0.0)}
LEFT = Region(phrase="llama", box=(0.0, 0.0, 0.7, 1.0))
RIGHT = Region(phrase="volcano", box=(0.4, 0.3, 1.0, 1.0))


def drawn(generator: Generator, *regions: Region, **changes) -> np.ndarray:
    document = GroundedPrompt(prompt="p", regions=regions)
    [picture] = generator(document, **{**SETTINGS, **changes})
    return np.asarray(picture.image)


def test_isolation_is_off_unless_asked_for(generator):
    plain = drawn(generator, LEFT, RIGHT)
    assert np.array_equal(drawn(generator, LEFT, RIGHT, isolate=False), plain)
    assert not np.array_equal(drawn(generator, LEFT, RIGHT, isolate=True), plain)


def test_an_isolated_picture_is_drawn_again(generator):
    document = GroundedPrompt(prompt="p", regions=(LEFT, RIGHT))
    [made] = generator(document, **SETTINGS, isolate=True)
    assert made.document.sampling.isolate is True
    [again] = generator(made.document)
    assert np.array_equal(np.asarray(again.image), np.asarray(made.image))


def test_isolated_pictures_do_not_share_a_batch_with_others(generator):
    document = GroundedPrompt(prompt="p", regions=(LEFT, RIGHT))
    apart = document.replace(sampling=document.sampling.replace(isolate=True))
    pictures = generator([document, apart], batch=2, **SETTINGS)
    assert np.array_equal(np.asarray(pictures[0].image), drawn(generator, LEFT, RIGHT))
    expected = drawn(generator, LEFT, RIGHT, isolate=True)
    assert np.array_equal(np.asarray(pictures[1].image), expected)


def test_z_says_who_is_in_front(generator):
    below = drawn(generator, LEFT, RIGHT.replace(z=-1), isolate=True)
    assert not np.array_equal(below, drawn(generator, LEFT, RIGHT.replace(z=1), isolate=True))


def test_outlines_count_only_where_regions_are_kept_apart(generator, caplog):
    outlined = LEFT.replace(polygon=[[(0, 0), (0.3, 0), (0.3, 1), (0, 1)]])
    assert np.array_equal(drawn(generator, outlined, RIGHT), drawn(generator, LEFT, RIGHT))
    assert "no effect" in caplog.text
    assert "polygon of regions" in caplog.text
    caplog.clear()
    apart = drawn(generator, outlined, RIGHT, isolate=True)
    assert not np.array_equal(apart, drawn(generator, LEFT, RIGHT, isolate=True))
    assert caplog.text == ""


@pytest.mark.parametrize("isolate", [False, True])
def test_a_box_has_several_phrases(generator, isolate):
    other = LEFT.replace(phrase="lava")
    both = drawn(generator, LEFT, other, isolate=isolate)
    assert not np.array_equal(both, drawn(generator, LEFT, isolate=isolate))
    assert not np.array_equal(both, drawn(generator, other, isolate=isolate))


@pytest.mark.parametrize("modality", ["keypoint", "depth"])
def test_only_boxes_are_kept_apart(modality):
    with pytest.raises(PromptError, match="keeps boxes apart, and this adapter draws from"):
        plan_layout(GroundedPrompt(), AdapterConfig(modality=modality), print, isolate=True)


def test_from_the_command_line(model_folder, adapter_folder, tmp_path, capsys):
    boxes = '[{"phrase": "llama", "box": [0, 0, 0.7, 1]}, {"phrase": "fox", "box": [0.4, 0, 1, 1]}]'
    model = ["--model", str(model_folder), "--adapter", str(adapter_folder), "--device", "cpu"]
    out = tmp_path / "a.png"
    request = ["--prompt", "p", "--boxes", boxes, "--steps", "1", "--out", str(out), *model]
    assert main([*request, "--isolate"]) == 0
    assert read_png(out).sampling.isolate is True
    assert (
        main(
            ["--from-image", str(out), "--no-isolate", "--trust", "--out", str(tmp_path / "b.png")]
        )
        == 0
    )
    assert read_png(tmp_path / "b.png").sampling.isolate is False
    assert out.read_bytes() != (tmp_path / "b.png").read_bytes()
