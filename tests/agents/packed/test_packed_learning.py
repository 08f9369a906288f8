"""Packed and shared give what padded gives: log-probs, values, gradients."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from transformers import (
    GemmaConfig,
    GemmaForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from agents.accumulation import Accumulator, Example
from agents.algorithm import PolicyLoss
from agents.batches import Batching, collate
from agents.critic import Critic
from agents.learner import Learner
from agents.optimization import OptimizerSettings
from agents.packed import pack, split_packed
from agents.policy import Policy
from agents.testing import tiny_lfm2, tiny_llama
from agents.trajectory import TokenSegment, Trajectory
from zs_env.errors import ConfigError

SHAPE: dict[str, Any] = {
    "vocab_size": 272,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
    "initializer_range": 0.2,
}


def _mistral() -> Any:
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=9)).eval()


def _qwen2() -> Any:
    torch.manual_seed(0)
    return Qwen2ForCausalLM(Qwen2Config(**(SHAPE | {"tie_word_embeddings": True}))).eval()


def _gemma() -> Any:
    torch.manual_seed(0)
    return GemmaForCausalLM(GemmaConfig(**SHAPE)).eval()


def _gpt2() -> Any:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=272, n_embd=32, n_layer=2, n_head=4, bos_token_id=None, eos_token_id=None)
    return GPT2LMHeadModel(config).eval()


PACKABLE = {
    "llama": tiny_llama,
    "mistral with a window": _mistral,
    "qwen2, tied": _qwen2,
    "gemma": _gemma,
    "gpt2": _gpt2,
}


def logprobs_and_gradients(policy: Policy, batch: Any, dtype: Any = torch.float32) -> tuple[Any, Any, list[Any]]:
    policy.model.zero_grad()
    found = policy.token_logprobs(batch, temperature=0.8, entropy_gradient=True)
    weights = torch.linspace(-1, 1, len(found.logprobs))
    ((found.logprobs * weights).sum() + (found.entropy * weights.flip(0)).sum()).backward()
    gradients = [one.grad.clone() for one in policy.model.parameters() if one.grad is not None]
    return found.logprobs.detach(), found.entropy.detach(), gradients


@pytest.mark.parametrize("name", PACKABLE)
@pytest.mark.parametrize("share", [True, False], ids=["shared", "apart"])
def test_packed_equals_padded(name: str, share: bool, episodes: list[Trajectory], tokenizer: Any) -> None:
    policy = Policy(PACKABLE[name](), tokenizer)
    assert policy.unpackable is None
    padded, packed = collate(episodes), pack(episodes, share_prompts=share)
    assert len(packed.ids) < padded.ids.numel()
    assert torch.equal(packed.flat_rows(), padded.flat_rows())
    assert torch.equal(packed.flat_sampled_logprobs(), padded.flat_sampled_logprobs())
    one, other = logprobs_and_gradients(policy, padded), logprobs_and_gradients(policy, packed)
    torch.testing.assert_close(one[0], other[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(one[1], other[1], rtol=1e-4, atol=1e-5)
    for wanted, found in zip(one[2], other[2], strict=True):
        torch.testing.assert_close(wanted, found, rtol=1e-3, atol=1e-4)


def test_a_shared_prompt_is_there_once(episodes: list[Trajectory]) -> None:
    shared, apart = pack(episodes), pack(episodes, share_prompts=False)
    # Prompts of 11 and 6 tokens, in 4 and 3 episodes: 3 × 11 and 2 × 6 tokens fewer.
    assert len(apart.ids) - len(shared.ids) == 3 * 11 + 2 * 6


def test_what_follows_the_last_policy_token_is_not_computed() -> None:
    episode = Trajectory(
        question_id="q",
        question="?",
        golden_answers=("x",),
        group=0,
        segments=[
            TokenSegment("prompt", (1, 2, 3), ""),
            TokenSegment("policy", (4, 5), "", (-1.0, -1.0)),
            TokenSegment("environment", (6, 7, 8), ""),
        ],
    )
    packed = pack([episode])
    assert packed.ids.tolist() == [1, 2, 3, 4]
    assert packed.places.tolist() == [2, 3]
    assert packed.targets.tolist() == [4, 5]


def test_one_episode_does_not_see_another(episodes: list[Trajectory], tokenizer: Any) -> None:
    policy = Policy(tiny_llama(), tokenizer)
    with torch.no_grad():
        before = policy.token_logprobs(pack(episodes)).logprobs
        changed = list(episodes)
        victim = changed[0]
        changed[0] = Trajectory(
            question_id="q",
            question="?",
            golden_answers=("x",),
            group=victim.group,
            segments=[victim.segments[0], TokenSegment("policy", (9, 8, 7), "", (-1.0,) * 3)],
        )
        after = policy.token_logprobs(pack(changed)).logprobs
    others = pack(episodes).flat_rows() != 0
    assert torch.allclose(before[others], after[pack(changed).flat_rows() != 0], atol=1e-5)


@pytest.mark.parametrize("most", [10, 25, 40, 10**6])
def test_micro_batches_hold_each_episode_once_and_keep_to_their_size(episodes: list[Trajectory], most: int) -> None:
    parts = split_packed(episodes, most)
    assert sorted(itertools.chain(*parts)) == list(range(len(episodes)))
    for part in parts:
        size = len(pack([episodes[index] for index in part]).ids)
        assert size <= most or len(part) == 1
    if most == 10**6:
        assert len(parts) == 1


def test_the_split_changes_the_gradient_by_rounding_alone(episodes: list[Trajectory], tokenizer: Any) -> None:
    examples = [Example.of(episode, (-1.0) ** at * (1 + at)) for at, episode in enumerate(episodes)]

    def gradients(batching: Batching, **options: Any) -> list[Any]:
        policy = Policy(tiny_llama(), tokenizer)
        learner = Learner(policy, OptimizerSettings(), batching=batching, **options)
        learner.accumulate(examples, PolicyLoss(), "token_mean")
        return [one.grad for one in learner.parameters.masters]

    wanted = gradients(Batching(max_tokens=10**6))
    for options in (
        {"batching": Batching(max_tokens=30, packed=True, share_prompts=True)},
        {"batching": Batching(max_tokens=10**6, packed=True)},
        {"batching": Batching(max_tokens=60, packed=True, share_prompts=True), "num_workers": 2},
        {"batching": Batching(max_tokens=60, packed=True, share_prompts=True), "recompute": True},
        {"batching": Batching(max_tokens=60), "recompute": True},
    ):
        for one, other in zip(wanted, gradients(**options), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_values_are_the_same_packed(episodes: list[Trajectory], tokenizer: Any) -> None:
    critic = Critic(Policy(tiny_llama(), tokenizer))
    torch.nn.init.normal_(critic.head.weight)
    with torch.no_grad():
        torch.testing.assert_close(critic.token_values(collate(episodes)), critic.token_values(pack(episodes)))


def test_inference_gives_each_example_its_own_numbers(episodes: list[Trajectory], tokenizer: Any) -> None:
    policy = Policy(tiny_llama(), tokenizer)
    examples = [Example(episode) for episode in episodes]
    found = [
        Accumulator(None, batching=batching, num_workers=1).infer(
            examples, lambda batch: policy.token_logprobs(batch).logprobs
        )
        for batching in (Batching(max_tokens=50), Batching(max_tokens=45, packed=True, share_prompts=True))
    ]
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_a_model_with_convolutions_is_not_packed_and_told_so(tokenizer: Any) -> None:
    policy = Policy(tiny_lfm2(), tokenizer)
    assert policy.unpackable == "not all of its layers are attention"
    assert policy.model.config._attn_implementation == "sdpa"
    assert not policy.batching(100).packed
    with pytest.raises(ConfigError, match="packing='shared' is not for Lfm2ForCausalLM: not all of its layers"):
        policy.batching(100, "shared")
    packable = Policy(tiny_llama(), tokenizer)
    assert packable.batching(100) == Batching(max_tokens=100, packed=True, share_prompts=True)
    assert packable.batching(100, "packed") == Batching(max_tokens=100, packed=True)
    assert packable.batching(100, "padded") == Batching(max_tokens=100)


def test_attention_that_ignores_the_layout_is_found_out(tokenizer: Any) -> None:
    model = tiny_llama()
    for layer in model.model.layers:
        forward = layer.self_attn.forward
        layer.self_attn.forward = lambda *given, forward=forward, **options: forward(
            *given, **{name: value for name, value in options.items() if name != "packed_layout"}
        )
    policy = Policy(model, tokenizer)
    assert policy.unpackable is not None
    assert model.config._attn_implementation == "sdpa"


def test_a_saved_model_names_no_attention_of_ours(tmp_path: Any, tokenizer: Any) -> None:
    policy = Policy(tiny_llama(), tokenizer)
    policy.save(tmp_path / "model")
    assert "zerosearch" not in (tmp_path / "model" / "config.json").read_text()


def test_an_episode_of_which_nothing_is_learned_has_no_numbers_and_no_gradient(tokenizer: Any) -> None:
    silent = Trajectory(
        question_id="q", question="?", golden_answers=("x",), group=0, segments=[TokenSegment("prompt", (1, 2), "")]
    )
    policy = Policy(tiny_llama(), tokenizer)
    found = policy.token_logprobs(pack([silent]))
    assert found.logprobs.shape == (0,)
    found.logprobs.sum().backward()
