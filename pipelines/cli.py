"""The console script `lavallama`: one subcommand for each whole task."""

import importlib
import sys
from collections.abc import Sequence

from pipelines.console import Parser

__all__ = ["main"]

# name: (module with `main(argv) -> int`, what it does)
COMMANDS = {
    "generate": ("pipelines.generate", "draw pictures from a prompt and boxes"),
    "segment": ("pipelines.segment", "find objects on pictures and videos"),
    "train": ("pipelines.train", "train the embedded models"),
    "evaluate": ("pipelines.evaluate", "measure a model on held-out scenes or your data"),
    "serve": ("pipelines.serve.command", "answer questions about pictures over HTTP"),
    "convert": ("pipelines.convert", "convert GLIGEN adapters between layouts"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Dispatch to a subcommand, importing only that one.

    Args:
        argv: the arguments after the program's name; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, COMMANDS))
    table = "\n".join(f"  {name:{width}}  {what}" for name, (_, what) in COMMANDS.items())
    parser = Parser(
        prog="lavallama",
        usage="lavallama COMMAND [options]",
        description="Grounded image generation: say what, and where.",
        epilog=f"commands:\n{table}\n\n`lavallama COMMAND --help` lists a command's options.",
    )
    parser.add_argument("--version", action="version", version=_version())
    if not arguments:
        parser.print_help()
        return 0
    command, *rest = arguments
    if command.startswith("-"):
        parser.parse_args(arguments)
    if command not in COMMANDS:
        parser.error(f"no command {command!r}: choose from {', '.join(COMMANDS)}")
    module = importlib.import_module(COMMANDS[command][0])
    return module.main(rest)


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"lavallama {version('lavallama')}"
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "lavallama (not installed)"


if __name__ == "__main__":
    sys.exit(main())
