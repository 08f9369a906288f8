"""One question, answered with every step shown."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from agents.codec import TextCodec
from agents.conversation import Conversation, EpisodeTask, RolloutSettings
from agents.samplers.base import Sampler
from agents.trajectory import Trajectory
from zs_env.bridge import search_blocking
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.questions import World, load_atlas
from zs_env.questions.atlas_text import SINGLE_HOP, TWO_HOP
from zs_env.render import TranscriptRenderer
from zs_env.types import Question, SearchEngine, SearchRequest

__all__ = ["answer", "find_question"]

_ASK_KEY = 4
SPLITS = ("train", "validation", "test")


def find_question(text: str, golden_answers: tuple[str, ...] = ()) -> Question:
    """The question to ask: the atlas' own if it can be asked there, in any of its phrasings, else one made of the
    golden answers.

    Raises:
        ConfigError: The text is not a question of the atlas, and no golden answer was given: then neither can the
            simulated engine write useful documents, nor can anyone say whether an answer is right.
    """
    if golden_answers:
        return Question(id="asked", question=" ".join(text.split()), golden_answers=golden_answers)
    for split in SPLITS:
        found = _find_in(load_atlas().world(split), _plain(text))
        if found is not None:
            return Question(id="asked", question=" ".join(text.split()), **found)
    raise ConfigError(
        f"{text!r} is not a question of the atlas, so its right answer is unknown: give it with --golden (once "
        "for each accepted answer). The simulated engine writes its documents around it."
    )


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(" ?").casefold()


def _find_in(world: World, wanted: str) -> dict[str, Any] | None:
    """Golden answers and metadata of the question that reads so, from the facts of a split."""
    for fact in world.facts.values():
        name = fact.entity.in_sentence
        if name.casefold() not in wanted:
            continue
        chains = [(SINGLE_HOP, [fact])]
        if fact.relation == "country":
            chains += [(TWO_HOP, [fact, after]) for after in world.facts_about(fact.answer)]
        for phrasings, chain in chains:
            if any(_plain(text.format(entity=name)) == wanted for text in phrasings.get(chain[-1].relation, ())):
                metadata = {
                    "hops": len(chain),
                    "split": world.split,
                    "relation": chain[-1].relation,
                    "entity": fact.entity.name,
                    "facts": [[link.entity.name, link.relation, link.answer] for link in chain],
                }
                return {"golden_answers": chain[-1].answers, "metadata": {"data_source": "atlas"} | metadata}
    return None


def answer(
    question: Question,
    *,
    sampler: Sampler,
    codec: TextCodec,
    engine: SearchEngine,
    episode_settings: EpisodeSettings,
    rollout_settings: RolloutSettings,
    noise_probability: float = 0.0,
    seed: int = 0,
    stream: TextIO | None = None,
    color: bool | None = None,
) -> Trajectory:
    """Play one episode and show each turn as it comes.

    Args:
        question: What is asked.
        sampler: The policy.
        codec: Its tokenizer's codec.
        engine: Who answers searches.
        episode_settings: The rules.
        rollout_settings: The budgets.
        noise_probability: The chance that a search asks for noisy documents.
        seed: Of noise and sampling.
        stream: Where to show it; standard output if left out.
        color: Whether to use colours; left out: on a terminal.

    Raises:
        ConfigError: The question doesn't fit the token budget.
    """
    stream = stream or sys.stdout
    renderer = TranscriptRenderer(
        max_turns=episode_settings.max_turns, color=stream.isatty() if color is None else color
    )
    task = EpisodeTask(question=question, group=0, key=(_ASK_KEY,), noise_probability=noise_probability)
    conversation = Conversation(task, codec, episode_settings, rollout_settings, seed)
    if not conversation.begin():
        raise ConfigError(str(conversation.trajectory.error))
    assert conversation.last_step is not None
    renderer.begin(conversation.last_step)
    renderer.print_new(stream)
    while not conversation.done:
        turns = conversation.episode.num_turns
        request = conversation.take(sampler.generate([conversation.request()])[0])
        if isinstance(request, SearchRequest):
            conversation.observe(search_blocking(engine, [request])[0])
        if conversation.episode.num_turns > turns:
            renderer.turn(conversation.episode, conversation.last_step)
            renderer.print_new(stream)
    if conversation.trajectory.status == "out_of_tokens":
        stream.write("The token budget of the episode is used up.\n")
    return conversation.trajectory
