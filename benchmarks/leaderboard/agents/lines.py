"""Reading an answer out of what a model wrote: its own text, and no document's."""

from __future__ import annotations

import re

from benchmarks.leaderboard.agents.talk import Talk

__all__ = ["boxed", "first_line", "labelled", "without_thoughts", "write_line"]

_LABEL = re.compile(
    r"^\W*(?:so,?\s+|therefore,?\s+)?(?:the\s+)?(?:final\s+|short\s+|correct\s+)?answer"
    r"(?:\s+to\s+(?:this|the|your)\s+question)?(?:\s*[*_]*:|\s+is\b:?)\s*",
    re.IGNORECASE,
)
_MARKS = "*_`# \t"
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_BOXED = "\\boxed{"
_TEXT = re.compile(r"\\(?:text|textbf|mathrm)\{([^{}]*)\}")


def without_thoughts(text: str) -> str:
    """A text without what stands between `<think>` and `</think>`; a thought that isn't closed hides the rest.

    Examples:
        >>> without_thoughts("<think>Rome?</think>Paris")
        'Paris'
    """
    return _THOUGHT.sub("", text).partition("<think>")[0]


def first_line(text: str) -> str | None:
    r"""The first line that says something, without a label or marks of emphasis around it.

    Examples:
        >>> first_line("\n**Answer:** Paris\nIt is the capital.")
        'Paris'
        >>> first_line("The answer to this question is: Paris.")
        'Paris.'
        >>> first_line(" \n") is None
        True
    """
    for line in without_thoughts(text).splitlines():
        said = _LABEL.sub("", line).strip(_MARKS)
        if said:
            return said
    return None


def labelled(text: str) -> str | None:
    r"""What follows the last label that begins a line: `Answer:`, or words like "the answer is".

    Examples:
        >>> labelled("Step 1: look. Step 2: think.\nFinal answer: **Paris**\n")
        'Paris'
        >>> labelled("It is Paris.") is None
        True
    """
    lines = without_thoughts(text).splitlines()
    for number in range(len(lines) - 1, -1, -1):
        found = _LABEL.match(lines[number])
        if found:
            return first_line("\n".join([lines[number][found.end() :], *lines[number + 1 :]]))
    return None


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{…}`.

    Examples:
        >>> boxed(r"So it is \boxed{Rome}. No: \boxed{\text{Paris}}")
        'Paris'
        >>> boxed(r"\boxed{Rome") is None
        True
    """
    plain = without_thoughts(text)
    start = plain.rfind(_BOXED)
    while start >= 0:
        depth = 0
        for end in range(start + len(_BOXED) - 1, len(plain)):
            depth += {"{": 1, "}": -1}.get(plain[end], 0)
            if not depth:
                return _TEXT.sub(r"\1", plain[start + len(_BOXED) : end]).strip() or None
        start = plain.rfind(_BOXED, 0, start)
    return None


async def write_line(talk: Talk, *, max_tries: int = 3) -> str:
    """Have the model write one line; an empty one doesn't count, and a thought before it may have several.

    Returns:
        All that it wrote.
    """
    said = ""
    for _ in range(max_tries):
        is_thinking = "<think>" in said and "</think>" not in said
        said += await talk.write(stop=("</think>" if is_thinking else "\n",))
        if talk.ended != "stop" or first_line(said) is not None:
            break
    return said
