"""Training with a sampler that has a copy of the weights: it has them before the first rollout and after each step."""

import copy
import importlib.util
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import pytest

from agents.assembly import make_executor
from agents.cli import main
from agents.config import TrainConfig, load_config
from agents.errors import RolloutError
from agents.executors import Executor, LocalExecutor
from agents.executors.watched import WatchedExecutor
from agents.learner import Learner
from agents.policy import Policy
from agents.runs import RunFolder
from agents.samplers import GenerationRequest, PublishedSampler, SamplingSettings
from agents.samplers.stepping import Ended, SteppedSampler
from agents.train import train
from zs_env.errors import ConfigError, MissingPackageError
from zs_env.types import SearchEngine


class CopyEngine:
    """A `StepEngine` with a model of its own: each step says all that one request wants."""

    def __init__(self, policy: Policy) -> None:
        self._policy = Policy(copy.deepcopy(policy.model), policy.tokenizer)
        self._sampler = self._policy.sampler()
        self._waiting: dict[str, tuple[GenerationRequest, SamplingSettings]] = {}
        self.num_loads = 0
        self.num_greedy = 0
        self.is_closed = False

    def add(self, key: str, request: GenerationRequest, settings: SamplingSettings) -> None:
        self._waiting[key] = (request, settings)

    def step(self) -> list[tuple[str, Ended | Exception]]:
        key, (request, settings) = next(iter(self._waiting.items()))
        del self._waiting[key]
        self.num_greedy += settings.greedy
        (said,) = self._sampler.with_settings(settings).generate([request])
        return [(key, Ended(ids=said.ids, logprobs=said.logprobs, finish_reason=said.finish_reason))]

    def drop(self, keys: Collection[str]) -> None:
        for key in keys:
            self._waiting.pop(key, None)

    def load(self, named_tensors: Iterable[tuple[str, Any]]) -> None:
        self._policy.model.load_state_dict(dict(named_tensors))
        self.num_loads += 1

    def close(self) -> None:
        self.is_closed = True


def settings_of(checkpoint: Path, **sampling: Any) -> TrainConfig:
    return load_config(
        {
            "run": {"seed": 3},
            "model": {"source": str(checkpoint)},
            "episode": {"prompt": "short", "max_turns": 2},
            "rollout": {"max_new_tokens": 8, "max_episode_tokens": 500},
            "training": {"total_steps": 3, "questions_per_step": 2, "group_size": 2},
            "grpo": {"zero_variance": "keep"},
            "optimizer": {"learning_rate": 1e-2, "warmup_steps": 0},
            "evaluation": {"limit": 2, "noise": [0.0]},
            "sampling": sampling,
        }
    )


