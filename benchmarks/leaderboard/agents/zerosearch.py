"""`zerosearch`: think, search as often as it takes, answer; the protocol that policies are trained in.

Source: ZeroSearch (Sun et al. 2025, arXiv 2505.04588), section 3; its training prompt is "upstream" of
`zs_env.prompts.PROMPTS`. The prompt is the episode's: "default" unless the settings or the policy's own checkpoint say
another. The tags, the budgets and the correction after an invalid action are those of `zs_env.episode`, which is where
we differ from the paper's code: there an invalid action is told what the tags are; here no environment text holds a
tag.

It is also what a function of one's own, `policy(observation) -> action`, plays.
"""

from __future__ import annotations

from benchmarks.leaderboard.agents.base import AgentSpec, hash_of
from benchmarks.leaderboard.agents.game import Game

__all__ = ["SPEC", "play"]


async def play(game: Game) -> None:
    """Turn by turn, until an answer or the end of the turns."""
    turns = game.turns()
    while not turns.done:
        await turns.take()


SPEC = AgentSpec(
    name="zerosearch",
    source="Think, search, answer: ZeroSearch, arXiv 2505.04588. Prompt and rules are the environment's.",
    fingerprint=hash_of(__file__),
    searches=True,
    takes_callable=True,
    play=play,
)
