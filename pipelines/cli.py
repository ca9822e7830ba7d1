"""The console script `lavallama`: one subcommand for each whole task."""

import sys
from collections.abc import Sequence

from pipelines.dispatch import dispatch
from pipelines.version import software

__all__ = ["main"]

# name: (module with `main(argv) -> int`, what it does)
COMMANDS = {
    "plan": ("pipelines.plan", "lay a caption out: which things go where"),
    "generate": ("pipelines.generate", "draw pictures from a prompt and boxes"),
    "compose": ("pipelines.compose", "draw, look, repair, until the picture is as asked"),
    "segment": ("pipelines.segment", "find objects on pictures and videos"),
    "edit": ("pipelines.edit.command", "change a picture: select, remove, move, replace, add"),
    "chat": ("pipelines.chat", "ask about a picture"),
    "classify": ("pipelines.classify", "say which of some labels a picture fits"),
    "search": ("pipelines.search", "find pictures by text, picture or sound"),
    "annotate": ("pipelines.annotate.command", "turn raw pictures into training data"),
    "instruct": ("pipelines.instruct.command", "have a language model write training data"),
    "train": ("pipelines.train", "train an adapter on your own pictures, or the embedded models"),
    "evaluate": ("pipelines.evaluate", "measure a model on held-out scenes or your data"),
    "serve": ("pipelines.serve.command", "answer questions about pictures over HTTP"),
    "convert": ("pipelines.convert", "convert GLIGEN adapters between layouts"),
    "models": ("pipelines.models", "list, download, check and remove public models"),
    "env": ("pipelines.environment", "say what a bug report needs"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Hand over to a subcommand; returns the exit code."""
    return dispatch(
        argv,
        COMMANDS,
        prog="lavallama",
        noun="command",
        description="Grounded image generation and promptable segmentation: say what, and where.",
        version=software(),
    )


if __name__ == "__main__":
    sys.exit(main())
