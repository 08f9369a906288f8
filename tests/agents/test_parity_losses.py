"""Losses and gradients against a double loop over episodes and tokens in float64, and against TRL's GRPOTrainer.

TRL 1.16 has no PPO trainer any more (neither stable nor experimental), so PPO's value loss and advantages are compared
with the loop alone.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from agents.accumulation import Example
from agents.advantages import generalized_advantages
from agents.algorithm import PolicyLoss, TrainingSettings
from agents.batches import Batching
from agents.critic import Critic, CriticLearner
from agents.learner import Learner, LossTokens
from agents.losses import token_weights
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.ppo import Ppo, PpoSettings, ValueLoss
from agents.questions import NoiseSchedule
from agents.testing import byte_tokenizer, tiny_llama
from tests.agents.doubles import PlayedBefore, make_trajectory
from zs_env.types import Question

AGGREGATIONS = ("token_mean", "sequence_mean", "constant")
IMPORTANCES = ("token", "sequence", "sequence_token")
CONSTANT = 37


@dataclass(frozen=True)
class Episode:
    """One episode's policy tokens, each [n]."""

    logprobs: Tensor
    old: Tensor
    sampled: Tensor
    advantages: Tensor
    reference: Tensor


def naive_loss(
    episodes: Sequence[Episode],
    *,
    aggregation: str,
    importance: str,
    clip: tuple[float, float],
    kl: str,
    kl_coef: float,
    cap: float,
) -> Tensor:
    """The loss, token by token."""
    whole = torch.zeros((), dtype=torch.float64)
    num_tokens = sum(len(episode.logprobs) for episode in episodes)
    for episode in episodes:
        length = len(episode.logprobs)
        shift = torch.zeros((), dtype=torch.float64)
        for token in range(length):
            shift = shift + (episode.logprobs[token] - episode.old[token]) / length
        for token in range(length):
            logprob, old = episode.logprobs[token], episode.old[token]
            advantage = float(episode.advantages[token])
            if importance == "token":
                ratio = logprob.exp() / old.exp()
            elif importance == "sequence":
                ratio = shift.exp()
            else:
                ratio = shift.exp().detach() * logprob.exp() / logprob.exp().detach()
            if advantage >= 0:
                bounded = ratio if ratio.item() <= 1 + clip[1] else torch.tensor(1 + clip[1])
            else:
                bounded = ratio if ratio.item() >= 1 - clip[0] else torch.tensor(1 - clip[0])
            loss = -bounded * advantage
            if cap:
                loss = loss * min(math.exp(float(old) - float(episode.sampled[token])), cap)
            difference = logprob - episode.reference[token]
            if kl == "k3":
                loss = loss + kl_coef * ((-difference).exp() - 1 + difference)
            elif kl == "k2":
                loss = loss + kl_coef * difference**2 / 2
            elif kl == "k1":  # k1's value, k2's gradient
                pull = difference.detach() * logprob
                loss = loss + kl_coef * (pull - pull.detach() + difference.detach())
            share = {
                "token_mean": 1 / num_tokens,
                "sequence_mean": 1 / (len(episodes) * length),
                "constant": 1 / (len(episodes) * CONSTANT),
            }[aggregation]
            whole = whole + share * loss
    return whole


def make_loss(
    importance: Any, clip: tuple[float, float], kl: Any, kl_coef: float, cap: float, aggregation: str
) -> PolicyLoss:
    return PolicyLoss(
        importance=importance,
        clip_low=clip[0],
        clip_high=clip[1],
        kl_coef=kl_coef,
        kl_estimator=kl,
        importance_cap=cap,
        constant_tokens=CONSTANT if aggregation == "constant" else 1,
    )


