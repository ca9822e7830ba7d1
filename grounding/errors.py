"""The errors that lavallama raises for its callers.

LavallamaError (a ValueError)
├── PromptError       a prompt document or a file of boxes that cannot be understood
├── GeometryError     a box, point or canvas that makes no sense
├── CheckpointError   weights that do not fit what they claim to be
├── AttentionError    an attention backend that cannot serve the request
├── AnswerError       a model's answer that cannot be had, or not be understood
├── OfflineError      something must be downloaded and cannot be
└── OutputError       a result that cannot be written
"""

__all__ = [
    "AnswerError",
    "AttentionError",
    "CheckpointError",
    "GeometryError",
    "LavallamaError",
    "OfflineError",
    "OutputError",
    "PromptError",
]


class LavallamaError(ValueError):
    """Bad input: the message says what was expected, what came, and the cure."""


class PromptError(LavallamaError):
    """A prompt document, or a foreign file of regions, cannot be understood."""


class GeometryError(LavallamaError):
    """A box, point, polygon or canvas is impossible or ambiguous."""


class CheckpointError(LavallamaError):
    """A checkpoint's keys, shapes or config are not those of the model."""


class AttentionError(LavallamaError):
    """The attention backend that was asked for cannot be used here."""


class AnswerError(LavallamaError):
    """A chat model cannot be asked, or its answer cannot be understood."""


class OfflineError(LavallamaError):
    """A file is neither on this machine nor reachable."""


class OutputError(LavallamaError):
    """A result cannot be written where it was asked for."""
