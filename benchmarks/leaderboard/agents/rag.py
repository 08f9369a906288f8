"""`rag`: one search for the question itself, and an answer from what it found.

Source: retrieval-augmented generation (Lewis et al. 2020, arXiv 2005.11401), the baseline "RAG" of ZeroSearch (arXiv
2505.04588) and Search-R1 (arXiv 2503.09516). The query is the question, unchanged, as in Search-R1's
`scripts/data_process/nq_rag.py`. That one asks for thoughts and answer in tags; ours asks for the bare answer on a
line, as `direct` does, so that the two differ by the documents alone.
"""

from __future__ import annotations

from benchmarks.leaderboard.agents import direct, lines
from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from benchmarks.leaderboard.agents.direct import BEGIN, EXAMPLES
from benchmarks.leaderboard.agents.direct import PROMPT as WITHOUT_DOCUMENTS
from benchmarks.leaderboard.agents.game import Game
from benchmarks.leaderboard.agents.lines import first_line, write_line

__all__ = ["PROMPT", "SPEC", "play"]

PROMPT = (
    "Answer the question with a name, a date, a number or a few words. Write the answer alone, no sentence and no "
    "explanation. Documents come before it, some of which may be of no use.\n\n"
    + EXAMPLES
    + "{documents}\n\nQuestion: {question}"
)


async def play(game: Game) -> None:
    """A search, and one line; without a search that is allowed, as `direct`."""
    documents = await game.search(game.question, within=PROMPT)
    talk = (
        game.talk(WITHOUT_DOCUMENTS, begin=BEGIN)
        if documents is None
        else game.talk(PROMPT, documents=documents, begin=BEGIN)
    )
    game.answer(first_line(await write_line(talk)))


SPEC = AgentSpec(
    name="rag",
    source="Retrieval-augmented generation (arXiv 2005.11401), a baseline of arXiv 2505.04588; the prompt is ours.",
    fingerprint=hash_of(__file__, direct.__file__, lines.__file__),
    searches=True,
    play=play,
)