def random_episodes(lengths: Sequence[int] = (7, 1, 12, 4)) -> list[Episode]:
    generator = torch.Generator().manual_seed(3)

    def around(values: Tensor, spread: float) -> Tensor:
        return values + spread * torch.randn(values.shape, generator=generator, dtype=torch.float64)

    episodes = []
    for number, length in enumerate(lengths):
        logprobs = around(torch.full((length,), -1.5, dtype=torch.float64), 0.5)
        old = around(logprobs, 0.4) + 0.4 * (-1) ** number  # whole episodes have moved, too
        advantages = around(torch.zeros(length, dtype=torch.float64), 1.0)
        episodes.append(Episode(logprobs, old, around(old, 0.6), advantages, around(logprobs, 0.3)))
    return episodes


@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_every_loss_is_that_of_a_double_loop(aggregation: Any, importance: Any) -> None:
    episodes = random_episodes()
    lengths = torch.tensor([len(episode.logprobs) for episode in episodes])
    rows = torch.arange(len(episodes)).repeat_interleave(lengths)
    weights = token_weights(lengths, aggregation)[rows].double()
    seen = []
    for clip, kl, cap in itertools.product(((0.2, 0.28), (0.1, 0.1)), (None, "k1", "k2", "k3"), (0.0, 1.2, 1e30)):
        kl_coef = 0.0 if kl is None else 0.3
        leaf = torch.cat([episode.logprobs for episode in episodes]).requires_grad_()
        expected = naive_loss(
            [replace(one, logprobs=part) for one, part in zip(episodes, leaf.split(lengths.tolist()), strict=True)],
            aggregation=aggregation,
            importance=importance,
            clip=clip,
            kl=kl or "",
            kl_coef=kl_coef,
            cap=cap,
        )
        (wanted,) = torch.autograd.grad(expected, leaf)

        def flat(name: str) -> Tensor:
            return torch.cat([getattr(episode, name) for episode in episodes])

        logprobs = flat("logprobs").requires_grad_()
        tokens = LossTokens(
            logprobs=logprobs,
            sampled_logprobs=flat("sampled") if cap else flat("old"),
            advantages=flat("advantages"),
            entropy=torch.zeros(len(rows)),
            ref_logprobs=flat("reference") if kl else None,
            old_logprobs=flat("old") if cap else None,
            rows=rows,
        )
        result = make_loss(importance, clip, kl or "k3", kl_coef, cap, aggregation)(tokens)
        loss = (result.loss * weights).sum()
        # The weights are float32.
        torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(torch.autograd.grad(loss, logprobs)[0], wanted, rtol=1e-6, atol=1e-9)
        seen.append((float(result.means["clip_fraction"].mean()), round(expected.item(), 6)))
    assert all(0 < clipped < 1 for clipped, _ in seen)  # the clip is put to the test
    assert len({value for _, value in seen}) == len(seen)  # and every option is


def make_examples() -> list[Example]:
    """Episodes of several turns, of which a group's share an advantage; old log-probs a little off the sampled ones."""
    generator = torch.Generator().manual_seed(5)
    examples = []
    for group, (length, advantage) in enumerate([(4, 1.2), (9, -0.7), (1, 0.4), (14, 0.9), (6, -1.1)]):
        example = Example.of(make_trajectory(group, 0.0, length), advantage)
        sampled = torch.tensor([number for part in example.trajectory.segments for number in part.logprobs or ()])
        old = sampled + 0.3 * torch.randn(length, generator=generator)
        examples.append(example.with_(old_logprobs=old, ref_logprobs=old - 0.2))
    return examples


def gradient_of(model: torch.nn.Module) -> Tensor:
    found = torch.cat([part.grad.flatten().double() for part in model.parameters() if part.grad is not None])
    model.zero_grad()
    return found


def without(examples: Sequence[Example], *names: str) -> list[Example]:
    return [replace(example, **dict.fromkeys(names)) for example in examples]


