"""One program, many commands: the first argument names the module that takes the rest."""

import importlib
import sys
from collections.abc import Mapping, Sequence

from pipelines.console import Parser

__all__ = ["dispatch"]


def dispatch(
    argv: Sequence[str] | None,
    commands: Mapping[str, tuple[str, str]],
    *,
    prog: str,
    noun: str,
    description: str,
    version: str | None = None,
) -> int:
    """Hand over to a command, importing only that one.

    Args:
        argv: the arguments after the program's name; None: those of the process.
        commands: name -> (module with `main(argv) -> int`, what it does).
        prog: what the program is called.
        noun: what its commands are called.
        description: what it is for.
        version: what `--version` prints; None: there is no such option.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    width = max(map(len, commands))
    table = "\n".join(f"  {name:{width}}  {what}" for name, (_, what) in commands.items())
    parser = Parser(
        prog=prog,
        usage=f"{prog} {noun.upper()} [options]",
        description=description,
        epilog=f"{noun}s:\n{table}\n\n`{prog} {noun.upper()} --help` lists a {noun}'s options.",
    )
    if version is not None:
        parser.add_argument("--version", action="version", version=version)
    if not arguments:
        parser.print_help()
        return 0
    name, *rest = arguments
    if name.startswith("-"):
        parser.parse_args(arguments)
    if name not in commands:
        parser.error(f"no {noun} {name!r}: choose from {', '.join(commands)}")
    return importlib.import_module(commands[name][0]).main(rest)
