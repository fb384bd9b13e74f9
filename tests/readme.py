"""The pieces of YAML and of shell that the repository's pages offer to be copied."""

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any

from homeassistant.util.yaml import parse_yaml

ROOT = Path(__file__).parents[1]

_FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A piece of YAML that people copy; `name` is its alias or its title, else its first comment."""

    document: str
    text: str

    @property
    def config(self) -> dict[str, Any]:
        """Return what Home Assistant reads."""
        content = parse_yaml(self.text)
        assert isinstance(content, dict), self.document
        return content

    @property
    def name(self) -> str:
        """Return what the tests know it by."""
        first = self.text.splitlines()[0]
        return str(self.config.get("alias") or self.config.get("title") or first.removeprefix("# "))


def documents() -> list[Path]:
    """Return every page of the repository, without what it brings along in hidden folders."""
    pages: list[Path] = []
    for folder, folders, files in ROOT.walk():
        folders[:] = [name for name in folders if not name.startswith(".")]
        pages += [folder / name for name in files if name.endswith(".md")]
    return sorted(pages)


FENCES = [
    (page.name, language.lower(), text) for page in documents() for language, text in _FENCE.findall(page.read_text())
]
BLOCKS = [Block(page, text) for page, language, text in FENCES if language in {"yaml", "yml"}]


def block(name: str) -> Block:
    """Return the piece of YAML of that name."""
    (found,) = (candidate for candidate in BLOCKS if candidate.name == name)
    return found
