"""`cot`: the question, a chain of thought, and the answer that it comes to; no search.

Source: chain-of-thought prompting (Wei et al. 2022, arXiv 2201.11903), without examples (Kojima et al. 2022, arXiv
2205.11916): the baseline "CoT" of ZeroSearch (arXiv 2505.04588) and Search-R1 (arXiv 2503.09516), neither of which
publishes its prompt. Ours asks for the answer on a last line of its own, with one example of the form; a model that
hasn't written one is asked for it once more, as Kojima et al. do in any case.
"""

from __future__ import annotations

from benchmarks.leaderboard.agents import lines
from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from benchmarks.leaderboard.agents.game import Game
from benchmarks.leaderboard.agents.lines import first_line, labelled, write_line

__all__ = ["EXTRACT", "PROMPT", "SPEC", "play"]

PROMPT = (
    'Answer the question. Think step by step first, in a few sentences. Then write "Answer:" on a new line, and after '
    "it the answer alone: a name, a date, a number or a few words.\n\n"
    "Question: What do bees make?\nLet's think step by step. Bees gather the nectar of flowers and bring it to their "
    "hive, where it thickens. What they make of it is honey.\nAnswer: honey\n\n"
    "Question: {question}\nLet's think step by step."
)

EXTRACT = ("\n\nAnswer:", " Therefore, the answer is")
"""What is laid after a chain that hasn't come to an answer, the second where nothing follows the first."""


async def play(game: Game) -> None:
    """A chain, and a line if the chain has no answer in it."""
    talk = game.talk(PROMPT)
    answer = labelled(await talk.write(stop=("\nQuestion:",)))
    for begin in EXTRACT:
        if answer is None:
            talk.insert(begin)
            answer = first_line(await write_line(talk))
    game.answer(answer)


SPEC = AgentSpec(
    name="cot",
    source="Chain of thought (arXiv 2201.11903, 2205.11916), a baseline of arXiv 2505.04588; the prompt is ours.",
    fingerprint=hash_of(__file__, lines.__file__),
    searches=False,
    play=play,
)
