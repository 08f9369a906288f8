"""Weights in bfloat16 are trained through masters in float32."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from agents import optimization
from agents.accumulation import Example
from agents.algorithm import PolicyLoss
from agents.batches import Batching
from agents.errors import ModelError, NonFiniteError
from agents.learner import Learner
from agents.optimization import OptimizerSettings, TrainedParameters, make_optimizer
from agents.policy import Policy
from agents.recompute import Recompute
from agents.testing import tiny_llama
from agents.trajectory import TokenSegment, Trajectory
from zs_env.errors import ConfigError


def parameter(*values: float) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.tensor([values], dtype=torch.bfloat16))


def test_updates_too_small_for_bfloat16_add_up_in_the_master() -> None:
    # From 1, bfloat16's next lower number is 1 - 1/256 = 0.99609375. AdamW moves a weight of constant gradient by the
    # rate in each step: 40 steps of 1e-4 lead to 0.996, which rounds to it; and one step rounds back to 1.
    weight = parameter(1.0)
    trained = TrainedParameters([weight], OptimizerSettings(learning_rate=1e-4))
    (master,) = trained.masters
    for step in range(40):
        with trained.gathering():
            weight.sum().backward()
        assert weight.grad is None  # it was moved to the master
        trained.step(loss=0.0, learning_rate=1e-4)
        if step == 0:
            assert weight.item() == 1.0
            assert master.item() == pytest.approx(1 - 1e-4, abs=1e-6)
    assert master.item() == pytest.approx(0.996, abs=1e-5)
    assert weight.item() == 0.99609375


def test_gradients_of_micro_batches_add_up_in_float32() -> None:
    # 1 + 2**-9 + 2**-9: in bfloat16 each sum would round back to 1.
    weight = parameter(2.0)
    trained = TrainedParameters([weight], OptimizerSettings(max_grad_norm=1e9))
    with trained.gathering():
        for factor in (1.0, 2.0**-9, 2.0**-9):
            (weight * factor).sum().backward()
    (master,) = trained.masters
    assert master.grad is not None
    assert master.grad.item() == 1 + 2.0**-8


@pytest.mark.parametrize("num_workers", [1, 2])
def test_who_trains_the_same_weights_later_gets_their_gradients(tokenizer: Any, num_workers: int) -> None:
    policy = Policy(tiny_llama().bfloat16(), tokenizer)
    segments = [TokenSegment("prompt", (1, 2, 3), ""), TokenSegment("policy", (4, 5), "", (-5.0, -5.0))]
    episode = Trajectory(question_id="q", question="?", golden_answers=("x",), group=0, segments=segments)
    norms = []
    earlier = []  # learners that are still there
    for _ in range(2):
        learner = Learner(
            policy, OptimizerSettings(), batching=Batching(max_tokens=100, packed=True), num_workers=num_workers
        )
        found = learner.update([Example.of(episode, 1.0)], PolicyLoss(), aggregation="token_mean", learning_rate=1e-9)
        norms.append(found["grad_norm"])
        earlier.append(learner)
    assert norms[1] == pytest.approx(norms[0], rel=0.05)
    assert norms[0] > 0
    (policy.model.lm_head.weight * 1.0).sum().backward()
    assert policy.model.lm_head.weight.grad is not None  # nobody takes what isn't theirs


def test_float32_weights_are_their_own_masters_and_frozen_ones_are_left_out() -> None:
    weight, frozen = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2), requires_grad=False)
    trained = TrainedParameters([weight, frozen], OptimizerSettings())
    assert trained.masters == trained.parameters == [weight]
    assert "masters" not in trained.state_dict()


def test_rounding_at_random_gives_the_two_neighbours_in_proportion() -> None:
    # Between 1 and bfloat16's next number, 1 + 2**-7, at a quarter of the way: that one in a quarter of the cases.
    exact = torch.full((100_000,), 1 + 2.0**-9)
    for sign in (1, -1):
        found = optimization._round_at_random(sign * exact, torch.Generator().manual_seed(0))
        assert set(found.tolist()) == {sign * 1.0, sign * (1 + 2.0**-7)}
        assert float(found.mean()) == pytest.approx(sign * (1 + 2.0**-9), abs=1e-4)
        assert torch.equal(found, found.bfloat16().float())
    same = torch.tensor([0.0, -0.5, 3.0])
    assert torch.equal(optimization._round_at_random(same, torch.Generator()), same)


def test_without_masters_small_updates_are_right_on_average_and_nothing_in_float32_is_kept() -> None:
    # 40 steps of 1e-4 from 1, as above; each alone would round back.
    weight = torch.nn.Parameter(torch.ones(200, 100, dtype=torch.bfloat16))
    trained = TrainedParameters([weight], OptimizerSettings(learning_rate=1e-4, masters="none"))
    for _ in range(40):
        weight.sum().backward()
        trained.step(loss=0.0, learning_rate=1e-4)
        assert weight.grad is None
        assert trained.masters[0].numel() == 0
        assert trained.masters[0].grad is None
    assert float(weight.detach().float().mean()) == pytest.approx(0.996, abs=1e-4)


def test_without_masters_a_gradient_is_shortened_to_the_same_length() -> None:
    settings = OptimizerSettings(kind="adafactor", max_grad_norm=1.0)
    moved = []
    for masters in ("float32", "none"):
        weight = torch.nn.Parameter(torch.full((4, 4), 2.0, dtype=torch.bfloat16))
        trained = TrainedParameters([weight], replace(settings, masters=masters))
        (weight * 10).sum().backward()
        assert trained.step(loss=0.0, learning_rate=0.5) == pytest.approx(40.0)  # 16 gradients of 10: sqrt(1600)
        moved.append(weight.detach().float())
    torch.testing.assert_close(moved[0], moved[1], rtol=0.01, atol=0)


def test_without_masters_a_step_that_is_not_finite_changes_nothing() -> None:
    weight = parameter(1.0)
    trained = TrainedParameters([weight], OptimizerSettings(masters="none"))
    weight.sum().backward()
    with pytest.raises(NonFiniteError, match="The loss is nan"):
        trained.step(loss=float("nan"), learning_rate=1.0)
    assert weight.item() == 1.0
    assert weight.grad is None


@pytest.mark.parametrize("masters", ["float32", "none"])
@pytest.mark.parametrize("kind", ["adamw", "adafactor"])
def test_going_on_from_a_state_is_as_if_nothing_had_happened(kind: Any, masters: Any) -> None:
    def steps(trained: TrainedParameters, weight: torch.nn.Parameter, count: int) -> None:
        for _ in range(count):
            (weight**2).sum().backward()
            trained.step(loss=0.0, learning_rate=0.01)

    settings = OptimizerSettings(kind=kind, masters=masters)
    whole = parameter(1.0, -0.5, 0.25)
    trained = TrainedParameters([whole], settings)
    steps(trained, whole, 3)
    file = io.BytesIO()
    torch.save(trained.state_dict(), file)
    saved = whole.detach().clone()
    steps(trained, whole, 3)

    file.seek(0)
    again = torch.nn.Parameter(saved.clone())
    resumed = TrainedParameters([again], settings)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    steps(resumed, again, 3)
    assert torch.equal(again, whole)
    assert torch.equal(resumed.masters[0], trained.masters[0])
    assert not torch.equal(again, saved)


def test_adafactor_keeps_a_row_and_a_column_of_a_matrix() -> None:
    weight = torch.nn.Parameter(torch.randn(30, 20))
    trained = TrainedParameters([weight], OptimizerSettings(kind="adafactor"))
    weight.sum().backward()
    trained.step(loss=0.0, learning_rate=1e-3)
    state = trained.optimizer.state[weight]
    assert sum(value.numel() for value in state.values() if value.ndim) == 30 + 20


def test_an_unknown_optimizer_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"kind must be one of \('adamw', 'adafactor'\); got 'sgd'"):
        OptimizerSettings(kind="sgd")  # type: ignore[arg-type]


def test_a_policy_in_bfloat16_learns_as_one_in_float32_does(tokenizer: Any) -> None:
    def episode(*said: int) -> Trajectory:
        segments = [TokenSegment("prompt", (1, 2, 3), ""), TokenSegment("policy", said, "", (-5.5,) * len(said))]
        return Trajectory(question_id="q", question="?", golden_answers=("x",), group=0, segments=segments)

    examples = [Example.of(episode(4, 5, 6), 1.0), Example.of(episode(9, 8), -1.0)]
    moved = []
    for dtype in (torch.float32, torch.bfloat16):
        policy = Policy(tiny_llama().to(dtype), tokenizer)
        assert policy.unpackable is None
        learner = Learner(policy, OptimizerSettings(max_grad_norm=1e9), batching=policy.batching(1000))
        learner.accumulate(examples, PolicyLoss(clip_low=0.99, clip_high=1e9), "token_mean")
        moved.append(torch.cat([one.grad.flatten() for one in learner.parameters.masters if one.grad is not None]))
    cosine = torch.nn.functional.cosine_similarity(moved[0], moved[1], dim=0)
    assert float(cosine) > 0.99
    assert float(moved[1].norm() / moved[0].norm()) == pytest.approx(1.0, abs=0.05)


def test_recomputed_layers_keep_their_input_alone_and_dropout_stays_off() -> None:
    model = tiny_llama()
    ids = torch.arange(64)[None]

    def kept_bytes() -> int:
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.model(input_ids=ids, use_cache=False).last_hidden_state.sum()
        return total

    whole = kept_bytes()
    with Recompute(model):
        assert kept_bytes() < 0.3 * whole
        assert not any(module.training for layer in model.model.layers for module in layer.children())
    assert kept_bytes() == whole
    assert not any(module.training for module in model.modules())


def test_a_model_whose_layers_cannot_be_recomputed_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Linear has no layers that transformers can checkpoint"):
        Recompute(torch.nn.Linear(2, 2))


def test_adamw_moves_one_weight_after_the_other_on_every_device() -> None:
    # All at once, as torch does by default on a GPU, takes a copy of all weights in float32 more.
    optimizer = make_optimizer([torch.nn.Parameter(torch.ones(2, 2))], OptimizerSettings())
    assert [group["foreach"] for group in optimizer.param_groups] == [False, False]


def test_a_state_from_another_kind_of_device_goes_on_by_a_seed_of_its_own() -> None:
    """A GPU's generator has a state of 16 bytes, the CPU's one of 5,056."""

    def moved(rounding: torch.Tensor) -> torch.Tensor:
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 200, dtype=torch.bfloat16)[None])
        trained = TrainedParameters([weight], OptimizerSettings(learning_rate=1e-4, masters="none"))
        trained.load_state_dict({**trained.state_dict(), "rounding": rounding})
        weight.float().sum().backward()
        trained.step(loss=0.0, learning_rate=1e-4)
        return weight.detach().clone()

    first, second = (torch.tensor([7, 0] * 7 + [0, at], dtype=torch.uint8) for at in (4, 8))
    assert torch.equal(moved(first), moved(first))
    assert not torch.equal(moved(first), moved(second))
    kept = torch.Generator().manual_seed(3).get_state()
    assert torch.equal(moved(kept), moved(kept))
