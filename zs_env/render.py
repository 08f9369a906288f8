"""An episode as a person likes to read it: a coloured transcript for the terminal."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap
from typing import Any, TextIO

from zs_env.episode import Episode, Step

__all__ = ["TranscriptRenderer", "printable"]

_RESET, _BOLD, _DIM = "\x1b[0m", "\x1b[1m", "\x1b[2m"
_RED, _GREEN, _YELLOW, _BLUE, _MAGENTA, _CYAN = (f"\x1b[3{code}m" for code in range(1, 7))
_PIECE = re.compile(
    r"<think>(.*?)(?:</think>|$)|<(search|answer)>(.*?)</\2>|((?:[^<]|<(?!think>|search>|answer>))+|<)", re.DOTALL
)
_DOCUMENT = re.compile(r"^Doc (\d+): (.*)$", re.MULTILINE)
# Escape sequences and characters that change the direction of text could make a terminal lie about what was said.
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
# Nobody reads more of a paragraph, and wrapping takes time that grows with the square of a word's length.
_MAX_PARAGRAPH = 20_000


def printable(text: str) -> str:
    """Replace what would steer a terminal (control characters, changes of direction) by U+FFFD."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


class TranscriptRenderer:
    """Collects an episode's text, turn by turn.

    Args:
        max_turns: For "turn 1 of 5".
        width: Columns to wrap at; the terminal's width, at most 100, where left out.
        color: Whether to use ANSI colours.
    """

    def __init__(self, *, max_turns: int, width: int | None = None, color: bool = True) -> None:
        self._max_turns = max_turns
        self._width = max(40, width or min(shutil.get_terminal_size((88, 24)).columns, 100))
        self._color = color
        self._blocks: list[str] = []
        self._printed = 0

    @property
    def text(self) -> str:
        """Everything since the episode began."""
        return "".join(self._blocks)

    def begin(self, step: Step) -> None:
        """Start a new episode with its first step."""
        self._blocks = []
        self._printed = 0
        noise = step.info["noise_probability"]
        self._rule("Question", f"noise {noise:.0%}" if noise else "", _BOLD)
        self._paragraph(step.info["question"], style=_BOLD)

    def turn(self, episode: Episode, step: Step) -> None:
        """Add what the last action said and what it led to."""
        turn = step.info["turn"]
        self._blocks.append("\n")
        self._rule(f"Turn {turn} of {self._max_turns}", "", _DIM)
        said = [segment.text for segment in episode.segments if segment.provenance == "policy"][-1]
        for match in _PIECE.finditer(said):
            thought, kind, content, loose = match.groups()
            if thought is not None and thought.strip():
                self._labelled("think", thought, _DIM)
            elif kind and content.strip() and step.info["action"] == kind:
                self._labelled(kind, content, _YELLOW if kind == "search" else _MAGENTA)
            elif kind:
                self._labelled("says", match.group(), _DIM)
            elif loose and loose.strip():
                self._labelled("says", loose, _DIM)
        if step.info["action"] == "invalid":
            self._labelled("", "no valid action: it takes one search or one answer, between its tags", _RED)
        if "search" in step.info:
            self._documents(step.info["search"], step.new_text)
        if "status" in step.info:
            self._outcome(step)

    def print_new(self, stream: TextIO | None = None) -> None:
        """Print what has not been printed yet."""
        stream = stream or sys.stdout
        text = "".join(self._blocks[self._printed :])
        self._printed = len(self._blocks)
        encoding = getattr(stream, "encoding", None) or "utf-8"
        stream.write(text.encode(encoding, "replace").decode(encoding))
        stream.flush()

    def _documents(self, search: dict[str, Any], shown: str) -> None:
        if search["error"] is not None:
            self._labelled("", f"the search failed: {search['error']}", _RED)
            return
        facts = [
            f"{len(search['documents'])} documents from {search['engine']}",
            f"asked to be {search['quality']}",
            "golden answer inside" if search["contains_golden"] else "no golden answer inside",
            *(["cached"] if search["cached"] else []),
            *(["cut to fit"] if search["cut"] else []),
        ]
        self._labelled("", " · ".join(facts), _DIM)
        for number, line in _DOCUMENT.findall(shown):
            self._labelled(number, line.replace("&lt;", "<"), _CYAN)

    def _outcome(self, step: Step) -> None:
        info = step.info
        golden = " / ".join(info["golden_answers"])
        self._blocks.append("\n")
        if info["status"] == "answered":
            right = info["exact_match"] == 1.0
            verdict = f"{'✔ right' if right else '✘ not right'}" + ("" if right else f", it is {golden}")
        else:
            right = False
            reason = "out of turns" if info["status"] == "out_of_turns" else "the search failed"
            verdict = f"✘ no answer ({reason}), it is {golden}"
        self._rule(verdict, f"reward {step.reward:.4g} · {info['num_searches']} searches", _GREEN if right else _RED)

    def _paint(self, text: str, style: str) -> str:
        return f"{style}{text}{_RESET}" if self._color and style else text

    def _rule(self, left: str, right: str, style: str) -> None:
        left = textwrap.shorten(printable(left), max(10, self._width - len(right) - 8), placeholder="…")
        right = f" {right} ──" if right else ""
        fill = "─" * max(2, self._width - len(left) - len(right) - 4)
        self._blocks.append(self._paint(f"── {left} {fill}{right}", style) + "\n")

    def _paragraph(self, text: str, *, indent: str = "", first: str | None = None, style: str = "") -> None:
        if len(text) > _MAX_PARAGRAPH:
            text = f"{text[:_MAX_PARAGRAPH]}… ({len(text) - _MAX_PARAGRAPH:,} more characters)"
        lines = textwrap.wrap(
            printable(" ".join(text.split())),
            self._width,
            initial_indent=indent if first is None else first,
            subsequent_indent=indent,
        )
        self._blocks.extend(self._paint(line, style) + "\n" for line in lines)

    def _labelled(self, label: str, text: str, style: str) -> None:
        self._paragraph(text, indent=" " * 9, first=f"{label:>7}  ", style=style)
