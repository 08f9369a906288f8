"""What is said on a GPU is what the CPU says, with a cache kept, with steps played back, and with draws."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from agents.policy import Policy
from agents.samplers import GenerationRequest, SamplingSettings
from agents.samplers.drawing import draw, log_normalizer, truncate, uniforms
from agents.samplers.recorded import records_on
from agents.samplers.transformers import TransformersSampler
from agents.testing import MODELS, byte_tokenizer, tiny_llama

pytestmark = pytest.mark.gpu

NEVER = SamplingSettings(stop_strings=("\x00never",))
GREEDY = SamplingSettings(greedy=True, stop_strings=NEVER.stop_strings)


def play(sampler: TransformersSampler, *, turns: int = 3, members: int = 4) -> list[list[Any]]:
    """Conversations whose environment says something of another length each turn."""
    prompts = {key: [(key // 2 * 31 + 7 * at) % 250 for at in range(20 + key // 2)] for key in range(members)}
    said: list[list[Any]] = []
    for turn in range(turns):
        requests = [
            GenerationRequest(prompt_ids=ids, seed=1000 * turn + key, max_new_tokens=9 + 2 * key, conversation=(0, key))
            for key, ids in prompts.items()
        ]
        found = sampler.generate(requests)
        said.append(found)
        for key, generation in enumerate(found):
            prompts[key] = prompts[key] + list(generation.ids) + [(key + at) % 250 for at in range(2 + 3 * key)]
    return said


def assert_said_the_same(one: list[list[Any]], other: list[list[Any]], *, off: float = 1e-4) -> None:
    for first, second in zip(one, other, strict=True):
        assert [generation.ids for generation in first] == [generation.ids for generation in second]
        assert [generation.finish_reason for generation in first] == [one.finish_reason for one in second]
        for generation, wanted in zip(first, second, strict=True):
            assert generation.logprobs == pytest.approx(wanted.logprobs, abs=off)


@pytest.mark.parametrize("settings", [NEVER, GREEDY], ids=["drawn", "greedy"])
@pytest.mark.parametrize("kind", sorted(MODELS))
def test_a_gpu_says_what_the_cpu_says(kind: str, settings: SamplingSettings, device: torch.device) -> None:
    wanted = play(Policy(MODELS[kind](), byte_tokenizer()).sampler(settings))
    for workers in (1, 2):
        sampler = Policy(MODELS[kind]().to(device), byte_tokenizer()).sampler(
            settings, num_workers=workers, max_batch_tokens=65_536 if workers == 1 else 120
        )
        assert_said_the_same(play(sampler), wanted)


@pytest.mark.parametrize("eos", [(), tuple(range(0, 272, 5))], ids=["all to the end", "some end early"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_played_back_steps_say_what_others_do(dtype: torch.dtype, eos: tuple[int, ...], device: torch.device) -> None:
    policy = Policy(tiny_llama().to(dtype).to(device), byte_tokenizer())
    recorded, apart = (
        TransformersSampler(policy.model, policy.codec, NEVER, eos_ids=eos, record_steps=on) for on in (True, False)
    )
    one, other = play(recorded, turns=4, members=8), play(apart, turns=4, members=8)
    if dtype == torch.float32:
        assert_said_the_same(one, other)
    else:  # a near-tie may fall differently, after which texts part
        same = [
            a.ids == b.ids
            for first, second in zip(one[:1], other[:1], strict=True)
            for a, b in zip(first, second, strict=True)
        ]
        assert sum(same) >= 6
    assert recorded._recorder is not None
    assert recorded._recorder.can_record == records_on(device)


def test_new_weights_are_played_back(device: torch.device) -> None:
    policy = Policy(tiny_llama().to(device), byte_tokenizer())
    sampler = policy.sampler(NEVER, record_steps=True)
    play(sampler)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.1)
    sampler.weight_version = 1
    assert_said_the_same(play(sampler), play(policy.sampler(NEVER, record_steps=False)))


def test_a_model_that_looks_at_a_number_is_sampled_all_the_same(device: torch.device) -> None:
    policy = Policy(tiny_llama().to(device), byte_tokenizer())
    wanted = play(policy.sampler(NEVER, record_steps=False))
    policy.model.model.layers[0].register_forward_hook(lambda module, given, out: float(given[0].sum()) and None)
    sampler = policy.sampler(NEVER, record_steps=True)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert_said_the_same(play(sampler), wanted)
    assert any("can't be recorded" in str(one.message) for one in told) == records_on(device)
    # What comes after is as good as ever.
    policy.model.model.layers[0]._forward_hooks.clear()
    assert_said_the_same(play(policy.sampler(NEVER)), wanted)


def test_equal_logits_and_uniforms_draw_equal_tokens(device: torch.device) -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 50_000, generator=generator) * 3
    uniform = uniforms(np.arange(64, dtype=np.uint64), 1)[:, 0]
    for options in ({"top_k": 0, "top_p": 1.0}, {"top_k": 40, "top_p": 1.0}, {"top_k": 0, "top_p": 0.9}):
        drawn = []
        for where in (torch.device("cpu"), device):
            kept = (
                truncate(logits.to(where), **options) if options["top_k"] or options["top_p"] < 1 else logits.to(where)
            )
            drawn.append(draw(kept, log_normalizer(kept), uniform.to(where)).cpu())
        assert int((drawn[0] == drawn[1]).sum()) >= 63  # a uniform may lie on a boundary, up to rounding


def test_a_gpu_in_bfloat16_says_what_the_cpu_finds_likely(device: torch.device) -> None:
    """Log-probs that a token was drawn with are those that a float32 learner on the CPU gives it, but for rounding."""
    model = tiny_llama().bfloat16()
    reference = tiny_llama()
    reference.load_state_dict({name: one.float() for name, one in model.state_dict().items()})
    said = (
        Policy(model.to(device), byte_tokenizer())
        .sampler(NEVER)
        .generate([GenerationRequest(prompt_ids=[5 + key, 9, 77], seed=key, max_new_tokens=20) for key in range(6)])
    )
    for key, generation in enumerate(said):
        ids = torch.tensor([[5 + key, 9, 77, *generation.ids]])
        with torch.no_grad():
            logprobs = reference(input_ids=ids).logits[0, 2:-1].log_softmax(-1)
        wanted = logprobs.gather(1, ids[0, 3:, None])[:, 0]
        assert float((torch.tensor(generation.logprobs) - wanted).abs().mean()) < 0.1
