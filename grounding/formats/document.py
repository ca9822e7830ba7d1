"""Our own document, as parsed JSON."""

from collections.abc import Mapping

from grounding.formats.written import Written
from grounding.prompt import GroundedPrompt

__all__ = ["read_document", "write_document"]


def read_document(data: Mapping[str, object]) -> GroundedPrompt:
    """Validate a document.

    Raises:
        PromptError: one line that names the entry.
    """
    return GroundedPrompt.model_validate(dict(data))


def write_document(prompt: GroundedPrompt) -> Written:
    """Return the document as plain JSON values; nothing is dropped."""
    return Written(prompt.to_dict(), ())
