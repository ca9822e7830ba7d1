"""The server's log: lines with their time, tracebacks of faults, and no floods."""

import logging
import time

__all__ = ["Seldom", "log_to_stderr"]

BETWEEN_S = 60.0
KEPT = 1024  # addresses that are remembered


class Seldom:
    """Warns of each thing that someone does once a minute, and how often it was since."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._said: dict[tuple[str, str], list[float]] = {}

    def __call__(self, message: str, who: str) -> None:
        """Say it, or only count it.

        Args:
            message: With one %s, for who it is.
            who: An address.
        """
        now = time.monotonic()
        if len(self._said) >= KEPT:
            self._said.clear()
        said = self._said.setdefault((message, who), [-BETWEEN_S, 0])
        said[1] += 1
        if now - said[0] >= BETWEEN_S:
            again = f" ({said[1]:.0f} times)" if said[1] > 1 else ""
            self._log.warning(message + "%s", who, again)
            said[:] = [now, 0]


def log_to_stderr(access: bool) -> None:
    """Let the server's messages be read as a service's.

    Args:
        access: Whether each request is a line, too.
    """
    log = logging.getLogger("pipelines.serve")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.handlers = [handler]
    log.propagate = False
    log.setLevel(logging.INFO if access else logging.WARNING)
