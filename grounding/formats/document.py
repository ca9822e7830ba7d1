"""Our own document, as parsed JSON."""

from collections.abc import Mapping

from grounding.errors import PromptError
from grounding.formats.remarks import Remarks
from grounding.formats.written import Written
from grounding.prompt import GroundedPrompt, Region

__all__ = ["read_document", "write_document"]


def read_document(data: Mapping[str, object], remarks: Remarks | None = None) -> GroundedPrompt:
    """Validate a document.

    Args:
        data: parsed JSON.
        remarks: notes regions that make no sense, which are left out; None: they are refused.

    Raises:
        PromptError: one line that names the entry.
    """
    document = dict(data)
    regions = document.get("regions")
    if remarks is not None and isinstance(regions, list):
        document["regions"] = kept = []
        for index, region in enumerate(regions):
            try:
                kept.append(Region.model_validate(region))
            except PromptError as error:
                remarks.lose("a region that makes no sense", f"regions[{index}].{error}")
    return GroundedPrompt.model_validate(document)


def write_document(prompt: GroundedPrompt) -> Written:
    """Return the document as plain JSON values; nothing is dropped."""
    return Written(prompt.to_dict(), ())
