"""What this software calls itself in documents and on the command line."""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["software"]


def software() -> str:
    """Name and version; the name alone in a source tree that is not installed."""
    try:
        return f"lavallama {version('lavallama')}"
    except PackageNotFoundError:
        return "lavallama"
