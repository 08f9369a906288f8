"""What a training run is put together from, by its settings: questions, executor, algorithm, evaluation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from agents.algorithm import Algorithm
from agents.config import EvaluationConfig, TrainConfig
from agents.critic import Critic, CriticLearner
from agents.devices import resolve_device
from agents.evaluate import evaluate_policy, evaluation_tasks, measure, pick_questions
from agents.executors import Executor, LocalExecutor
from agents.grpo import Grpo
from agents.learner import Learner, reference_of
from agents.lora import LoraPolicy, add_adapters, merge_adapters
from agents.policy import Policy, load_policy
from agents.ppo import Ppo
from agents.reinforce import Reinforce
from agents.rollout import RolloutResult, check_failures
from agents.samplers.base import PublishedSampler, Sampler, SamplingSettings
from agents.warmstart.imitation import imitate
from zs_env.questions import QuestionList, load_questions
from zs_env.types import Question, QuestionSource, SearchEngine

__all__ = ["Evaluation", "load_model", "make_algorithm", "make_executor", "starting_policy", "training_questions"]


def load_model(
    config: TrainConfig, source: str, *, base: str | None = None, say: Callable[[str], None] | None = None
) -> Policy:
    """The policy that lies at `source`, loaded as the settings say; `say` is told what the device "auto" is here.

    `base` is that of `load_policy`.
    """
    # With other processes to compute, this one needs no GPU.
    device = resolve_device("cpu" if config.run.executor == "ray" else config.run.device, say=say)
    return load_policy(
        source,
        trust_remote_code=config.model.trust_remote_code,
        dtype=config.model.dtype,
        use_chat_template=config.model.chat_template,
        device=device,
        base=base,
    )


def starting_policy(config: TrainConfig, *, say: Callable[[str], None] | None = None) -> Policy:
    """What training begins with: the model that the settings name, with adapters if they want LoRA.

    A model that is adapters itself is merged first: the new run begins with what it does. If the settings want it to
    imitate demonstrations first, it has done so.
    """
    policy = load_model(config, config.model.path, base=config.model.base, say=say)
    if isinstance(policy, LoraPolicy):
        policy = merge_adapters(policy)
    if config.lora.rank:
        policy = add_adapters(policy, config.lora, seed=config.run.seed, source=config.model.source)
    if config.imitation.num_steps:
        imitate(
            policy,
            config.imitation,
            episode=config.episode.settings(config.search.topk),
            optimizer=config.optimizer,
            batching=policy.batching(config.learner.micro_batch_tokens, config.learner.packing),
            num_workers=config.run.workers,
            recompute=config.learner.gradient_checkpointing,
            seed=config.run.seed,
            say=say or (lambda line: None),
        )
    return policy


def training_questions(config: TrainConfig) -> QuestionSource:
    """What is trained on: the source, or a fixed sample of it."""
    source = load_questions(config.questions.source, config.questions.split)
    if config.questions.limit is None or config.questions.limit >= len(source):
        return source
    return QuestionList(pick_questions(source, config.questions.limit), name=source.name, split=source.split)


def make_executor(
    config: TrainConfig,
    policy: Policy,
    engine: SearchEngine,
    *,
    note: Callable[[str, str], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> Executor:
    """Where the run's work is done: learner, critic if the algorithm has one, sampler, engine.

    Args:
        config: All settings.
        policy: What is trained.
        engine: Who answers searches.
        note: Is told what happened to other processes: a kind, and a sentence.
        say: Is told what is going on.
    """
    if config.run.executor == "ray":
        from agents.executors.ray import RayExecutor

        return RayExecutor(config, policy, engine, note=note, say=say)
    return _local_executor(config, policy, engine)


def _local_executor(config: TrainConfig, policy: Policy, engine: SearchEngine) -> LocalExecutor:
    batches: dict[str, Any] = {
        "batching": policy.batching(config.learner.micro_batch_tokens, config.learner.packing),
        "num_workers": config.run.workers,
        "recompute": config.learner.gradient_checkpointing,
    }
    learner = Learner(
        policy,
        config.optimizer,
        temperature=config.sampling.temperature,
        reference=reference_of(policy) if config.training.kl_coef else None,
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
        sampler=_own_sampler(config, policy),
    )


def _own_sampler(config: TrainConfig, policy: Policy) -> Sampler | None:
    """The sampler that the settings name, if it isn't the policy's own."""
    if config.sampling.sampler == "transformers":
        return None
    from agents.samplers.vllm import VllmSampler

    policy.check_context(config.rollout.max_episode_tokens)  # before minutes are spent on loading it
    return VllmSampler(policy, config.sampling.settings(), **config.vllm_sampler_options)


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


class Evaluation:
    """Measures a policy before and after: the same questions, noise and draws.

    Args:
        config: All settings.
        policy: What is measured.
        engine: Who answers searches.

    Attributes:
        fingerprint: Of its questions; None if nothing is measured.
        sampler: The training's sampler. One with a copy of the weights plays here, too; else, or if left out, the
            policy itself does.
        play: What plays tasks elsewhere, greedily or by drawing, with a seed; None where this process does.
    """

    def __init__(self, config: TrainConfig, policy: Policy, engine: SearchEngine) -> None:
        settings: EvaluationConfig = config.evaluation
        self._config, self._policy, self._engine = config, policy, engine
        self._questions: list[Question] = []
        self.sampler: Any = None
        self.play: Callable[..., RolloutResult] | None = None
        self.fingerprint: str | None = None
        if settings.noise:
            source = load_questions(settings.source or config.questions.source, settings.split)
            self._questions = pick_questions(source, settings.limit)
            self.fingerprint = QuestionList(self._questions, name=source.name, split=source.split).fingerprint

    def run(self, when: str, say: Callable[[str], None]) -> dict[str, Any]:
        """The record M at each chance of noise."""
        config, measured = self._config, {}
        samplers = None
        if isinstance(self.sampler, PublishedSampler):
            copy: Any = self.sampler
            samplers = (copy.with_settings(SamplingSettings(greedy=True)), copy.with_settings(SamplingSettings()))
        # Sampled at temperature 1 whatever training samples with, so that runs can be compared.
        for noise in config.evaluation.noise:
            say(f"Measuring {when} training, on {len(self._questions)} questions at noise {noise:g} …")
            if self.play is not None:
                measured[f"noise_{noise:g}"] = self._elsewhere(self.play, noise)
                continue
            measured[f"noise_{noise:g}"] = evaluate_policy(
                self._policy,
                self._questions,
                engine=self._engine,
                episode_settings=config.episode.settings(config.search.topk),
                rollout_settings=config.rollout,
                noise_probability=noise,
                sampled=config.evaluation.sampled,
                seed=config.evaluation.seed,
                samplers=samplers,
                sampler_options=config.sampler_options,
            )
        return measured

    def _elsewhere(self, play: Callable[..., RolloutResult], noise: float) -> dict[str, Any]:
        settings, tasks = self._config.evaluation, evaluation_tasks(self._questions, noise)
        played = []
        for drawing in ("greedy", "sampled")[: 1 + settings.sampled]:
            result = play(tasks, drawing, seed=settings.seed)
            check_failures(result, self._config.rollout.max_failure_rate)
            played.append(result.trajectories)
        return measure(played[0], played[1] if len(played) > 1 else None)
