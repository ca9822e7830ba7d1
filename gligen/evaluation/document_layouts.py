"""Prompt documents as requests: what the regions' phrases name is looked for in their boxes."""

from collections.abc import Sequence

from gligen.evaluation.layout import Instance, Layout, LayoutSet
from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt

__all__ = ["document_layouts"]


def document_layouts(documents: Sequence[tuple[str, GroundedPrompt]]) -> LayoutSet:
    """Make requests of prompt documents.

    Regions without a phrase or a box are drawn as the generator can, and not measured. A phrase is
    looked for as it stands, and only on the pictures that ask for it. A document without a prompt
    is asked for by its phrases.

    Args:
        documents: Names, unique, and documents.

    Raises:
        PromptError: none of them has a region that can be measured.
    """
    layouts, left_out = [], 0
    for name, document in documents:
        asked = []
        for region in document.regions:
            box, phrase = region.bounds(), " ".join(region.phrase.split())
            if box is None or not phrase:
                left_out += 1
            else:
                asked.append(Instance(noun=phrase, box=box))
        if asked:
            words = document.prompt or ", ".join(dict.fromkeys(each.noun for each in asked))
            layouts.append(
                Layout(name=name, document=document.replace(prompt=words), instances=tuple(asked))
            )
    if not layouts:
        raise PromptError(
            f"expected a document with a region that has a phrase and a box; got {len(documents)} "
            "documents and none"
        )
    nouns = dict.fromkeys(each.noun for layout in layouts for each in layout.instances)
    return LayoutSet(
        what=f"{len(layouts)} prompt document{'s' * (len(layouts) != 1)}",
        classes=tuple(nouns),
        closed=False,
        count=len(layouts),
        layouts=lambda: iter(layouts),
        has_truth=False,
        left_out={"regions without a phrase or a box": left_out} if left_out else {},
    )
