"""What a policy's text asks for.

A policy writes `<think>…</think>` and then one action, `<search>query</search>` or `<answer>answer</answer>`. The
rules:

- **The first complete action outside `<think>` wins.** It is complete where its closing tag ends; what follows is
  ignored, and is cut from the transcript. Generation with `STOP_STRINGS` stops there too. It also stops where a stop
  string completes nothing (quoted in a thought, or after an empty query). `parse_action` then says "invalid", and a
  sampler should let the policy go on, as that of `agents` does.
- A thought that is never closed hides everything after its `<think>`. Tags inside a thought are only quoted. Thoughts
  don't nest, and a `</think>` that closes nothing is ignored.
- An action's content holds no tag of the protocol: in `<search>a<answer>b</answer>` the answer is the action.
- Tags are exact: lower case, no spaces, no attributes.
- An empty query or answer is not an action.

Only the policy's own text is ever parsed, never a document and never the prompt.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

__all__ = ["STOP_STRINGS", "Action", "ActionKind", "clean_text", "parse_action"]

STOP_STRINGS: tuple[str, ...] = ("</search>", "</answer>")
"""Where a policy's generation should stop, the stop string included in its text."""

ActionKind = Literal["search", "answer", "invalid"]

_TAG = re.compile(r"<(/?)(think|search|answer|information)>")
# By far the most common text: perhaps one thought, then one action, no other tag. The general parser agrees with it.
_SIMPLE = re.compile(r"(?:[^<]*<think>[^<]*</think>)?[^<]*<(search|answer)>\s*([^<\s](?:[^<]*[^<\s])?)\s*</\1>")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Action(NamedTuple):
    """One parsed action.

    Attributes:
        kind: "search", "answer" or "invalid".
        content: The query or the answer, stripped; empty if the action is invalid.
        end: Where the action ends in the text, in characters: `text[:end]` is what the policy is taken to have said.
            The whole text, if the action is invalid.
    """

    kind: ActionKind
    content: str
    end: int


def clean_text(text: str) -> str:
    r"""Replace what cannot be encoded as UTF-8 (lone surrogates) by U+FFFD.

    Examples:
        >>> clean_text("a\ud800b")
        'a�b'
    """
    if text.isascii():
        return text
    return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def parse_action(text: str) -> Action:
    """Find the first complete action outside thoughts; the module's docstring states the rules.

    Examples:
        >>> parse_action("<think>or <answer>Rome</answer>?</think><search> capital of France </search> and more")
        Action(kind='search', content='capital of France', end=76)
        >>> parse_action("Paris").kind
        'invalid'
    """
    simple = _SIMPLE.match(text)
    if simple is not None:
        kind, content = simple.groups()
        return Action(kind, content, simple.end())  # type: ignore[arg-type]
    return _parse_any(text)


def _parse_any(text: str) -> Action:
    thinking = False
    opened = ""
    start = 0
    for match in _TAG.finditer(text):
        closing, name = match.groups()
        if name == "think":
            thinking = not closing
            opened = ""
        elif thinking:
            continue
        elif not closing:
            opened, start = name, match.end()
        else:
            content = text[start : match.start()].strip() if name == opened and name != "information" else ""
            if content:
                return Action("search" if name == "search" else "answer", content, match.end())
            opened = ""
    return Action("invalid", "", len(text))
