"""Code that comes with weights is never run: `NO_CODE` goes with every `Auto...from_pretrained`.

Without it transformers asks at a terminal whether to run it.
"""

__all__ = ["NO_CODE", "reason_of"]

NO_CODE = {"trust_remote_code": False}
LONGEST = 160  # characters of a reason


def reason_of(error: Exception) -> str:
    """Why transformers cannot read a folder, in one line."""
    words = " ".join(str(error).split()) or type(error).__name__
    if "trust_remote_code" in words:
        return "it needs code of its own, which is never run; take a model that transformers knows"
    return words[:LONGEST]
