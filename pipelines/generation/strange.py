"""What a picture's metadata would have loaded: nothing, unless somebody says so.

Metadata comes with pictures from anywhere; the models that it names may be local paths, or
repositories to download.
"""

import argparse

from grounding.errors import PromptError
from grounding.prompt import GroundedPrompt
from pipelines.generation.companions import notes
from weights.registry import EMBEDDED

__all__ = ["check_named"]


def check_named(options: argparse.Namespace, document: GroundedPrompt) -> None:
    """Check that a picture which is drawn again names no model that nobody asked for.

    Args:
        options: Of `lavallama generate`, with --from-image.
        document: Of the picture's metadata.

    Raises:
        PromptError: it names one; the message says which, and the option that allows it.
    """
    made = document.provenance
    if options.trust or made is None:
        return
    named: dict[str, str | None] = {"model": None, "adapter": None}
    if options.model is None:
        named["model"] = made.model
        named["adapter"] = made.adapter if options.adapter is None else None
        for part in notes.PARTS:
            told = made.settings.get(part)
            named[part] = str(told) if told and getattr(options, part) is None else None
    for kind in notes.KINDS:
        given = getattr(options, kind)
        found = notes.listed(kind, made.settings)
        named[kind] = found[0] if found and given is None else None
    strange = [(kind, name) for kind, name in named.items() if name not in (None, EMBEDDED, "none")]
    if strange:
        kind, name = strange[0]
        others = f" and {len(strange) - 1} more" if len(strange) > 1 else ""
        raise PromptError(
            f"{options.from_image} was drawn with the {kind.replace('_', ' ')} {name!r}{others}, "
            f"which only its metadata names: --trust loads them, --{kind.replace('_', '-')} "
            "another one"
        )
