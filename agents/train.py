"""A training run from settings to summary: measure, train, measure again."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from tqdm import tqdm

from agents.algorithm import Algorithm
from agents.config import EvaluationConfig, TrainConfig
from agents.critic import Critic, CriticLearner
from agents.errors import NonFiniteError, RolloutError
from agents.evaluate import evaluate_policy, pick_questions
from agents.executors import Executor, LocalExecutor
from agents.grpo import Grpo
from agents.learner import Learner, frozen_copy
from agents.policy import Policy, load_policy
from agents.ppo import Ppo
from agents.reinforce import Reinforce
from agents.runs import SCHEMA, Logger, RunFolder, TensorBoardLogger, checkpoint_settings, describe_machine
from agents.trajectory import Trajectory
from zs_env.errors import ConfigError
from zs_env.questions import QuestionList, load_questions
from zs_env.types import Question, QuestionSource, SearchEngine

__all__ = ["make_algorithm", "make_executor", "train"]


def train(
    config: TrainConfig,
    run: RunFolder,
    *,
    logger: Logger | None = None,
    say: Callable[[str], None] | None = None,
    executor_for: Callable[[TrainConfig, Policy, SearchEngine], Executor] | None = None,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train by the settings, and leave everything in the run's folder.

    Args:
        config: All settings.
        run: Its folder.
        logger: Where curves go; TensorBoard if left out.
        say: Is told what is going on, in a line or two; nothing if left out.
        executor_for: What makes the executor; `make_executor` if left out.
        before: What was measured of the same model on the same questions already, instead of measuring it again.

    Returns:
        The record that `summary.json` holds.
    """
    began = time.perf_counter()
    say = say or (lambda line: None)
    if config.run.threads:
        torch.set_num_threads(config.run.threads)
    # What is quick to check comes first, so that a wrong setting is told at once.
    run.check_sources(config.model.path, config.questions.source, config.evaluation.source)
    if config.model.dtype != "float32":
        raise ConfigError(
            f"Training needs dtype 'float32'; got {config.model.dtype!r}: small updates would be rounded away. Other "
            "types are for evaluation."
        )
    engine = config.search.make_engine()
    config.episode.settings(config.search.topk)
    config.sampling.settings().check_for_training()
    policy = load_policy(
        config.model.path,
        trust_remote_code=config.model.trust_remote_code,
        dtype=config.model.dtype,
        use_chat_template=config.model.chat_template,
    )
    config = config.fitted(policy.max_context_tokens, say)
    trained_on = _training_questions(config)
    evaluation = _Evaluation(config, policy, engine)
    fingerprints: dict[str, Any] = {
        "questions": {"training": trained_on.fingerprint, "evaluation": evaluation.fingerprint},
        **policy.fingerprints(),
    }
    trainer = make_algorithm(config, (executor_for or make_executor)(config, policy, engine), trained_on)
    run.open()
    run.write("config.json", config.record())
    before = evaluation.run("before", say) if before is None else dict(before)
    seconds = _train_steps(config, trainer, policy, run, logger or TensorBoardLogger(run.path))
    policy.save(run.checkpoint, settings=checkpoint_settings(config.record()))
    fingerprints["model_after"] = policy.fingerprints()["model"]
    after = evaluation.run("after", say)
    summary = {
        "schema": SCHEMA,
        "seed": config.run.seed,
        "seconds": {**seconds, "total": time.perf_counter() - began},
        "before": before,
        "after": after,
        "settings": config.record(),
        "fingerprints": fingerprints,
        "machine": describe_machine(),
    }
    run.write("summary.json", summary)
    return summary


def _training_questions(config: TrainConfig) -> QuestionSource:
    source = load_questions(config.questions.source, config.questions.split)
    if config.questions.limit is None or config.questions.limit >= len(source):
        return source
    return QuestionList(pick_questions(source, config.questions.limit), name=source.name, split=source.split)


def make_executor(config: TrainConfig, policy: Policy, engine: SearchEngine) -> LocalExecutor:
    """Where the run's work is done: learner, critic if the algorithm has one, sampler, engine."""
    batches: dict[str, Any] = {
        "micro_batch_tokens": config.learner.micro_batch_tokens,
        "num_workers": config.run.workers,
    }
    learner = Learner(
        policy,
        config.optimizer,
        temperature=config.sampling.temperature,
        reference=frozen_copy(policy) if config.training.kl_coef else None,
        entropy_gradient=config.training.entropy_coef > 0,
        **batches,
    )
    critic = CriticLearner(Critic(policy), config.critic, **batches) if config.run.algorithm == "ppo" else None
    return LocalExecutor(
        learner,
        critic=critic,
        engine=engine,
        episode_settings=config.episode.settings(config.search.topk),
        rollout_settings=config.rollout,
        sampling=config.sampling.settings(),
        seed=config.run.seed,
        sampler_options=config.sampler_options,
    )


