"""The commands of the documentation: what a reader would type, with the place it is written at."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PROGRAMS = (
    *("make", "pulumi", "python", "python3", ".venv/bin/python", ".venv/bin/pip", "aws", "eval"),
    *("git", "cd", "apt-get", "journalctl", "systemctl", "systemd-analyze", "mysql", "curl"),
    *("nft", "df", "du", "ls"),
)
"""What an inline piece of code begins with that is a command."""
_SHELLS = ("sh", "console")
_INLINE = re.compile(r"`([^`\n]+)`")
_VARIABLE = re.compile(r"[A-Z][A-Z_]*=")
_SUBSTITUTION = re.compile(r"\$\(([^()]*)\)")
_OPTIONAL = re.compile(r" \[([A-Za-z|-]+)\]")
_OPERATORS = frozenset(";&|<>")


class NotUnderstoodError(Exception):
    """The real thing would not take a command, for this reason."""


@dataclass(frozen=True)
class Written:
    """One command line."""

    file: str
    line: int
    text: str
    fenced: bool
    """It is a line of a block to type, and no mention in a sentence."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


@dataclass(frozen=True)
class Simple:
    """A command without pipes and the like."""

    words: tuple[str, ...]
    variables: dict[str, str] = field(default_factory=dict[str, str])
    """Set for it alone, in front of it."""
    fed: bool = False
    """Something is on its standard input."""


def documented() -> list[Written]:
    """Every command of README.md and docs/, in their order."""
    files = [PROJECT / "README.md", *sorted((PROJECT / "docs").rglob("*.md"))]
    return [
        found
        for file in files
        for found in commands(str(file.relative_to(PROJECT)), file.read_text())
    ]


def commands(file: str, text: str) -> Iterator[Written]:
    """Those of one page of Markdown. Of a block without a language, lines that look like one."""
    language: str | None = None
    begun, begun_at = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            language = None if language is not None else line.removeprefix("```").strip()
            continue
        if language is None:
            yield from (Written(file, number, one, fenced=False) for one in _inline(line))
        elif language in _SHELLS or (not language and (begun or _is_command(line))):
            begun_at = begun_at if begun else number
            code, _, comment = line.partition(" #")
            begun += code.rstrip().removeprefix("$ ").removesuffix("\\")
            yield from (Written(file, number, one, fenced=False) for one in _inline(comment))
            if not code.rstrip().endswith("\\"):
                if begun.strip() and not begun.startswith("#"):
                    yield Written(file, begun_at, " ".join(begun.split()), fenced=True)
                begun = ""


def _inline(line: str) -> Iterator[str]:
    for match in _INLINE.finditer(line):
        text = match[1].replace("\\|", "|")  # as a table wants it
        if _is_command(text):
            yield text


def _is_command(text: str) -> bool:
    words = text.split()
    while words and _VARIABLE.match(words[0]):
        words.pop(0)
    return len(words) > 1 and words[0] in PROGRAMS


def variants(text: str) -> list[str]:
    """`a [b|c]` is three commands: a, a b and a c."""
    match = _OPTIONAL.search(text)
    if match is None:
        return [text]
    choices = ["", *(f" {choice}" for choice in match[1].split("|"))]
    cut = [text[: match.start()] + choice + text[match.end() :] for choice in choices]
    return [variant for one in cut for variant in variants(one)]


def take_apart(text: str) -> list[Simple]:
    """The simple commands that a line consists of, those of its substitutions first.

    Raises:
        ValueError: a quotation has no end.
    """
    found: list[Simple] = []

    def cut(match: re.Match[str]) -> str:
        found.extend(take_apart(match[1]))
        return "SUBSTITUTED"

    while _SUBSTITUTION.search(text):
        text = _SUBSTITUTION.sub(cut, text)
    lexer = shlex.shlex(text, posix=True, punctuation_chars="".join(_OPERATORS))
    lexer.whitespace_split = True
    words: list[str] = []
    fed = False
    tokens = iter(lexer)
    for token in tokens:
        if not _OPERATORS.issuperset(token):
            words.append(token)
        elif token in ("<", ">", ">>"):
            next(tokens, "")
            fed = fed or token == "<"
        else:
            found.append(_simple(words, fed=fed))
            words, fed = [], token == "|"
    return [*found, _simple(words, fed=fed)]


def _simple(words: list[str], *, fed: bool) -> Simple:
    variables: dict[str, str] = {}
    while words and _VARIABLE.match(words[0]):
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    return Simple(tuple(words), variables, fed)
