"""What is kept of a conversation changes how long its turns take, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from agents.policy import Policy
from agents.samplers import GenerationRequest, SamplingSettings
from agents.samplers.transformers import TransformersSampler
from agents.testing import byte_tokenizer, tiny_lfm2, tiny_llama

NEVER = SamplingSettings(stop_strings=("\x00never",))


class Counting(torch.nn.Module):
    """Counts the tokens that a model reads."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.read = 0
        model.model.embed_tokens.register_forward_hook(self._count)

    def _count(self, module: Any, given: Any, out: torch.Tensor) -> None:
        self.read += out.shape[0] * out.shape[1]


def request(ids: list[int], key: int, *, turn: int = 0, new: int = 6) -> GenerationRequest:
    return GenerationRequest(prompt_ids=ids, seed=1000 * turn + key, max_new_tokens=new, conversation=(0, key))


def play(sampler: TransformersSampler, turns: int = 3, members: int = 4) -> list[list[Any]]:
    """Several conversations, whose environment says something of another length each turn; one ends early."""
    prompts = {key: [(key // 2 * 31 + 7 * at) % 250 for at in range(20 + key // 2)] for key in range(members)}
    said: list[list[Any]] = []
    for turn in range(turns):
        speaking = [key for key in prompts if not (turn == 1 and key == 1)]  # one waits for its search in turn 1
        found = sampler.generate([request(prompts[key], key, turn=turn, new=3 + key) for key in speaking])
        said.append(found)
        for key, generation in zip(speaking, found, strict=True):
            prompts[key] = prompts[key] + list(generation.ids) + [(key + at) % 250 for at in range(2 + 3 * key)]
    return said


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("max_batch_tokens", [65_536, 90])
def test_turns_with_a_kept_cache_are_those_that_read_everything_again(workers: int, max_batch_tokens: int) -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    options: dict[str, Any] = {"num_workers": workers, "max_batch_tokens": max_batch_tokens}
    kept, anew = policy.sampler(NEVER, **options), policy.sampler(NEVER, keep_cache=False, **options)
    for one, other in zip(play(kept), play(anew), strict=True):
        for generation, wanted in zip(one, other, strict=True):
            assert generation.ids == wanted.ids
            assert generation.logprobs == pytest.approx(wanted.logprobs, abs=2e-5)


def test_rows_that_end_at_different_times_are_kept_whole() -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    eos = tuple(range(0, 272, 3))  # a third of all tokens ends a turn
    kept = TransformersSampler(policy.model, policy.codec, NEVER, eos_ids=eos)
    anew = TransformersSampler(policy.model, policy.codec, NEVER, eos_ids=eos, keep_cache=False)
    lengths = set()
    for one, other in zip(play(kept, turns=4, members=8), play(anew, turns=4, members=8), strict=True):
        assert [generation.ids for generation in one] == [generation.ids for generation in other]
        lengths |= {len(generation.ids) for generation in one}
    assert len(lengths) > 2


def test_no_token_is_read_twice_and_equal_prompts_are_read_once() -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    sampler = policy.sampler(NEVER)
    counting = Counting(policy.model)
    prompt = list(range(30))
    first = sampler.generate([request(prompt, key) for key in range(4)])
    # The prompt of 30 tokens once, and 5 of the 6 new tokens of each of the four.
    assert counting.read == 30 + 4 * 5
    counting.read = 0
    second = [[*prompt, *first[key].ids, 1, 2, 3] for key in range(4)]
    sampler.generate([request(second[key], key, turn=1) for key in range(4)])
    # The last token of the first turn, the environment's three, and 5 new ones.
    assert counting.read == 4 * (1 + 3 + 5)


def test_a_conversation_that_says_something_else_is_read_anew() -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    sampler = policy.sampler(NEVER)
    sampler.generate([request([1, 2, 3], 0)])
    assert len(sampler.kept) == 1
    (found,) = sampler.generate([request([9, 9, 9, 9], 0, turn=1)])
    (wanted,) = policy.sampler(NEVER, keep_cache=False).generate([request([9, 9, 9, 9], 0, turn=1)])
    assert found.ids == wanted.ids


def test_nothing_outlives_its_conversation_or_its_weights() -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    sampler = policy.sampler(NEVER)
    sampler.generate([request([1, 2, 3], 0), request([1, 2, 3], 1)])
    assert len(sampler.kept) == 2
    sampler.forget([(0, 0), (5, 5)])
    assert len(sampler.kept) == 1
    sampler.weight_version = 1
    assert len(sampler.kept) == 0
    sampler.generate([GenerationRequest(prompt_ids=[1, 2], seed=0, max_new_tokens=2)])  # of no conversation
    assert len(sampler.kept) == 0


def test_new_weights_are_seen_in_the_middle_of_a_conversation() -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    sampler = policy.sampler(NEVER)
    (first,) = sampler.generate([request([1, 2, 3], 0)])
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.1)
    sampler.weight_version = 1
    ids = [1, 2, 3, *first.ids, 7]
    (found,) = sampler.generate([request(ids, 0, turn=1)])
    (wanted,) = policy.sampler(NEVER, keep_cache=False).generate([request(ids, 0, turn=1)])
    assert found.ids == wanted.ids
    assert found.logprobs == pytest.approx(wanted.logprobs, abs=2e-5)


def test_no_more_tokens_are_kept_than_allowed() -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    sampler = policy.sampler(NEVER, max_cached_tokens=20)
    prompts = [[key, 2, 3, 4] for key in range(4)]  # 4 + 5 tokens each are kept
    found = sampler.generate([request(prompts[key], key) for key in range(4)])
    assert sampler.kept.num_tokens == 18
    again = [[*prompts[key], *found[key].ids, 5] for key in range(4)]
    wanted = policy.sampler(NEVER, keep_cache=False).generate([request(again[key], key, turn=1) for key in range(4)])
    found = sampler.generate([request(again[key], key, turn=1) for key in range(4)])
    assert [one.ids for one in found] == [one.ids for one in wanted]


def test_a_greedy_sampler_of_the_same_model_keeps_its_own() -> None:
    sampler = Policy(tiny_llama(), byte_tokenizer()).sampler(NEVER)
    other = sampler.with_settings(SamplingSettings(greedy=True, stop_strings=NEVER.stop_strings))
    sampler.generate([request([1, 2, 3], 0)])
    assert (len(sampler.kept), len(other.kept)) == (1, 0)


def test_a_model_with_convolutions_keeps_nothing_and_still_answers() -> None:
    sampler = Policy(tiny_lfm2(), byte_tokenizer()).sampler(NEVER)
    sampler.generate([request([1, 2, 3], 0)])
    assert len(sampler.kept) == 0
