r"""`search-o1`: as `ra-agent`, but documents are read in a conversation of their own, and only what helps is laid in.

Source: Search-o1 (Li et al. 2025, arXiv 2501.05366), `scripts/run_search_o1.py` in its repository, with the prompts
`get_singleqa_search_o1_instruction`, `get_multiqa_search_o1_instruction` and, for the reading ("Reason-in-Documents"),
`get_webpage_to_reasonchain_instruction`. The control strings, the shortened reasoning that the reading is given, its
heading "Final Information", the limits and the answer in `\boxed{}` are theirs; the words are ours.

Where ours differs: passages of the engine's stand for web pages; a reading without the heading is taken whole, where
theirs then takes nothing; and the search comes before an answer after `Answer:` that has no box.
"""

from __future__ import annotations

import re

from benchmarks.leaderboard.agents import lines, ra_agent, tools
from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from benchmarks.leaderboard.agents.game import Game
from benchmarks.leaderboard.agents.lines import without_thoughts
from benchmarks.leaderboard.agents.ra_agent import PROMPT
from benchmarks.leaderboard.agents.talk import Talk
from benchmarks.leaderboard.agents.tools import BEGIN_QUERY, play_with_searches, without_controls

__all__ = ["PROMPT", "READING", "SPEC", "play", "shortened"]

READING = (
    "Read the documents below for what the search query asks, and say what helps to answer the question. Use nothing "
    "that the documents don't say.\n\n"
    "Question: {question}\n\nReasoning so far:\n{reasoning}\n\nSearch query: {query}\n\nDocuments:\n{documents}\n\n"
    'Begin with "**Final Information**" on a line of its own, then the helpful facts in one or two sentences. If there '
    'are none, write "No helpful information found."\n'
)

NOTHING = "No helpful information found."
_HEADING = re.compile(r"\*{0,2}final information:?\*{0,2}:?", re.IGNORECASE)
_MAX_CHARS = 1200


def shortened(reasoning: str) -> str:
    r"""A chain's first step, its last four, and those that searched; dots for the others.

    Examples:
        >>> shortened("one\n\ntwo\nthree\nfour\nfive\nsix")
        'one\n...\nthree\nfour\nfive\nsix'
    """
    steps = [step.strip() for step in reasoning.splitlines() if step.strip()]
    kept: list[str] = []
    for number, step in enumerate(steps):
        if number == 0 or number >= len(steps) - 4 or BEGIN_QUERY in step:
            kept.append(step)
        elif kept[-1] != "...":
            kept.append("...")
    text = without_controls("\n".join(kept))
    return text if len(text) <= _MAX_CHARS else "..." + text[3 - _MAX_CHARS :]


async def _search(game: Game, talk: Talk, said: str, query: str) -> str | None:
    reasoning = shortened(said)
    documents = await game.search(query, within=READING, reasoning=reasoning, query=query)
    if documents is None:
        return None
    reading = game.talk(READING, documents=documents, reasoning=reasoning, query=query)
    text = without_thoughts(await reading.write())
    heading = list(_HEADING.finditer(text))
    helpful = text[heading[-1].end() :] if heading else text
    return without_controls(helpful).strip() or NOTHING


async def play(game: Game) -> None:
    """Reason in one conversation, read in others."""
    talk = game.talk(PROMPT, num_searches=str(game.searches_left))
    await play_with_searches(game, talk, _search)


SPEC = AgentSpec(
    name="search-o1",
    source="Search-o1 (arXiv 2501.05366): documents are read apart, and what helps is laid into the reasoning.",
    fingerprint=hash_of(__file__, ra_agent.__file__, tools.__file__, lines.__file__),
    searches=True,
    play=play,
)
