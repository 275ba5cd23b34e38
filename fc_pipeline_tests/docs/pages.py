"""The README and the pages of `docs/` and `examples/`, taken apart: code blocks, commands, links and headings."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fc_pipeline.config.project import project_root

ROOT = project_root()
PAGES = (
    *(ROOT / "README.md", ROOT / "CHANGELOG.md"),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
)
SHELL = ""
"""The language of a code block of commands, which GitHub shows without colours."""

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block: the page that has it, its language and its lines."""

    page: str
    language: str
    text: str


def name_of(page: Path) -> str:
    """A page as others link to it."""
    return page.relative_to(ROOT).as_posix()


def blocks(page: Path) -> Iterator[Block]:
    """The code blocks of a page, without the indent that they have in a list."""
    for match in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        indent = match["indent"]
        lines = (line.removeprefix(indent) for line in match["text"].splitlines())
        yield Block(name_of(page), match["language"], "\n".join(lines))


def blocks_in(language: str) -> list[Block]:
    """All code blocks in a language."""
    return [block for page in PAGES for block in blocks(page) if block.language == language]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def inline_code(page: Path) -> list[str]:
    """What a page has in backticks."""
    return [match[1] for match in _CODE.finditer(prose(page))]


def links(page: Path) -> list[str]:
    """The targets of a page's links and images."""
    return [match[1] for match in _LINK.finditer(_CODE.sub("`code`", prose(page)))]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    return {_anchor(match[1]) for match in _HEADING.finditer(prose(page))}


def _anchor(heading: str) -> str:
    kept = re.sub(r"[^\w\- ]", "", heading.strip().lower())
    return kept.replace(" ", "-")


def shell_commands(block: Block) -> list[list[str]]:
    """The commands of a block, split as a shell does, each without comment, assignments and redirections.

    A command within `$(…)` is one of its own.
    """
    found: list[list[str]] = []
    for line in block.text.replace("\\\n", " ").splitlines():
        found += _commands(line)
    return found


def _commands(line: str) -> Iterator[list[str]]:
    for inner in re.findall(r"\$\(([^()]*(?:\([^()]*\)[^()]*)*)\)", line):
        yield from _commands(inner)
    words = shlex.split(re.sub(r"\$\((?:[^()]|\([^()]*(?:\([^()]*\))*[^()]*\))*\)", "SUBSTITUTED", line), comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words = words[1:]
    for mark in (">", ">>"):
        if mark in words:
            words = words[: words.index(mark)]
    if words:
        yield words
