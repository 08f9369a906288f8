"""Reading an answer out of what a model wrote."""

from __future__ import annotations

import re

from benchmarks.leaderboard.agents.talk import Talk

__all__ = ["first_line", "write_line"]

_LABEL = re.compile(r"^\W*(?:final\s+)?answer\W*?:\W*", re.IGNORECASE)


def first_line(text: str) -> str | None:
    r"""The first line that says something, without a label before it.

    Examples:
        >>> first_line("\n Answer: Paris\nIt is the capital.")
        'Paris'
        >>> first_line(" \n") is None
        True
    """
    for line in text.splitlines():
        said = _LABEL.sub("", line).strip()
        if said:
            return said
    return None


async def write_line(talk: Talk, *, max_tries: int = 3) -> str:
    """Have the model write one line; one that is empty doesn't count.

    Returns:
        All that it wrote.
    """
    said = ""
    for _ in range(max_tries):
        said += await talk.write(stop=("\n",))
        if talk.ended != "stop" or first_line(said) is not None:
            break
    return said