@pytest.mark.parametrize("cap", [0.0, 1.2])
@pytest.mark.parametrize("importance", IMPORTANCES)
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_learners_gradient_is_that_of_a_double_loop(aggregation: Any, importance: Any, cap: float) -> None:
    model = tiny_llama()
    exact, examples = copy.deepcopy(model).double(), make_examples()
    episodes = []
    for example in examples:
        ids = example.trajectory.ids()
        logits = exact(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
        places = [place for place, is_policy in enumerate(example.trajectory.policy_mask()) if is_policy]
        sampled = torch.tensor([example.trajectory.sampled_logprobs()[place] for place in places])
        assert example.old_logprobs is not None
        assert example.ref_logprobs is not None
        episodes.append(
            Episode(
                logprobs=torch.stack([logits[place - 1, ids[place]] for place in places]),
                old=(example.old_logprobs if cap else sampled).double(),
                sampled=sampled.double(),
                advantages=example.advantages.double(),  # type: ignore[union-attr]
                reference=example.ref_logprobs.double(),
            )
        )
    clip = (0.3, 0.5)
    expected = naive_loss(
        episodes, aggregation=aggregation, importance=importance, clip=clip, kl="k3", kl_coef=0.1, cap=cap
    )
    expected.backward()  # type: ignore[no-untyped-call]
    wanted = gradient_of(exact)
    learner = Learner(Policy(model, byte_tokenizer()), OptimizerSettings(), batching=Batching(max_tokens=60))
    loss = make_loss(importance, clip, "k3", 0.1, cap, aggregation)
    given = examples if cap else without(examples, "old_logprobs")
    metrics = learner.accumulate(given, loss, aggregation)
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-4, abs=1e-6)
    assert 0 < metrics["clip_fraction"] < 1
    assert float((gradient_of(model) - wanted).norm()) < 1e-4 * float(wanted.norm())


@pytest.fixture(scope="module")
def trl_trainer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """TRL's trainer with the same tiny model; nothing is ever generated or trained with it."""
    pytest.importorskip("trl")
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    folder: Path = tmp_path_factory.mktemp("trl")
    args = GRPOConfig(
        output_dir=str(folder),
        use_cpu=True,
        bf16=False,
        report_to=[],
        per_device_train_batch_size=2,
        num_generations=2,
        max_completion_length=CONSTANT,
        use_bias_correction_kl=False,  # which weighs the KL by the ratio; GRPO's paper doesn't
        beta=0.0,  # a reference model would be loaded from the hub: its log-probs are given instead
    )
    trainer = GRPOTrainer(
        model=tiny_llama(),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=args,
        train_dataset=Dataset.from_list([{"prompt": "a"}] * 2),
        processing_class=byte_tokenizer(),
    )
    trainer.model.eval()
    return trainer


def trl_inputs(examples: Sequence[Example], *, cap: float) -> dict[str, Tensor]:
    """Trajectories as TRL lays them out: a prompt, then all turns with what the environment wrote masked out."""
    prompts = [example.trajectory.segments[0].ids for example in examples]
    rest = [[(part, id_) for part in example.trajectory.segments[1:] for id_ in part.ids] for example in examples]
    longest = max(map(len, rest))

    def padded(rows: Sequence[Sequence[float]], kind: torch.dtype) -> Tensor:
        return torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], dtype=kind)

    mask = padded([[part.provenance == "policy" for part, _ in row] for row in rest], torch.long)

    def spread(values: Sequence[Tensor]) -> Tensor:
        laid = torch.zeros(mask.shape)
        laid[mask.bool()] = torch.cat(list(values))
        return laid

    sampled = [torch.tensor([n for part in e.trajectory.segments for n in part.logprobs or ()]) for e in examples]
    old = [example.old_logprobs for example in examples]
    return {
        "prompt_ids": torch.tensor(prompts),
        "prompt_mask": torch.ones(len(examples), len(prompts[0]), dtype=torch.long),
        "completion_ids": padded([[id_ for _, id_ in row] for row in rest], torch.long),
        "completion_mask": padded([[1] * len(row) for row in rest], torch.long),
        "tool_mask": mask,
        "advantages": torch.stack([example.advantages[0] for example in examples]),  # type: ignore[index]
        "old_per_token_logps": spread(old if cap else sampled),  # type: ignore[arg-type]
        "ref_per_token_logps": spread([example.ref_logprobs for example in examples]),  # type: ignore[misc]
        # What TRL's "token_truncate" makes of the sampler's log-probs.
        "importance_sampling_ratio": (spread(old) - spread(sampled)).exp().clamp(max=cap),  # type: ignore[arg-type]
        "num_items_in_batch": mask.sum(),
    }


