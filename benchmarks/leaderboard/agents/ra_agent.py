r"""`ra-agent`: the model calls a search engine as a tool while it reasons, and reads what comes back.

Source: agentic RAG, the baseline "RAgent" of Search-o1 (Li et al. 2025, arXiv 2501.05366), whose code is
`scripts/run_rag_agent.py` in its repository, with the prompts `get_singleqa_rag_agent_instruction`,
`get_multiqa_rag_agent_instruction` and `get_task_instruction_openqa`; we take it for the "RA-Agent" of ZeroSearch
(arXiv 2505.04588). The control strings, the refusal of repeated queries, the limit of searches and the answer in
`\boxed{}` are theirs; the words are ours, and one prompt serves single and multi-hop questions.

Where ours differs: there, a search gives titles, links and snippets, and a second tool fetches whole pages. Our engines
give the passages themselves, so there is nothing to fetch. An answer after `Answer:` counts where no box is.
"""

from __future__ import annotations

from benchmarks.leaderboard.agents import lines, tools
from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from benchmarks.leaderboard.agents.game import Game
from benchmarks.leaderboard.agents.talk import Talk
from benchmarks.leaderboard.agents.tools import RESULT, play_with_searches

__all__ = ["PROMPT", "SPEC", "play"]

PROMPT = (
    "You answer a question by reasoning, and you can search. To search, write a query between "
    "<|begin_search_query|> and <|end_search_query|>, and stop. What was found comes back between "
    "<|begin_search_result|> and <|end_search_result|>; then go on reasoning. You may search again with another query, "
    "{num_searches} times in all.\n\n"
    "For example:\n"
    'Question: "Which company developed the video game whose heroine Alice David gives her voice to?"\n'
    "I need to know which heroine that is.\n"
    "<|begin_search_query|>Alice David voice video game heroine<|end_search_query|>\n"
    "(The result says: Lara Croft, of Tomb Raider.) Now I need to know who developed that game.\n"
    "<|begin_search_query|>Tomb Raider video game developer<|end_search_query|>\n"
    "(And so on, until the answer is known.)\n\n"
    "Think step by step. Give the final answer within \\boxed{}: a name, a date, a number or a few words."
    "\n\nQuestion: {question}\n"
)


async def _search(game: Game, talk: Talk, said: str, query: str) -> str | None:
    return await game.search(query, within=RESULT, into=talk)


async def play(game: Game) -> None:
    """Reason and search in one conversation."""
    talk = game.talk(PROMPT, num_searches=str(game.searches_left))
    await play_with_searches(game, talk, _search)


SPEC = AgentSpec(
    name="ra-agent",
    source="Agentic RAG, the baseline RAgent of Search-o1 (arXiv 2501.05366), without its tool that fetches pages.",
    fingerprint=hash_of(__file__, tools.__file__, lines.__file__),
    searches=True,
    play=play,
)
