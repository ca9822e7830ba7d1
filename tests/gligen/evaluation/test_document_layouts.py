"""Prompt documents as requests."""

import pytest

from gligen.evaluation.document_layouts import document_layouts
from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt, Region

BOX = (0.1, 0.1, 0.5, 0.5)


def test_phrases_are_looked_for_in_their_boxes():
    regions = (
        Region(phrase="red  apple", box=BOX),
        Region(phrase="dog", polygon=(((0.2, 0.2), (0.6, 0.2), (0.6, 0.4)),)),
        Region(phrase="nowhere"),
        Region(box=BOX),
    )
    document = GroundedPrompt(prompt="still life", regions=regions)
    layouts = document_layouts([("a", document)])
    [layout] = layouts.layouts()
    assert [(i.noun, i.attribute) for i in layout.instances] == [("red apple", None), ("dog", None)]
    assert layout.instances[1].box == (0.2, 0.2, 0.6, 0.4)
    assert layout.document == document
    assert layouts.left_out == {"regions without a phrase or a box": 2}
    assert not layouts.closed
    assert layouts.classes == ("red apple", "dog")


def test_a_document_without_a_prompt_is_asked_for_by_its_phrases():
    regions = (Region(phrase="dog", box=BOX), Region(phrase="dog", box=BOX))
    [layout] = document_layouts([("a", GroundedPrompt(regions=regions))]).layouts()
    assert layout.document.prompt == "dog"


def test_documents_without_regions_are_one_line():
    with pytest.raises(PromptError, match="got 1 documents and none"):
        document_layouts([("a", GroundedPrompt(prompt="a dog"))])
