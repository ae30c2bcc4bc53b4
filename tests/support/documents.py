"""The pages that users read, taken apart: fenced blocks, shell commands, code in the text, links and headings.

It knows Markdown and the help texts of the command, nothing of what commands do. Invariant: nothing that a page shows as
code is left out.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from orchestration.commands import main, status, train
from tests.support.places import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
"""For users: all that they show is run."""
CONTRIBUTING, CHANGELOG = ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language as the page names it ("" where it names none) and its text."""

    page: str
    language: str
    text: str


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    return [Block(name_of(page), *found.groups()) for found in _FENCE.finditer(page.read_text())]


def file_of(block: Block) -> str | None:
    """The file that a block is to be saved as, which its first line names; None where it is to be run."""
    found = re.match(r"# ([\w/]+\.py)\n", block.text)
    return found[1] if found else None


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    """Code within the text; of docs/errors.md without its messages, which speak of mistakes."""
    text = re.sub(r"^(\| .*? \|) `.*` (\| .* \|)$", r"\1 \2", prose(page), flags=re.MULTILINE)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", text)]


def helps() -> dict[str, str]:
    """The texts with examples that `--help` prints, by where they stand."""
    texts = {
        "flopwise --help": main.HELP,
        "flopwise status --help": status.HELP,
        "flopwise train --help": train.HELP,
    }
    for path in sorted((ROOT / "conf").glob("**/*.yaml")):
        header = "\n".join(
            line.removeprefix("#").removeprefix(" ")
            for line in path.read_text().splitlines()
            if line.startswith("#")
        )
        if "Examples:" in header:
            texts[name_of(path)] = header
    return texts


def commands(text: str) -> list[str]:
    """The commands of a shell script, continued lines joined, comments left out."""
    lines = text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [shlex.join(line) for line in words if line]


def examples(text: str) -> list[str]:
    """The commands of a help text: under "Examples:", indented once; what explains them is indented more, or stands behind
    two spaces."""
    _, _, part = text.partition("Examples:\n")
    found, going_on = [], False
    for line in part.splitlines():
        if not line.startswith("  "):
            break
        if going_on or not line.startswith("   "):
            found.append(re.split(r" {2,}(?=\S)", line.strip())[0] if not going_on else line.strip())
            going_on = line.endswith("\\")
    return commands("\n".join(found))


def links(page: Path) -> list[str]:
    """Targets of links and images."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(page))


def anchors(page: Path) -> set[str]:
    """Headings as their anchors."""
    heads = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
