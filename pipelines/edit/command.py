"""`lavallama edit`, also `python -m pipelines.edit`: edit a document and its picture.

The same from Python: `pipelines.edit.session.EditSession`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.console import guarded, quiet_libraries
from pipelines.edit.options import OUT, PROG, edit_options

if TYPE_CHECKING:
    from pipelines.edit.history import Edit
    from pipelines.edit.language import Command
    from pipelines.edit.session import EditSession

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        argv: The options; default those of the process.

    Returns:
        The exit code: 0, or 2 after a one-line error.
    """
    options = edit_options(argv)
    return guarded(PROG, lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    """Check everything that was given, and only then load a model."""
    from pipelines.edit.language import read_line, read_script

    steps: list[Edit | Command] = [read_line(line) for line in options.do]
    if options.script is not None:
        steps = read_script(_script(options.script))
    out = _out(options)
    quiet_libraries()
    from pipelines.edit.terminal import Terminal, said

    session = _open(options)
    session.watch(out)
    if options.replay:
        session.replay()
        print(f"{len(session.history.moments)} steps, the same to the bit")
        return 0
    if not steps:
        return Terminal(session, out).run(sys.stdin)
    for step in steps:
        print(said(session, step))
    for path in session.save(out):
        print(path)
    return 0


def _script(path: str) -> str:
    from grounding.errors import PromptError
    from grounding.jsonfile import read_text

    try:
        return read_text(path)
    except PromptError as error:
        raise PromptError(f"{path}: {error}") from None


def _open(options: argparse.Namespace) -> EditSession:
    from pipelines.edit.session import EditSession

    session = EditSession.open(options.source)
    studio = session.studio
    for name in ("model", "adapter", "vae", "text_encoder", "segmenter"):
        if getattr(options, name) is not None:
            setattr(studio, name, getattr(options, name))
    studio.device, studio.offline = options.device, options.offline
    return session


def _out(options: argparse.Namespace) -> Path:
    """Where results go: refused, before any work, if it cannot be written or is being read."""
    from grounding.errors import OutputError
    from grounding.files import check_writable
    from pipelines.edit.result import result_paths

    source = Path(options.source)
    out = Path(options.out or (source if source.is_dir() else OUT))
    paths = result_paths(out)
    if source.resolve() in [path.resolve() for path in paths]:
        raise OutputError(
            f"{source}: would be replaced while it is read: choose another --out, or go on with "
            f"its history: {PROG} {source.parent}"
        )
    check_writable(paths)
    return out


if __name__ == "__main__":
    sys.exit(main())
