"""Steps that a GPU would play back: what they compute, and what they hold. For the playing back: tests/agents/gpu."""

from __future__ import annotations

import gc
import inspect
import weakref
from typing import Any

import pytest
import torch

from agents.policy import Policy
from agents.samplers import GenerationRequest, SamplingSettings
from agents.samplers.kept import KeptBatch, KeptStates, state_shape
from agents.samplers.recorded import RecordedStep, Recorder
from agents.samplers.transformers import TransformersSampler
from agents.testing import byte_tokenizer, tiny_lfm2, tiny_llama

NEVER = SamplingSettings(stop_strings=("\x00never",))
CPU = torch.device("cpu")


def request(ids: list[int], key: int, *, turn: int = 0) -> GenerationRequest:
    return GenerationRequest(prompt_ids=ids, seed=1000 * turn + key, max_new_tokens=9 + key, conversation=(0, key))


def play(sampler: TransformersSampler) -> list[list[Any]]:
    prompts = {key: [(key // 2 * 31 + 7 * at) % 250 for at in range(20 + key // 2)] for key in range(8)}
    said: list[list[Any]] = []
    for turn in range(3):
        said.append(sampler.generate([request(ids, key, turn=turn) for key, ids in prompts.items()]))
        for key, generation in enumerate(said[-1]):
            prompts[key] = prompts[key] + list(generation.ids) + [(key + at) % 250 for at in range(2 + 3 * key)]
    return said


@pytest.mark.parametrize("eos", [(), tuple(range(0, 272, 5))], ids=["all to the end", "some end early"])
def test_steps_over_all_the_room_say_what_others_do(eos: tuple[int, ...]) -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    recorded, apart = (
        TransformersSampler(policy.model, policy.codec, NEVER, eos_ids=eos, record_steps=on) for on in (True, False)
    )
    for one, other in zip(play(recorded), play(apart), strict=True):
        for generation, wanted in zip(one, other, strict=True):
            assert generation.ids == wanted.ids
            assert generation.logprobs == pytest.approx(wanted.logprobs, abs=2e-5)


def test_a_cpu_and_a_model_with_convolutions_record_nothing() -> None:
    policy = Policy(tiny_llama(), byte_tokenizer())
    assert policy.sampler(NEVER)._recorder is None
    assert not Recorder(CPU).can_record
    assert Policy(tiny_lfm2(), byte_tokenizer()).sampler(NEVER, record_steps=True)._recorder is None


def test_states_are_let_go_with_their_batch() -> None:
    """Without waiting for Python's collector: a batch may hold gigabytes, and a graph must not die within another."""
    policy = Policy(tiny_llama(), byte_tokenizer())
    # transformers 5.24 renamed it.
    accepted = inspect.signature(policy.model.forward).parameters
    name = "cache" if "cache" in accepted else "past_key_values"
    shape = state_shape(policy.model, name)
    assert shape is not None
    gc.disable()
    try:
        with torch.inference_mode():
            batch = KeptBatch(
                policy.model, name, shape, KeptStates(100), [request([1, 2], 0)], 9, recorder=Recorder(CPU)
            )
            for _ in range(3):
                batch.append(torch.tensor([5]))
        left = weakref.ref(batch)
        states = weakref.ref(batch._states)
        del batch
        assert left() is None
        assert states() is None
    finally:
        gc.enable()


def test_a_step_gets_each_calls_ids_and_places() -> None:
    step = RecordedStep(lambda ids, places: torch.cat((ids, places), 1).float(), 2, Recorder(CPU))
    for at in range(3):
        found = step(torch.tensor([[at], [7]]), torch.tensor([[at + 1], [at + 2]]))
        assert found.tolist() == [[at, at + 1], [7, at + 2]]
