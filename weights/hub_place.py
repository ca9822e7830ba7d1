"""What a user may write for a model on the hub: an id, a revision or a place in it, or a URL.

| written                                            | means                                |
|----------------------------------------------------|--------------------------------------|
| `owner/name`                                       | a repository                         |
| `owner/name@revision`                              | a branch, tag, commit or `refs/pr/N` |
| `owner/name/file.safetensors`                      | one file                             |
| `owner/name@revision/folder`                       | a model in a folder of a repository  |
| `https://huggingface.co/owner/name`                | the same by its page                 |
| `https://.../tree/revision/folder`                 | a folder's page                      |
| `https://.../blob/revision/file`, `.../resolve/...`| a file's page, a file's download     |
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

__all__ = ["HubPlace", "is_endpoint", "parse_place"]

HUB_HOSTS = ("huggingface.co", "hf.co", "www.huggingface.co")
NAME = r"[A-Za-z0-9_](?:[\w.-]*\w)?"
REVISION = r"(?:refs/(?:pr|convert)/[\w.-]+|[\w.-]+)"
WRITTEN = re.compile(
    rf"(?P<repo>{NAME}/{NAME})(?:@(?P<revision>{REVISION}))?"
    r"(?:/(?P<inside>[^/\\:?*]+(?:/[^/\\:?*]+)*))?"
)
PAGE = re.compile(rf"(?P<repo>{NAME}/{NAME})(?:/(?:tree|blob|resolve)/(?P<rest>.+))?")


@dataclass(frozen=True, kw_only=True)
class HubPlace:
    """A repository of the hub, or a place in one.

    Attributes:
        repo: `owner/name`.
        revision: A branch, tag or commit; None: the default branch.
        inside: A file or folder in it, without "/" at the ends; "": all of it.
    """

    repo: str
    revision: str | None = None
    inside: str = ""

    def __str__(self) -> str:
        """Return what a user may write for it."""
        revision = f"@{self.revision}" if self.revision else ""
        return f"{self.repo}{revision}" + (f"/{self.inside}" if self.inside else "")


def parse_place(source: str, *, endpoint: str | None = None) -> HubPlace | None:
    """Read what a user wrote; None if it cannot be a place on the hub.

    Args:
        source: An id or a URL, see the table in this file's head.
        endpoint: Of a mirror of the hub, whose URLs are understood too; None: HF_ENDPOINT.
    """
    if source.startswith(tuple(f"{host}/" for host in HUB_HOSTS)):  # as browsers show a page
        source = f"https://{source}"
    if "://" in source:
        return _parse_url(source, endpoint or os.environ.get("HF_ENDPOINT", ""))
    match = WRITTEN.fullmatch(source)
    if match is None or ".." in source:
        return None
    return HubPlace(repo=match["repo"], revision=match["revision"], inside=match["inside"] or "")


def is_endpoint(model: str) -> bool:
    """Whether a name is the address of a server to ask, and no page of the hub."""
    return model.startswith(("http://", "https://")) and parse_place(model) is None


def _parse_url(source: str, endpoint: str) -> HubPlace | None:
    url = urlsplit(source)
    if url.netloc not in (*HUB_HOSTS, urlsplit(endpoint).netloc) or ".." in source:
        return None
    match = PAGE.fullmatch(url.path.strip("/"))
    if match is None:
        return None
    revision, inside = None, ""
    if match["rest"]:
        found = re.match(rf"({REVISION})(?:/(.+))?$", unquote(match["rest"]))
        if found is None:
            return None
        revision, inside = found[1], found[2] or ""
    return HubPlace(repo=match["repo"], revision=revision, inside=inside)
