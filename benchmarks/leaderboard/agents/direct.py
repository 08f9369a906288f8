"""`direct`: the question, and the model's answer from memory.

Source: the "Direct Inference" row of ZeroSearch (Sun et al. 2025, arXiv 2505.04588), as of Search-R1 (Jin et al. 2025,
arXiv 2503.09516). Neither publishes its prompt, so this is our own: the bare answer on a line, and nothing else, with
four examples of that, and the word that the answer comes after already written, without which small models write
sentences. The first line that says something is the answer.
"""

from __future__ import annotations

from benchmarks.leaderboard.agents import lines
from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from benchmarks.leaderboard.agents.game import Game
from benchmarks.leaderboard.agents.lines import first_line, write_line

__all__ = ["BEGIN", "EXAMPLES", "PROMPT", "SPEC", "play"]

EXAMPLES = (
    "Question: Who painted the Mona Lisa?\nAnswer: Leonardo da Vinci\n\n"
    "Question: At how many degrees Celsius does water boil?\nAnswer: 100\n\n"
    "Question: What do bees make?\nAnswer: honey\n\n"
    "Question: On which day did Apollo 11 land on the Moon?\nAnswer: July 20, 1969\n\n"
)
"""What an answer looks like."""

BEGIN = "Answer:"
"""How the model's own text begins."""

PROMPT = (
    "Answer the question with a name, a date, a number or a few words. Write the answer alone, no sentence and no "
    "explanation.\n\n" + EXAMPLES + "Question: {question}"
)


async def play(game: Game) -> None:
    """One line."""
    talk = game.talk(PROMPT, begin=BEGIN)
    game.answer(first_line(await write_line(talk)))


SPEC = AgentSpec(
    name="direct",
    source="Direct inference, a baseline of arXiv 2505.04588 and 2503.09516; the prompt is ours.",
    fingerprint=hash_of(__file__, lines.__file__),
    searches=False,
    play=play,
)
