"""`r1`: think, then answer, in the tags of the protocol, without a search engine.

Source: the baseline "R1" of ZeroSearch (arXiv 2505.04588) and Search-R1 (arXiv 2503.09516): a policy that reinforcement
learning taught to reason (DeepSeek-R1, arXiv 2501.12948) with no search in its prompt. Search-R1's prompt for it is in
`scripts/data_process/nq.py`; ours says the same in words of our own. An action that is no answer, a search among them,
is invalid and corrected, as the environment does, until the turns are used up.
"""

from __future__ import annotations

from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from benchmarks.leaderboard.agents.game import Game
from zs_env.actions import parse_action

__all__ = ["CORRECTION", "PROMPT", "SPEC", "play"]

PROMPT = (
    "Answer the question below. Reason between <think> and </think> first. Then write the answer between <answer> and "
    "</answer>, with nothing else in it. For example: <answer> Beijing </answer>\n\nQuestion: {question}\n"
)

CORRECTION = (
    "\nThat was not a valid answer. Think if you like, then write the final answer between its tags, and stop. There "
    "is nothing to search with.\n"
)


async def play(game: Game) -> None:
    """Turns until an answer."""
    talk = game.talk(PROMPT)
    while True:
        text = await talk.write_turn(stop=("</answer>",))
        action = parse_action(text)
        if action.kind == "answer":
            game.answer(action.content)
            return
        game.invalid()
        talk.insert(CORRECTION)


SPEC = AgentSpec(
    name="r1",
    source="Reasoning without search, the baseline R1 of arXiv 2505.04588 and 2503.09516; the prompt is ours.",
    fingerprint=hash_of(__file__),
    searches=False,
    play=play,
)
