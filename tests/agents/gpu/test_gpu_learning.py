"""Log-probs, gradients and whole training steps on a GPU are those of the CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from agents.accumulation import Example
from agents.algorithm import PolicyLoss, TrainingSettings
from agents.batches import Batching, collate
from agents.conversation import RolloutSettings
from agents.critic import Critic, CriticLearner
from agents.executors import LocalExecutor
from agents.grpo import Grpo, GrpoSettings
from agents.head import head_logprobs
from agents.learner import Learner, reference_of
from agents.lora import LoraSettings, add_adapters
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.ppo import CriticSettings, Ppo, PpoSettings
from agents.questions import NoiseSchedule
from agents.reinforce import Reinforce, ReinforceSettings
from agents.samplers import SamplingSettings
from agents.testing import MODELS, byte_tokenizer, tiny_llama
from tests.agents.doubles import first_letters, make_trajectory
from zs_env.episode import EpisodeSettings
from zs_env.types import Question

pytestmark = pytest.mark.gpu

EXAMPLES = [Example.of(make_trajectory(n // 2, 0.0, 1 + 5 * n), (-1.0) ** n * (1 + n)) for n in range(7)]
# With a large eps, what differs by rounding moves by rounding: Adam's own would make a step of it.
SMOOTH: dict[str, Any] = {"learning_rate": 1e-2, "eps": 1e-2}


@pytest.mark.parametrize("kind", sorted(MODELS))
def test_log_probs_and_gradients(kind: str, device: torch.device) -> None:
    found = []
    for where in (torch.device("cpu"), device):
        policy = Policy(MODELS[kind]().to(where), byte_tokenizer())
        batch = collate([example.trajectory for example in EXAMPLES])
        with torch.no_grad():
            logprobs = policy.token_logprobs(batch, temperature=0.8).logprobs.cpu()
        learner = Learner(
            policy, OptimizerSettings(), batching=policy.batching(120), entropy_gradient=True, temperature=0.8
        )
        metrics = learner.accumulate(EXAMPLES, PolicyLoss(entropy_coef=0.01), "token_mean")
        gradients = torch.cat([one.grad.flatten().cpu() for one in policy.model.parameters() if one.grad is not None])
        found.append((logprobs, gradients, metrics))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=0, atol=1e-4)
    assert float((found[0][1] - found[1][1]).norm() / found[0][1].norm()) < 1e-3
    assert found[0][2] == pytest.approx(found[1][2], rel=1e-3, abs=1e-5)


def test_log_probs_a_block_of_the_vocabulary_at_a_time(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    count, entries = 2_500, 40_000  # more than a block of a GPU in both directions
    hidden, weight = torch.randn(count, 24, generator=generator), torch.randn(entries, 24, generator=generator) * 0.3
    targets, bias = torch.randint(entries, (count,), generator=generator), torch.randn(entries, generator=generator)
    found = []
    for where in (torch.device("cpu"), device):
        given = [one.detach().to(where).requires_grad_() for one in (hidden, weight, bias)]
        out = head_logprobs(
            given[0], given[1], targets.to(where), bias=given[2], temperature=0.7, entropy_gradient=True
        )
        (out.logprobs.sum() + 0.1 * out.entropy.sum()).backward()
        found.append([out.logprobs.detach().cpu(), out.entropy.detach().cpu(), *(one.grad.cpu() for one in given)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def make(kind: str, policy: Policy, engine: Any, questions: list[Question], **options: Any) -> Any:
    """An algorithm over a policy, with a KL penalty, over several micro-batches and two mini-batches."""
    training = TrainingSettings(
        total_steps=4, questions_per_step=3, group_size=4, kl_coef=0.05, entropy_coef=0.01, num_minibatches=2
    )
    optimizer = OptimizerSettings(**SMOOTH, **options)
    settings = CriticSettings(learning_rate=1e-2, eps=1e-2)
    batching = policy.batching(700)
    executor = LocalExecutor(
        Learner(policy, optimizer, reference=reference_of(policy), batching=batching, entropy_gradient=True),
        critic=CriticLearner(Critic(policy), settings, batching=batching) if kind == "ppo" else None,
        engine=engine,
        episode_settings=EpisodeSettings(prompt="short", max_turns=2, reward=first_letters),
        rollout_settings=RolloutSettings(max_new_tokens=12, max_episode_tokens=600),
        sampling=SamplingSettings(),
        seed=0,
    )
    common: dict[str, Any] = {"optimizer": optimizer, "noise": NoiseSchedule(), "seed": 0}
    if kind == "ppo":
        return Ppo(executor, questions, training, PpoSettings(), critic=settings, **common)  # type: ignore[arg-type]
    if kind == "reinforce":
        return Reinforce(executor, questions, training, ReinforceSettings(surrogate="clipped"), **common)  # type: ignore[arg-type]
    return Grpo(executor, questions, training, GrpoSettings(), **common)  # type: ignore[arg-type]


@pytest.mark.parametrize("lora", [False, True], ids=["weights", "lora"])
@pytest.mark.parametrize("model", sorted(MODELS))
@pytest.mark.parametrize("kind", ["grpo", "ppo", "reinforce"])
def test_whole_steps(
    kind: str, model: str, lora: bool, device: torch.device, engine: Any, questions: list[Question]
) -> None:
    found = []
    for where in (torch.device("cpu"), device):
        policy = Policy(MODELS[model]().to(where), byte_tokenizer())
        if lora:
            policy = add_adapters(policy, LoraSettings(rank=4), seed=0)
        algorithm = make(kind, policy, engine, questions)
        before = {name: one.detach().cpu().clone() for name, one in policy.model.named_parameters()}
        steps = [algorithm.step(step) for step in range(2)]
        moved = torch.cat(
            [(one.detach().cpu() - before[name]).flatten() for name, one in policy.model.named_parameters()]
        )
        metrics = {name: value for name, value in steps[0].metrics.items() if not name.endswith("_s")}
        found.append(([[t.ids() for t in step.trajectories] for step in steps], metrics, moved))
    assert found[0][0] == found[1][0], "equal seeds draw equal tokens"
    assert found[0][1] == pytest.approx(found[1][1], rel=1e-2, abs=1e-4)
    assert float(found[0][2].norm()) > 0
    assert float((found[0][2] - found[1][2]).norm() / found[0][2].norm()) < 2e-2


@pytest.mark.parametrize("options", [{}, {"masters": "none"}, {"masters": "none", "kind": "adafactor"}], ids=str)
def test_weights_in_bfloat16_move_as_the_cpus(options: dict[str, Any], device: torch.device) -> None:
    """Rounded at random one by one, they are other numbers, but on average the same ones."""
    found = []
    for where in (torch.device("cpu"), device):
        policy = Policy(tiny_llama().bfloat16().to(where), byte_tokenizer())
        before = {name: one.detach().cpu().float() for name, one in policy.model.named_parameters()}
        learner = Learner(
            policy, OptimizerSettings(**SMOOTH, **options), batching=policy.batching(120), recompute=bool(options)
        )
        for _ in range(3):
            metrics = learner.update(EXAMPLES, PolicyLoss(), aggregation="token_mean", learning_rate=1e-2)
        moved = [(one.detach().cpu().float() - before[n]).flatten() for n, one in policy.model.named_parameters()]
        found.append((torch.cat(moved), metrics))
    assert found[0][1]["loss"] == pytest.approx(found[1][1]["loss"], rel=0.2, abs=0.1)
    assert float(torch.cosine_similarity(found[0][0], found[1][0], dim=0)) > 0.9


def test_workers_side_by_side_give_the_gradient_of_one(device: torch.device) -> None:
    found = []
    for num_workers in (1, 3):
        policy = Policy(tiny_llama().to(device), byte_tokenizer())
        learner = Learner(policy, OptimizerSettings(), batching=Batching(max_tokens=60), num_workers=num_workers)
        learner.accumulate(EXAMPLES, PolicyLoss(), "token_mean")
        found.append([one.grad.clone() for one in policy.model.parameters() if one.grad is not None])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_a_copy_lies_where_the_policy_does(device: torch.device) -> None:
    policy = Policy(tiny_llama().to(device), byte_tokenizer())
    parts = [*reference_of(policy).model.parameters(), *Critic(policy).parameters()]
    assert {part.device.type for part in parts} == {device.type}
    other = Policy(tiny_llama(seed=1), byte_tokenizer())
    expected = copy.deepcopy(other.fingerprints())
    policy.take_weights(other)
    assert policy.fingerprints() == expected