@pytest.fixture
def checkpoint(tiny_policy: Policy, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    tiny_policy.save(folder)
    return folder


def test_a_run_with_a_copy_is_the_run_with_the_learner_s_own_weights(checkpoint: Path, tmp_path: Path) -> None:
    # Rewards of a random policy are all 0, so an entropy bonus moves the weights.
    config = settings_of(checkpoint)
    config = load_config({**_sections(config), "training": {**_sections(config)["training"], "entropy_coef": 0.5}})
    engines: list[CopyEngine] = []

    def with_copy(config: TrainConfig, policy: Policy, engine: SearchEngine) -> Executor:
        engines.append(CopyEngine(policy))
        sampling = config.sampling.settings()
        return LocalExecutor(
            Learner(policy, config.optimizer, entropy_gradient=True),
            engine=engine,
            episode_settings=config.episode.settings(config.search.topk),
            rollout_settings=config.rollout,
            sampling=sampling,
            sampler=SteppedSampler(engines[-1], policy.codec, sampling),
            seed=config.run.seed,
        )

    copied = train(config, RunFolder("copy", root=tmp_path / "runs"), executor_for=with_copy)
    shared = train(config, RunFolder("shared", root=tmp_path / "runs"))
    assert copied["fingerprints"]["model_after"] == shared["fingerprints"]["model_after"]
    assert copied["fingerprints"]["model_after"] != copied["fingerprints"]["model"]
    assert (copied["before"], copied["after"]) == (shared["before"], shared["after"])
    (engine,) = engines
    assert engine.num_loads == 3
    assert engine.num_greedy >= 4  # the copy plays the measurements, too: 2 questions, before and after
    assert engine.is_closed


def test_a_sampler_s_model_is_let_go_of_when_a_run_breaks_off(checkpoint: Path, tmp_path: Path) -> None:
    class Broken(CopyEngine):
        def step(self) -> list[tuple[str, Ended | Exception]]:
            if self.num_loads:
                raise RuntimeError("the engine is gone")
            return super().step()

    engines: list[CopyEngine] = []

    def with_broken(config: TrainConfig, policy: Policy, engine: SearchEngine) -> Executor:
        engines.append(Broken(policy))
        return LocalExecutor(
            Learner(policy, config.optimizer),
            engine=engine,
            episode_settings=config.episode.settings(config.search.topk),
            rollout_settings=config.rollout,
            sampling=config.sampling.settings(),
            sampler=SteppedSampler(engines[-1], policy.codec),
            seed=config.run.seed,
        )

    with pytest.raises(RolloutError, match=r"4 of 4 episodes failed.*the engine is gone.*In training step 1"):
        train(settings_of(checkpoint), RunFolder("broken", root=tmp_path / "runs"), executor_for=with_broken)
    assert engines[0].is_closed


def _sections(config: TrainConfig) -> dict[str, dict[str, Any]]:
    names = ("run", "model", "episode", "rollout", "training", "grpo", "optimizer", "evaluation")
    record = config.record()
    return {name: dict(record[name]) for name in names} | {"model": {"source": config.model.source}}


def test_a_version_is_told_with_the_weights(tiny_policy: Policy, engine: Any) -> None:
    copied = CopyEngine(tiny_policy)
    config = settings_of(Path("."))
    executor = LocalExecutor(
        Learner(tiny_policy, config.optimizer),
        engine=engine,
        episode_settings=config.episode.settings(5),
        rollout_settings=config.rollout,
        sampling=SamplingSettings(),
        sampler=SteppedSampler(copied, tiny_policy.codec),
        seed=0,
    )
    executor.publish(7)
    assert executor.sampler.weight_version == 7
    assert isinstance(executor.sampler, PublishedSampler)
    executor.load_state_dict(executor.state_dict(), weight_version=9)
    assert (executor.sampler.weight_version, copied.num_loads) == (9, 2)
    assert WatchedExecutor(executor).sampler is executor.sampler
    executor.close()


def test_the_sampler_of_the_settings_is_made(checkpoint: Path, tiny_policy: Policy, engine: Any) -> None:
    if importlib.util.find_spec("vllm") is None:
        with pytest.raises(MissingPackageError, match="pip install vllm"):
            make_executor(settings_of(checkpoint, sampler="vllm"), tiny_policy, engine)
    assert isinstance(make_executor(settings_of(checkpoint), tiny_policy, engine), LocalExecutor)


@pytest.mark.parametrize(
    ("sampling", "says"),
    [
        ({"sampler": "sglang"}, "'transformers' or 'vllm'; got 'sglang'"),
        ({"vllm_options": {"dtype": "bfloat16"}}, "no effect with sampler = 'transformers'"),
        ({"sampler": "vllm", "vllm_options": {"logprobs_mode": "raw_logits"}}, "can't set 'logprobs_mode'"),
        ({"sampler": "openai"}, "no ratio to train with"),
    ],
)
def test_settings_that_can_t_be_are_refused(sampling: dict[str, Any], says: str, checkpoint: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        settings_of(checkpoint, **sampling)


def test_train_refuses_it_and_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--preset", "quickstart", "--sampler", "openai"]) == 2
    assert "no ratio to train with" in capsys.readouterr().err
