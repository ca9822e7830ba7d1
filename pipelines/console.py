"""What every subcommand shares at a terminal: one-line errors and warnings, quiet libraries.

Nothing here imports torch, so `--help` and wrong arguments answer at once.
"""

import argparse
import codecs
import contextlib
import io
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn

from grounding.errors import LavallamaError

__all__ = ["EXIT_ERROR", "Parser", "guarded"]

EXIT_ERROR = 2
ESCAPES = "lavallama.escapes"  # an error handler of codecs

_OUR_LOGGERS = ("grounding", "gligen", "seem", "weights", "pipelines")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that answers a wrong argument with one line, and aligns its help."""

    def __init__(self, **options):
        options.setdefault("allow_abbrev", False)
        options.setdefault("formatter_class", _Formatter)
        super().__init__(**options)

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2 and one line on stderr."""
        self.exit(EXIT_ERROR, f"{self.prog}: error: {one_line(message)}\n")


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """Paragraphs as written; options in one column of fixed width."""

    def __init__(self, prog: str):
        super().__init__(prog, max_help_position=28, width=96)


def one_line(text: object, limit: int = 600) -> str:
    """Fold a message onto one printable line of at most `limit` characters."""
    words = " ".join(str(text).split())
    words = "".join(c if c.isprintable() else "?" for c in words)
    return textwrap.shorten(words, limit, placeholder=" ...") if len(words) > limit else words


def guarded(command: str, body: Callable[[], int]) -> int:
    """Run a subcommand's body; every foreseeable failure becomes one line and exit code 2.

    Args:
        command: what the user typed, such as "lavallama generate"; it opens each line.
        body: does the work and returns the exit code.

    Returns:
        The exit code. `LAVALLAMA_DEBUG=1` in the environment lets the traceback through.
    """
    _escape_what_streams_cannot_hold()
    with _messages(command):
        try:
            return body()
        except BrokenPipeError:  # `| head` has read enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except (LavallamaError, OSError, MemoryError, RecursionError, KeyboardInterrupt) as error:
            if os.environ.get("LAVALLAMA_DEBUG"):
                raise
            _say(command, "error", _explain(error))
        except RuntimeError as error:
            if os.environ.get("LAVALLAMA_DEBUG") or "out of memory" not in str(error).lower():
                raise
            _say(command, "error", _explain(MemoryError()))
    return EXIT_ERROR


def _escape_what_streams_cannot_hold() -> None:
    """Print what a terminal or a file of another encoding than UTF-8 lacks as JSON escapes it."""

    def escape(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass").hex()
        escaped = (f"\\u{units[place : place + 4]}" for place in range(0, len(units), 4))
        return "".join(escaped), error.end

    codecs.register_error(ESCAPES, escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPES)
    if isinstance(sys.stdin, io.TextIOWrapper) and sys.stdin.errors == "strict":
        sys.stdin.reconfigure(errors="surrogateescape")


def _explain(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, MemoryError):
        return "out of memory: ask for a smaller --width and --height, or --dtype float16 on a GPU"
    if isinstance(error, RecursionError):
        return "the input is nested too deeply to be read"
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror.lower()}"
    return str(error) or type(error).__name__


def _say(command: str, kind: str, message: object) -> None:
    print(f"{command}: {kind}: {one_line(message)}", file=sys.stderr)


class _OneLineHandler(logging.Handler):
    """Our packages' warnings, one line each, a repeated one only once."""

    def __init__(self, command: str):
        super().__init__(logging.WARNING)
        self.command = command
        self.said: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self.said:
            self.said.add(message)
            kind = "error" if record.levelno >= logging.ERROR else "warning"
            _say(self.command, kind, message)


@contextlib.contextmanager
def _messages(command: str) -> Iterator[None]:
    """Our log messages on stderr; other libraries' chatter kept from the user."""
    handler = _OneLineHandler(command)
    loggers = [logging.getLogger(name) for name in _OUR_LOGGERS]
    for logger in loggers:
        logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            if not sys.warnoptions:  # `python -W ...` keeps the last word
                warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def quiet_libraries(*, transformers: bool = True) -> None:
    """Tell transformers, diffusers and huggingface_hub that a person is reading.

    Called by a subcommand before it imports them. What the user has set in the environment stays.

    Args:
        transformers: Whether the subcommand is about to import transformers anyway.
    """
    for variable in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY"):
        os.environ.setdefault(variable, "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    if not transformers:
        return

    from huggingface_hub.utils import enable_progress_bars
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # of loading; it takes those of downloads along
    if "HF_HUB_DISABLE_PROGRESS_BARS" not in os.environ:
        enable_progress_bars()
