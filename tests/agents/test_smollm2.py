"""A real instruct model, SmolLM2-135M from its wheel, plays an episode token in, token out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from agents.batches import collate
from agents.config import load_config, load_preset
from agents.conversation import EpisodeTask, RolloutSettings
from agents.policy import load_policy
from agents.rollout import rollout_sync
from agents.runs import RunFolder
from agents.samplers.base import SamplingSettings
from agents.train import train
from zs_env.engines import make_engine
from zs_env.episode import EpisodeSettings
from zs_env.questions import load_questions


@pytest.mark.slow
def test_a_real_instruct_model_plays_and_its_logprobs_are_the_learners() -> None:
    policy = load_policy("smollm2")
    tokenizer = policy.tokenizer
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


@pytest.mark.slow
def test_the_preset_imitates_trains_saves_and_can_be_loaded_again(tmp_path: Path) -> None:
    sections = load_preset("smollm2")
    sections["run"] = sections["run"] | {"threads": 1}
    sections["imitation"] = sections["imitation"] | {"num_steps": 1, "batch_size": 2}
    sections["training"] = sections["training"] | {"total_steps": 1, "questions_per_step": 2, "group_size": 2}
    sections["grpo"] = sections["grpo"] | {"zero_variance": "keep"}
    sections["optimizer"] = sections["optimizer"] | {"warmup_steps": 0}
    sections["training"] = sections["training"] | {"num_minibatches": 1}
    sections["rollout"] = sections["rollout"] | {"max_new_tokens": 8}
    sections["evaluation"] = sections["evaluation"] | {"noise": ()}
    run = RunFolder("smollm2", root=tmp_path)
    summary = train(load_config(sections), run)
    assert summary["compute"] == {"layout": "packed, shared prompts once", "attention": "blockwise"}
    assert summary["settings"]["model"]["source"] == "smollm2"
    again = load_policy(run.checkpoint, dtype="bfloat16")
    assert again.fingerprints()["model"] == summary["fingerprints"]["model_after"]
    assert again.codec.use_chat_template