@pytest.mark.parametrize("cap", [0.0, 1.2])
@pytest.mark.parametrize("beta", [0.0, 0.1])
@pytest.mark.parametrize("importance", ["token", "sequence"])
@pytest.mark.parametrize(
    ("loss_type", "aggregation"),
    [("grpo", "sequence_mean"), ("dr_grpo", "constant"), ("dapo", "token_mean"), ("bnpo", "token_mean")],
)
def test_grpos_loss_and_gradient_are_those_of_trl(
    trl_trainer: Any, loss_type: str, aggregation: Any, importance: Any, beta: float, cap: float
) -> None:
    trainer, examples, clip = trl_trainer, make_examples(), (0.3, 0.5)
    trainer.loss_type, trainer.importance_sampling_level, trainer.beta = loss_type, importance, beta
    trainer.epsilon_low, trainer.epsilon_high = clip
    trainer.use_vllm = trainer.vllm_importance_sampling_correction = bool(cap)
    theirs = trainer._compute_loss(trainer.model, trl_inputs(examples, cap=cap))
    theirs.backward()
    wanted = gradient_of(trainer.model)

    model = tiny_llama()
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), trainer.model.parameters(), strict=True))
    learner = Learner(Policy(model, byte_tokenizer()), OptimizerSettings(), batching=Batching(max_tokens=60))
    given = examples if cap else without(examples, "old_logprobs")
    given = given if beta else without(given, "ref_logprobs")
    loss = make_loss(importance, clip, "k3", beta, cap, aggregation)
    metrics = learner.accumulate(given, loss, aggregation)
    assert metrics["loss"] == pytest.approx(float(theirs.detach()), rel=1e-4, abs=1e-6)
    assert 0 < metrics["clip_fraction"] < 1
    ours = gradient_of(model)
    assert float(wanted.norm()) > 1e-3
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 1.0), (0.99, 0.95), (0.9, 0.0), (0.0, 0.5)])
def test_gae_is_the_double_sum_of_its_definition(gamma: float, lam: float) -> None:
    # arXiv 1506.02438, equation 16, as written: A_t = sum over l of (γλ)^l δ_{t+l}.
    generator = torch.Generator().manual_seed(1)
    rewards, values = (torch.randn(23, generator=generator) for _ in range(2))
    expected = []
    for start in range(23):
        total = 0.0
        for place in range(start, 23):
            after = float(values[place + 1]) if place + 1 < 23 else 0.0
            total += (gamma * lam) ** (place - start) * (float(rewards[place]) + gamma * after - float(values[place]))
        expected.append(total)
    found = generalized_advantages(rewards, values, gamma=gamma, lam=lam)
    assert found.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_ppos_advantages_and_targets_are_those_of_a_loop(questions: list[Question]) -> None:
    # Sampled at -5 and -5.5, the reference says -4, the critic 0.25; KL in the reward, whitened over all tokens.
    rows, beta, gamma, lam = ((0, 1.0, 5), (0, 0.0, 3), (1, 1.0, 8)), 0.05, 0.97, 0.9
    executor = PlayedBefore([make_trajectory(*row) for row in rows])
    common: dict[str, Any] = {"optimizer": OptimizerSettings(), "noise": NoiseSchedule(), "seed": 0}
    settings = PpoSettings(gamma=gamma, lam=lam)
    Ppo(executor, questions, TrainingSettings(kl_coef=beta), settings, **common).step(0)  # type: ignore[arg-type]
    raw: list[list[float]] = []
    for _, reward, length in rows:
        first = max(length // 2, 1)
        earned = [-beta * ((-5.0 if token < first else -5.5) + 4.0) for token in range(length)]
        earned[-1] += reward
        advantages = [0.0] * (length + 1)
        for token in reversed(range(length)):
            after = 0.25 if token + 1 < length else 0.0
            advantages[token] = earned[token] + gamma * after - 0.25 + gamma * lam * advantages[token + 1]
        raw.append(advantages[:-1])
    everything = [advantage for advantages in raw for advantage in advantages]
    mean = sum(everything) / len(everything)
    deviation = math.sqrt(sum((one - mean) ** 2 for one in everything) / (len(everything) - 1))
    for example, advantages in zip(executor.learned[0], raw, strict=True):
        assert example.advantages is not None
        assert example.returns is not None
        assert example.advantages.tolist() == pytest.approx([(one - mean) / deviation for one in advantages], abs=1e-5)
        assert example.returns.tolist() == pytest.approx([one + 0.25 for one in advantages], abs=1e-5)


@pytest.mark.parametrize("clip", [0.0, 0.1])
@pytest.mark.parametrize("aggregation", AGGREGATIONS)
def test_the_critics_loss_and_gradient_are_those_of_a_double_loop(aggregation: Any, clip: float) -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    critic = Critic(policy)
    torch.nn.init.normal_(critic.head.weight, std=0.2, generator=torch.Generator().manual_seed(0))
    exact = copy.deepcopy(critic).double()
    generator = torch.Generator().manual_seed(2)
    examples = []
    for example in CriticLearner(critic, OptimizerSettings()).with_values(make_examples()):
        assert example.values is not None
        moved = example.values + 0.2 * torch.randn(example.values.shape, generator=generator)
        examples.append(example.with_(values=moved, returns=torch.randn(example.values.shape, generator=generator)))
    whole = torch.zeros((), dtype=torch.float64)
    num_tokens = sum(len(example.returns) for example in examples)  # type: ignore[arg-type]
    for example in examples:
        hidden = exact.trunk(input_ids=torch.tensor([example.trajectory.ids()])).last_hidden_state[0]
        places = [place for place, is_policy in enumerate(example.trajectory.policy_mask()) if is_policy]
        share = {
            "token_mean": 1 / num_tokens,
            "sequence_mean": 1 / (len(examples) * len(places)),
            "constant": 1 / (len(examples) * CONSTANT),
        }[aggregation]
        for token, place in enumerate(places):
            value = (exact.head.weight[0] * hidden[place - 1]).sum() + exact.head.bias[0]
            old, wanted = float(example.values[token]), float(example.returns[token])  # type: ignore[index]
            errors = [(value - wanted) ** 2]
            if clip:
                near = (
                    value
                    if abs(value.item() - old) <= clip
                    else torch.tensor(old + math.copysign(clip, value.item() - old))
                )
                errors.append((near - wanted) ** 2)
            whole = whole + share * max(errors, key=lambda error: error.item()) / 2
    whole.backward()  # type: ignore[no-untyped-call]
    expected = gradient_of(exact)
    learner = CriticLearner(critic, OptimizerSettings(), batching=Batching(max_tokens=60))
    loss = ValueLoss(clip, CONSTANT if aggregation == "constant" else 1)

    def value_tokens(part: Sequence[Example], batch: Any) -> Any:
        return loss(learner.value_tokens(part, batch))

    metrics = learner._accumulator.accumulate(examples, value_tokens, aggregation)
    assert metrics["loss"] == pytest.approx(whole.item(), rel=1e-4)
    assert (metrics["clip_fraction"] > 0) is bool(clip)
    assert float((gradient_of(critic) - expected).norm()) < 1e-4 * float(expected.norm())
