"""Search as a tool that a model calls in its text, as Search-o1's code has it: the loop of `ra-agent` and `search-o1`.

Only what the model itself has just written is looked at for a call or an answer; what is laid in between is not.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable

from agents.samplers.base import FinishReason
from benchmarks.leaderboard.agents.game import Game
from benchmarks.leaderboard.agents.lines import boxed, first_line, labelled, write_line
from benchmarks.leaderboard.agents.talk import Talk

__all__ = ["BEGIN_QUERY", "END_QUERY", "FINAL", "RESULT", "find_query", "play_with_searches", "without_controls"]

BEGIN_QUERY, END_QUERY = "<|begin_search_query|>", "<|end_search_query|>"
RESULT = "\n\n<|begin_search_result|>\n{documents}\n<|end_search_result|>\n\n"
"""How what a search brought is laid into the talk."""

NO_MORE = "No more searches are allowed. Answer with what you know."
AGAIN = "This query was searched before; its result stands above."

_BOX = "\\boxed{"
FINAL = f"\n\nFinal answer: {_BOX}"
"""What is laid down for a model that stopped without an answer."""

_MAX_REFUSALS = 2
_CONTROL = re.compile(r"<\|(?:begin|end)_search_(?:query|result)\|>")

Search = Callable[[Game, Talk, str, str], Awaitable[str | None]]
"""From the game, the talk, all that the model wrote in it, and a query: what to lay in; None if it may not search."""


def find_query(text: str, ended: FinishReason) -> str | None:
    """The query that a text ends with.

    Args:
        text: What the model has just written.
        ended: Why it ended. A server may cut the closing mark off, so a query that is open at the end of a text that
            wasn't cut short counts.

    Examples:
        >>> find_query("Hm. <|begin_search_query|> who wrote Emma <|end_search_query|>", "stop")
        'who wrote Emma'
        >>> find_query("<|begin_search_query|>a<|end_search_query|> is what I asked.", "eos") is None
        True
        >>> find_query("<|begin_search_query|>who wro", "length") is None
        True
    """
    _, begun, query = text.rpartition(BEGIN_QUERY)
    query, closed, after = query.partition(END_QUERY)
    if not begun or after.strip() or (not closed and ended == "length"):
        return None
    return " ".join(query.split()) or None


def without_controls(text: str) -> str:
    """A text that spells no call."""
    return _CONTROL.sub(" ", text)


async def _asked_for(game: Game, talk: Talk) -> str | None:
    """The answer of a model that stopped without one, which is an invalid action: its beginning is laid down for it."""
    game.invalid()
    talk.insert(FINAL)
    text = await write_line(talk)
    return boxed(_BOX + text) or first_line(text)


async def play_with_searches(game: Game, talk: Talk, search: Search) -> None:
    """Let the model write; search when it calls for that; take its answer when it stops calling.

    A query of before and one too many are told so in place of a result; a model that goes on asking ends unanswered.
    One that stops without an answer is asked for it.
    """
    asked: set[str] = set()
    said, refusals = "", 0
    while refusals <= _MAX_REFUSALS:
        text = await talk.write(stop=(END_QUERY,))
        said += text
        query = find_query(text, talk.ended)
        if query is None:
            # From the last text first: what it tried before it searched again is no answer.
            game.answer(boxed(text) or labelled(text) or boxed(said) or await _asked_for(game, talk))
            return
        found = AGAIN if query in asked else await search(game, talk, said, query)
        if found is None or query in asked:
            refusals += 1
        asked.add(query)
        closing = "" if text.rstrip().endswith(END_QUERY) else END_QUERY
        talk.insert(closing + RESULT, documents=NO_MORE if found is None else found)
