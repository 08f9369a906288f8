"""How a step's episodes lie before the learner: padded, packed, or packed with shared prompts; see `policy.Packing`."""

from __future__ import annotations

from dataclasses import dataclass

from agents.plan.settings import RunShape
from agents.plan.shapes import ModelShape
from zs_env.errors import ConfigError

__all__ = ["LearnerLayout", "keeps_cache"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerLayout:
    """What the learner computes of a step.

    Attributes:
        packed: Whether episodes lie end to end, without padding.
        shares: Whether the prompt of a group is computed once a micro-batch.
        episode_tokens: Tokens of a mean episode, its part of a shared prompt counted.
        policy_share: The share of them that the policy wrote.
        keys_per_token: Keys that attention lays down for each, as each episode's run copies its prompt's.
        at_once: Tokens of the largest micro-batch. The longest episode that is allowed is planned for, which is alone
            in its micro-batch if that holds less; a step may have fewer tokens than either.
    """

    packed: bool
    shares: bool
    episode_tokens: float
    policy_share: float
    keys_per_token: float
    at_once: float

    @classmethod
    def of(cls, shape: ModelShape, run: RunShape) -> LearnerLayout:
        """The layout of a model and settings; a model is taken to be packable if all of its layers attend.

        Raises:
            ConfigError: Episodes shall be packed, and the model has other layers.
        """
        if run.packing in ("packed", "shared") and shape.num_conv_layers:
            raise ConfigError(
                f"packing={run.packing!r} is not for {shape.name}: {shape.num_conv_layers} of its layers are "
                "convolutions. Take 'auto' or 'padded'."
            )
        packed = run.packing != "padded" and not shape.num_conv_layers
        shares = packed and run.packing != "packed" and run.group_size > 1
        prompt = min(run.prompt_tokens, run.episode_tokens)
        rest, group = run.episode_tokens - prompt, run.group_size if shares else 1
        tokens = max(prompt / group + rest, 1.0)
        return cls(
            packed=packed,
            shares=shares,
            episode_tokens=tokens,
            policy_share=min(run.policy_tokens / tokens, 1.0),
            keys_per_token=(tokens + prompt) / tokens if shares else 1.0,
            at_once=min(max(run.micro_batch_tokens, run.max_episode_tokens), run.num_episodes * tokens),
        )

    @property
    def policy_tokens_at_once(self) -> float:
        """Tokens of the largest micro-batch that log-probs are wanted of."""
        return self.at_once * self.policy_share


def keeps_cache(shape: ModelShape, run: RunShape) -> bool:
    """Whether the sampler keeps keys and values from turn to turn: it does where all layers attend."""
    return run.sampler == "transformers" and run.keep_cache and not shape.num_conv_layers
