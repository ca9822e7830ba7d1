"""How much memory there is for this process: the machine's, or its container's share.

https://docs.kernel.org/filesystems/proc.html#meminfo,
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-interface-files and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html
"""

import re
from dataclasses import dataclass
from pathlib import Path

__all__ = ["free_bytes"]

UNKNOWN = 16 * 2**30  # where nothing says it: not on Linux


@dataclass(frozen=True, kw_only=True)
class _Control:
    """Where a version of cgroups says what it allows.

    Attributes:
        line: Of /proc/self/cgroup: what stands before the group's path.
        mount: Under /sys/fs/cgroup.
        most: File of the limit in bytes.
        used: File of what is used.
        cached: Entry of memory.stat: what could be given back.
    """

    line: str
    mount: str
    most: str
    used: str
    cached: str


CONTROLS = (
    _Control(
        line="0::",
        mount="",
        most="memory.max",
        used="memory.current",
        cached="inactive_file",
    ),
    _Control(
        line=r"\d+:(?:\w+,)*memory(?:,\w+)*:",
        mount="memory",
        most="memory.limit_in_bytes",
        used="memory.usage_in_bytes",
        cached="total_inactive_file",
    ),
)


def free_bytes(root: Path = Path("/")) -> int:
    """Bytes that can still be taken without swapping, or being killed.

    Args:
        root: Where /proc and /sys are.
    """
    said = _find(r"MemAvailable:\s+(\d+) kB", _text(root / "proc/meminfo"))
    free = [int(said) * 1024] if said else []
    groups = _text(root / "proc/self/cgroup")
    for control in CONTROLS:
        mount = root / "sys/fs/cgroup" / control.mount
        own = mount / (_find(f"{control.line}/(.*)", groups) or "")
        for folder in (own, *own.parents):
            if folder.is_relative_to(mount):  # each group is bound by those above it
                free += _left(folder, control)
    return max(0, min(free, default=UNKNOWN))


def _left(folder: Path, control: _Control) -> list[int]:
    most, used = (_text(folder / name).strip() for name in (control.most, control.used))
    if not (most.isdigit() and used.isdigit()):  # "max", or no such group
        return []
    cached = _find(rf"{control.cached} (\d+)", _text(folder / "memory.stat"))
    return [int(most) - int(used) + int(cached or 0)]


def _find(line: str, text: str) -> str | None:
    found = re.search(f"^{line}$", text, re.MULTILINE)
    return found.group(1) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
