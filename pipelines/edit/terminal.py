"""Terminal: edits that are typed, one a line, and what they did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TextIO

from grounding.errors import LavallamaError
from grounding.geometry import normalized_to_pixels
from grounding.masks import region_box
from grounding.region import Region
from pipelines.console import EXIT_ERROR, one_line
from pipelines.edit.history import Edit
from pipelines.edit.language import Command, read_line
from pipelines.edit.options import PROG, USAGE
from pipelines.edit.session import EditSession

__all__ = ["Terminal", "said"]

PROMPT = "edit> "
HELP = f"""\
{USAGE}

  show                            the regions, and OUT/edited.overlay.png
  save                            write everything to OUT
  quit                            save and leave; Ctrl-C leaves without saving"""


class Terminal:
    """A conversation: what cannot be done is one line, and leaves the session as it was."""

    def __init__(self, session: EditSession, out: Path) -> None:
        """Talk about a session, whose results go to a folder."""
        self.session, self.out = session, out
        self.saved = session.history

    def run(self, typed: TextIO) -> int:
        """Read lines until `quit` or the end, and save what was done.

        Returns:
            The exit code: that of an error, if nobody was there to see a line that failed.
        """
        failed = False
        while True:
            if typed.isatty():
                print(PROMPT, end="", flush=True)
            line = typed.readline()
            if not line or line.strip() == "quit":
                break
            try:
                self._answer(line.strip())
            except LavallamaError as error:
                print(f"{PROG}: error: {one_line(error)}", file=sys.stderr)
                failed = True
        if self.session.history is not self.saved:
            self._save()
        return EXIT_ERROR if failed and not typed.isatty() else 0

    def _answer(self, line: str) -> None:
        if line == "help":
            print(HELP)
        elif line == "show":
            self._save()
            for region in self.session.document.regions:
                print(self._line(region))
        elif line == "save":
            self._save()
        elif line.split("#")[0].strip():
            print(said(self.session, read_line(line)))

    def _save(self) -> None:
        for path in self.session.save(self.out):
            print(path)
        self.saved = self.session.history

    def _line(self, region: Region) -> str:
        """A region in pixels; a star stands before what is selected."""
        star = "*" if region.id in self.session.scene.selected else " "
        line = f"{star} {region.id}  {' '.join(region.phrase.split()) or 'unnamed'}"
        box = region_box(region)
        if box is None:
            return line
        place = normalized_to_pixels(box, self.session.scene.size)
        return f"{line}  box {','.join(f'{value:.0f}' for value in place)}"


def said(session: EditSession, step: Edit | Command) -> str:
    """Do a step, and say what it did.

    Raises:
        LavallamaError: it cannot be done.
    """
    if step == "undo":
        last = session.history.now.said
        session.undo()
        return f"undone: {last}"
    if step == "redo":
        return f"done again: {session.redo().said}"
    return session.do(step).said
