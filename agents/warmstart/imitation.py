"""A short imitation of weak demonstrations before reinforcement learning begins, for any model.

A small instruct model that has never met the protocol writes no tags at all, so it earns nothing and learns nothing. A
few steps of supervised training show it the form: write a query, read, answer. As with the quickstart's warm start (see
`demonstrations`), what is shown seldom asks the second question of two and seldom searches again after documents that
don't help.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from agents.accumulation import Example, TokenLoss
from agents.batches import Batching
from agents.codec import TextCodec
from agents.learner import Learner, LossTokens
from agents.losses import policy_gradient
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.trajectory import TokenSegment, Trajectory
from agents.warmstart.demonstrations import Demonstration, DemonstrationSettings, Demonstrator
from zs_env.curriculum import check_probability, check_whole
from zs_env.engines import make_engine
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.questions import load_atlas

__all__ = ["ImitationSettings", "imitate"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImitationSettings:
    """[imitation]: demonstrations to imitate before the first training step. They are of the atlas' training split.

    Attributes:
        num_steps: Optimizer steps; 0 for none.
        batch_size: Demonstrations a step.
        learning_rate: At the first step; it falls in a straight line to a tenth.
        ask_on: The chance that a demonstration asks the second question of two.
        search_again: The chance that it searches again when the documents don't help.
        noise: The chance that its documents are noisy.
    """

    num_steps: int = 0
    batch_size: int = 16
    learning_rate: float = 1e-4
    ask_on: float = 0.2
    search_again: float = 0.2
    noise: float = 0.4

    def __post_init__(self) -> None:
        check_whole("num_steps", self.num_steps, least=0)
        check_whole("batch_size", self.batch_size, least=1)
        if not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"learning_rate must be a finite number above 0; got {self.learning_rate!r}.")
        for name in ("ask_on", "search_again", "noise"):
            check_probability(name, getattr(self, name))


def imitate(
    policy: Policy,
    settings: ImitationSettings,
    *,
    episode: EpisodeSettings,
    optimizer: OptimizerSettings,
    batching: Batching,
    num_workers: int,
    recompute: bool,
    seed: int,
    say: Callable[[str], None] = lambda line: None,
    report_every: int = 10,
) -> list[float]:
    """Train a policy on demonstrations, in place.

    Args:
        policy: What is trained.
        settings: How much, and how weak the demonstrations are.
        episode: The rules, and the prompt: as the policy will meet them.
        optimizer: Its kind and its clip; the learning rate is the settings' own.
        batching: See `Learner`.
        num_workers: See `Learner`.
        recompute: See `Learner`.
        seed: The run's.
        say: Is told the loss.
        report_every: Steps between two times that it is told.

    Returns:
        The loss of each step: nats a token.
    """
    world, rng = load_atlas().world("train"), random.Random(f"imitation {seed}")
    shown = DemonstrationSettings(
        ask_on=settings.ask_on,
        search_again=settings.search_again,
        noise=settings.noise,
        rename=0.0,
        practice=0.0,
        recall=0.0,
    )
    demonstrator = Demonstrator(world, make_engine("template"), shown, episode)
    rates = replace(
        optimizer,
        learning_rate=settings.learning_rate,
        schedule="linear",
        final_fraction=0.1,
        warmup_steps=min(5, settings.num_steps - 1),
    )
    learner = Learner(policy, rates, batching=batching, num_workers=num_workers, recompute=recompute)
    losses: list[float] = []
    for step in range(settings.num_steps):
        questions = [world.questions[rng.randrange(len(world.questions))] for _ in range(settings.batch_size)]
        played = [demonstrator.play(question, rng, practice=False) for question in questions]
        examples = [Example.of(_trajectory(one, policy.codec, at), 1.0) for at, one in enumerate(played)]
        rate = rates.rate_at(step, settings.num_steps)
        losses.append(learner.update(examples, _likelihood, aggregation="token_mean", learning_rate=rate)["loss"])
        if (step + 1) % report_every == 0 or step + 1 == settings.num_steps:
            recent = losses[-report_every:]
            say(f"Imitation: step {step + 1} of {settings.num_steps}, loss {sum(recent) / len(recent):.3f}")
    return losses


def _likelihood(tokens: LossTokens) -> TokenLoss:
    return TokenLoss(policy_gradient(tokens.logprobs, tokens.advantages))


def _trajectory(shown: Demonstration, codec: TextCodec, group: int) -> Trajectory:
    """A demonstration as tokens; nobody sampled them, so their log-probs are those of certainty."""
    (prompt, _), *rest = shown.parts
    segments = [TokenSegment("prompt", tuple(codec.encode_first(prompt)), prompt)]
    for text, said in rest:
        ids = tuple(codec.encode(text))
        segments.append(
            TokenSegment("policy", ids, text, (0.0,) * len(ids)) if said else TokenSegment("environment", ids, text)
        )
    return Trajectory(
        question_id="demonstration", question="", golden_answers=(), group=group, segments=segments, status="answered"
    )
