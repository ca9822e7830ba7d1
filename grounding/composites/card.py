"""The art's authors and licences as a model card has them.

python -m grounding.composites.card > docs/photographs-art.md
"""

from grounding.composites.art import read_table

__all__ = ["describe_art"]

HEAD = """# Art of the composites

What `grounding.composites` is made of, by archive. Everything was changed: cut out, scaled,
recoloured and put together. Regenerate with `python -m grounding.composites.card`.

```bash
pip install -e ".[art]"
python -m grounding.composites.art ART  # 0.3 GB of downloads, 1.4 GB of packs
python -m grounding.composites.store FOLDER --art ART --count 4000
```
"""


def describe_art() -> str:
    """Describe all art in Markdown: titles, authors, licences, sources and archives."""
    lines = [HEAD]
    for archive in read_table():
        lines += [f"## {archive['name']}", "", f"{archive['what']}.", ""]
        lines += [f"- <{archive['urls'][0]}>", f"- SHA-256 `{archive['sha256']}`", ""]
        lines += ["| title | author | licence | source |", "|---|---|---|---|"]
        for rule in archive["files"]:
            cells = (rule[cell] for cell in ("title", "author", "licence", "source"))
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(describe_art(), end="")