def make_algorithm(config: TrainConfig, executor: Executor, questions: QuestionSource) -> Algorithm:
    """The algorithm that the settings name."""
    options: dict[str, Any] = {
        "optimizer": config.optimizer,
        "noise": config.noise.schedule(config.training.total_steps),
        "seed": config.run.seed,
    }
    if config.run.algorithm == "ppo":
        return Ppo(executor, questions, config.training, config.ppo, critic=config.critic, **options)
    if config.run.algorithm == "reinforce":
        return Reinforce(executor, questions, config.training, config.reinforce, **options)
    return Grpo(executor, questions, config.training, config.grpo, **options)


def _train_steps(
    config: TrainConfig, trainer: Algorithm, policy: Policy, run: RunFolder, logger: Logger
) -> dict[str, float]:
    """All training steps.

    Returns:
        `rollout` and `update`: seconds of each, over all steps.

    Raises:
        KeyboardInterrupt: It was interrupted; like an error of a step, after the policy was saved as it is.
    """
    seconds = {"rollout": 0.0, "update": 0.0}
    every, total = config.run.save_trajectories_every, config.training.total_steps
    step = 0
    try:
        # disable=None: the bar is drawn on a terminal only.
        with tqdm(range(total), desc="training", unit="step", file=sys.stderr, disable=None) as bar:
            for step in bar:
                result = trainer.step(step)
                metrics = result.metrics
                seconds["rollout"] += metrics["rollout_s"]
                seconds["update"] += metrics["update_s"]
                logger.log(step, metrics)
                bar.set_postfix_str(f"exact match {metrics['exact_match']:.2f}, reward {metrics['reward_mean']:.2f}")
                if every and (step % every == 0 or step == total - 1):
                    run.add_trajectories(step, _spread(result.trajectories, config.run.num_saved_trajectories))
                if config.run.checkpoint_every and (step + 1) % config.run.checkpoint_every == 0:
                    policy.save(run.checkpoint, settings=checkpoint_settings(config.record()))
    except (KeyboardInterrupt, NonFiniteError, RolloutError) as error:
        # Nothing that isn't finite is ever applied, so the weights are worth keeping.
        policy.save(run.checkpoint, settings=checkpoint_settings(config.record()))
        where = f"In training step {step} (of {total}, from 0). The policy as it is then is in {run.checkpoint}."
        raise type(error)(f"{error} {where}".strip()) from error
    finally:
        logger.close()
    return seconds


def _spread(trajectories: Sequence[Trajectory], count: int) -> list[Trajectory]:
    """Some trajectories, evenly over the groups."""
    if count >= len(trajectories):
        return list(trajectories)
    return [trajectories[index * len(trajectories) // count] for index in range(count)]


class _Evaluation:
    """The same questions, noise and draws before and after."""

    def __init__(self, config: TrainConfig, policy: Policy, engine: SearchEngine) -> None:
        settings: EvaluationConfig = config.evaluation
        self._config, self._policy, self._engine = config, policy, engine
        self._questions: list[Question] = []
        self.fingerprint: str | None = None
        if settings.noise:
            source = load_questions(settings.source or config.questions.source, settings.split)
            self._questions = pick_questions(source, settings.limit)
            self.fingerprint = QuestionList(self._questions, name=source.name, split=source.split).fingerprint

    def run(self, when: str, say: Callable[[str], None]) -> dict[str, Any]:
        """The record M at each chance of noise."""
        config, measured = self._config, {}
        # Sampled at temperature 1 whatever training samples with, so that runs can be compared.
        for noise in config.evaluation.noise:
            say(f"Measuring {when} training, on {len(self._questions)} questions at noise {noise:g} …")
            measured[f"noise_{noise:g}"] = evaluate_policy(
                self._policy,
                self._questions,
                engine=self._engine,
                episode_settings=config.episode.settings(config.search.topk),
                rollout_settings=config.rollout,
                noise_probability=noise,
                sampled=config.evaluation.sampled,
                seed=config.evaluation.seed,
                sampler_options=config.sampler_options,
            )
        return measured
