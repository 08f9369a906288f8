"""Any model can be shown the protocol before reinforcement learning begins."""

from __future__ import annotations

import pytest
import torch

from agents.assembly import starting_policy
from agents.batches import Batching
from agents.config import load_config
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.testing import byte_tokenizer, tiny_llama
from agents.warmstart.imitation import ImitationSettings, imitate
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError


def learn(policy: Policy, num_steps: int = 12, **options: float) -> list[float]:
    return imitate(
        policy,
        ImitationSettings(num_steps=num_steps, batch_size=4, learning_rate=3e-3, **options),  # type: ignore[arg-type]
        episode=EpisodeSettings(prompt="short", topk=1, max_turns=3),
        optimizer=OptimizerSettings(),
        batching=policy.batching(2000),
        num_workers=1,
        recompute=False,
        seed=0,
    )


def test_demonstrations_become_likelier_and_a_seed_repeats_them() -> None:
    first, second = (Policy(tiny_llama(), byte_tokenizer()) for _ in range(2))
    losses = learn(first)
    assert losses == learn(second)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_only_what_the_script_says_is_imitated(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    collate = Batching.collate
    monkeypatch.setattr(
        Batching,
        "collate",
        lambda self, shown: seen.extend(shown) or collate(self, shown),  # type: ignore[func-returns-value]
    )
    learn(Policy(tiny_llama(), byte_tokenizer()), num_steps=1)
    assert len(seen) == 4
    for one in seen:
        said = [segment.text for segment in one.segments if segment.provenance == "policy"]
        assert said[0].startswith("<search> ")
        assert said[-1].endswith("</answer>") or said[-1].endswith("</search>")
        assert any("<information>" in segment.text for segment in one.segments if segment.provenance == "environment")


def test_training_begins_after_the_imitation(tmp_path: object) -> None:
    model = {"source": "preset:quickstart_warmstart"}
    settings = {"model": model, "imitation": {"num_steps": 2, "batch_size": 2}, "episode": {"prompt": "short"}}
    told: list[str] = []
    moved = starting_policy(load_config(settings), say=told.append)
    assert any(line.startswith("Imitation: step 2 of 2, loss ") for line in told)
    assert moved.fingerprints() != starting_policy(load_config({"model": model})).fingerprints()


def test_imitation_is_for_the_atlas_training_split_alone() -> None:
    with pytest.raises(
        ConfigError, match=r"shows episodes of the atlas' training split, and training is on 'mine\.jsonl'"
    ):
        load_config({"model": {"source": "m"}, "questions": {"source": "mine.jsonl"}, "imitation": {"num_steps": 1}})
    with pytest.raises(ConfigError, match=r"learning_rate must be a finite number above 0"):
        ImitationSettings(learning_rate=0.0)
