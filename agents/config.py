"""What a run is made of: sections of small settings, read from a TOML file or the command line.

Every key is known, or it is an error that names it; nothing is ignored in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from agents.alarms import AlarmSettings
from agents.algorithm import TrainingSettings
from agents.config_files import Layer, load_preset, merge, preset_names
from agents.config_sections import (
    ALGORITHMS,
    SEARCH_FILES,
    EpisodeConfig,
    EvaluationConfig,
    LearnerConfig,
    ModelConfig,
    NoiseConfig,
    QuestionsConfig,
    RunConfig,
    SamplingConfig,
    SearchConfig,
)
from agents.conversation import RolloutSettings
from agents.executors.settings import ScaleSettings
from agents.grpo import GrpoSettings
from agents.lora import LoraSettings
from agents.optimization import OptimizerSettings
from agents.ppo import CriticSettings, PpoSettings
from agents.reinforce import ReinforceSettings
from agents.warmstart.imitation import ImitationSettings
from zs_env.command_options import with_option
from zs_env.errors import ConfigError

__all__ = [
    "ALGORITHMS",
    "EpisodeConfig",
    "EvaluationConfig",
    "LearnerConfig",
    "ModelConfig",
    "NoiseConfig",
    "QuestionsConfig",
    "RunConfig",
    "SamplingConfig",
    "SearchConfig",
    "TrainConfig",
    "check_sections",
    "load_config",
    "load_preset",
    "merge_layers",
    "preset_names",
]

_OWNED = tuple(section for sections in ALGORITHMS.values() for section in sections)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A whole training run; each field is a section."""

    run: RunConfig = field(default_factory=RunConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    questions: QuestionsConfig = field(default_factory=QuestionsConfig)
    search: SearchConfig = field(default_factory=SearchConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    episode: EpisodeConfig = field(default_factory=EpisodeConfig)
    rollout: RolloutSettings = field(default_factory=RolloutSettings)
    sampling: SamplingConfig = field(default_factory=SamplingConfig)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    grpo: GrpoSettings = field(default_factory=GrpoSettings)
    ppo: PpoSettings = field(default_factory=PpoSettings)
    critic: CriticSettings = field(default_factory=CriticSettings)
    reinforce: ReinforceSettings = field(default_factory=ReinforceSettings)
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    lora: LoraSettings = field(default_factory=LoraSettings)
    imitation: ImitationSettings = field(default_factory=ImitationSettings)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    alarm: AlarmSettings = field(default_factory=AlarmSettings)
    scale: ScaleSettings = field(default_factory=ScaleSettings)

    def __post_init__(self) -> None:
        if not self.model.source:
            raise ConfigError("No model: give --model (a folder or an id of the hub) or a --preset that has one.")
        total = self.training.total_steps
        for section in ("optimizer", "critic") if self.run.algorithm == "ppo" else ("optimizer",):
            warmup = getattr(self, section).warmup_steps
            if 0 < total <= warmup:
                raise ConfigError(
                    f"[{section}] warmup_steps={warmup} must be below total_steps={total}: the learning rate would "
                    "only ever warm up."
                )
        self.own.check(self.training)
        for section in ("optimizer", "critic") if self.run.algorithm == "ppo" else ("optimizer",):
            if getattr(self, section).masters == "none" and (self.model.dtype == "float32" or self.lora.rank):
                what = "LoRA's factors are float32" if self.lora.rank else "the weights are float32"
                raise ConfigError(
                    f"[{section}] masters='none' is for weights in bfloat16 that are trained, and {what}: leave it out"
                    + (", or set --dtype bfloat16." if not self.lora.rank else ".")
                )
        if self.imitation.num_steps and self.lora.rank and self.training.kl_coef:
            raise ConfigError(
                "[imitation] with LoRA and a KL penalty would pull to the model before the imitation, since LoRA's "
                "reference is the model without its factors: set kl_coef to 0, or imitate in a run of its own and "
                "start this one from its checkpoint, which merges it."
            )
        if self.imitation.num_steps and (self.questions.source, self.questions.split) != ("atlas", "train"):
            raise ConfigError(
                "[imitation] shows episodes of the atlas' training split, and training is on "
                f"{self.questions.source!r}, split {self.questions.split!r}: set its num_steps to 0, or train on the "
                "atlas."
            )
        self._check_scale()
        trained, evaluated = self.questions.source, self.evaluation.source or self.questions.source
        if evaluated == "atlas" and self.evaluation.split is None:
            object.__setattr__(self, "evaluation", replace(self.evaluation, split="test"))
        splits = (self.questions.split, self.evaluation.split)
        overlap = None in splits or splits[0] == splits[1]  # without a split, a file is taken whole
        if overlap and _resolved(trained) == _resolved(evaluated) and self.evaluation.noise:
            part = f", split {splits[0]!r}" if splits[0] and splits[1] else ""
            whole = ""
            if splits[0] != splits[1]:
                whole = f" ({'training' if splits[0] is None else 'evaluation'} names no split, so it takes all of it)"
            raise ConfigError(
                f"Training and evaluation both use {trained!r}{part}{whole}: what was trained on says nothing about "
                "what was learned. Give one of them another split (--split, --eval-split) or source (--eval-questions)."
            )

    def _check_scale(self) -> None:
        """Refuse what takes more than one process, in one; and stale episodes that nothing corrects for."""
        if self.run.executor == "local":
            given = [item.name for item in fields(ScaleSettings) if getattr(self.scale, item.name) != item.default]
            these = "these" if len(given) > 1 else "it"
            if given:
                raise ConfigError(
                    f"[scale] {', '.join(given)} is for executor='ray', and this run's is 'local', which does "
                    f"everything in one process: give --executor ray, or leave {these} out."
                )
            return
        staleness = self.scale.max_staleness
        if staleness and not self.training.importance_cap:
            raise ConfigError(
                f"max_staleness={staleness} learns from episodes of older weights, and importance_cap=0 corrects for "
                "nothing: give --old-logprobs recomputed --importance-cap 2, or --max-staleness 0."
            )
        spent = {f"budget_{name}": getattr(self.search, f"budget_{name}") for name in ("requests", "tokens", "cost")}
        limits = [f"{name}={limit:g}" for name, limit in spent.items() if limit is not None]
        if limits and self.search.budget_file is None:
            raise ConfigError(
                f"{' and '.join(limits)} would be a budget of each sampler's own, and of each that takes another's "
                "place: give --budget-file FILE, by which they count together (on one machine), or no budget."
            )
        real = self.search.options.get("real_budget")
        if isinstance(real, Mapping) and not real.get("path"):
            raise ConfigError(
                f"real_budget={dict(real)!r} would be a budget of each sampler's own: give its path, too, a file by "
                "which they count together (--search-option real_budget.path=FILE), or no budget."
            )
        if self.scale.num_simulators and self.search.simulation_llm is None:
            raise ConfigError(
                f"[scale] num_simulators={self.scale.num_simulators} starts servers of simulation_llm, and there is "
                "none: give --search-mode simulate_prompt (or simulate_sft) --simulation-llm MODEL, or leave it out."
            )

    @property
    def own(self) -> GrpoSettings | PpoSettings | ReinforceSettings:
        """The settings of the algorithm that is run."""
        settings: GrpoSettings | PpoSettings | ReinforceSettings = getattr(self, self.run.algorithm)
        return settings

    def fitted(self, max_context_tokens: int | None, say: Callable[[str], None]) -> TrainConfig:
        """The same settings, with the default of `max_episode_tokens` cut to a model's context if it is longer.

        Args:
            max_context_tokens: What the model can read; None if it doesn't say.
            say: Is told of the cut.
        """
        default = RolloutSettings().max_episode_tokens
        if max_context_tokens is None or not default == self.rollout.max_episode_tokens > max_context_tokens:
            return self
        say(f"The model reads {max_context_tokens} tokens at most, so max_episode_tokens is {max_context_tokens}.")
        return replace(self, rollout=replace(self.rollout, max_episode_tokens=max_context_tokens))

    @property
    def sampler_options(self) -> dict[str, Any]:
        """What samplers are made with, beside how they draw."""
        return {
            "num_workers": self.run.workers,
            "max_batch_tokens": self.sampling.max_batch_tokens,
            "keep_cache": self.sampling.keep_cache,
            "max_cached_tokens": self.sampling.max_cached_tokens,
        }

    @property
    def vllm_sampler_options(self) -> dict[str, Any]:
        """What `VllmSampler` is made with, beside the policy and how it draws."""
        return {
            "max_model_len": self.rollout.max_episode_tokens,
            "options": self.sampling.vllm_options,
            "seed": self.run.seed,
        }

    def record(self) -> dict[str, Any]:
        """All settings in plain JSON types, without anything of this machine."""
        others = set(_OWNED) - set(ALGORITHMS[self.run.algorithm])
        record = {name: values for name, values in asdict(self).items() if name not in others}
        record["model"]["source"] = self.model.shown
        if self.scale.address is not None:
            record["scale"]["address"] = "given"
        if self.model.base is not None:
            record["model"]["base"] = ModelConfig(source=self.model.base).shown
        for section in ("questions", "evaluation"):
            source = record[section]["source"]
            if source is not None and Path(source).exists():
                record[section]["source"] = Path(source).name
        for key in SEARCH_FILES:
            if record["search"][key] is not None:
                record["search"][key] = Path(record["search"][key]).name
        for key, path in self.search.paths.items():
            search, name = record["search"], Path(path).name
            if key == "simulation_llm":
                search[key] = name
            else:
                search["options"] = with_option(search["options"], key, name)
        return record


def _resolved(source: str) -> str:
    """One name for each file, however its path is written."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def merge_layers(layers: Sequence[Layer], *, say: Callable[[str], None] | None = None) -> dict[str, dict[str, Any]]:
    """Lay settings over each other; see `config_files.merge`.

    Raises:
        ConfigError: A section, key or type of one of them is wrong; the message names whose it is.
    """
    for layer in layers:
        check_sections(layer.sections, origin=layer.origin)
    return merge(layers, say=say)


def check_sections(sections: Mapping[str, Mapping[str, Any]], *, origin: str) -> None:
    """Refuse sections and keys that are unknown, and values of a wrong type.

    Args:
        sections: Section to key to value, as TOML gives them; keys that are needed may be missing.
        origin: What to call them in errors.

    Raises:
        ConfigError: What is wrong, by section and key.
    """
    types = get_type_hints(TrainConfig)
    for name, values in sections.items():
        if name not in types:
            raise ConfigError(f"{origin}: unknown section [{name}]. Sections: {', '.join(types)}.")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{origin}: [{name}] is a section of keys and values; got {values!r}.")
        known = [item.name for item in fields(types[name])]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"{origin}: [{name}] has no {', '.join(map(repr, unknown))}. It has: {', '.join(known)}.")
        hints = get_type_hints(types[name])
        for key, value in values.items():
            _check_type(f"{origin}: [{name}] {key}", value, hints[key])


def load_config(sections: Mapping[str, Mapping[str, Any]], *, origin: str = "the settings") -> TrainConfig:
    """Make a run's settings of sections of plain values.

    Args:
        sections: Section to key to value, as TOML gives them.
        origin: What to call them in errors.

    Raises:
        ConfigError: A section, key or value is unknown or wrong.
    """
    check_sections(sections, origin=origin)
    made: dict[str, Any] = {}
    types = get_type_hints(TrainConfig)
    for name, values in sections.items():
        try:
            made[name] = types[name](**values)
        except ConfigError as error:
            raise ConfigError(f"{origin}: [{name}] {error}") from error
    algorithm = made["run"].algorithm if "run" in made else RunConfig().algorithm
    for name in _OWNED:
        if name in made and name not in ALGORITHMS[algorithm]:
            owned = ", ".join(f"[{own}]" for own in ALGORITHMS[algorithm])
            raise ConfigError(
                f"{origin}: [{name}] is not a section of algorithm {algorithm!r}, which has {owned}. Remove it, or "
                "choose the algorithm that it belongs to."
            )
    return TrainConfig(**made)


def _check_type(where: str, value: object, hint: Any) -> None:
    """Refuse a text where a number is wanted, and the like; the settings check ranges and choices themselves."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if not any(_fits(value, kind) for kind in kinds):
        names = " or ".join(_name_of(kind) for kind in kinds if kind is not type(None))
        raise ConfigError(f"{where} must be of type {names}; got {value!r}.")


def _fits(value: object, kind: Any) -> bool:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return isinstance(value, str)
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(_fits(item, parts[0]) for item in value)
    if kind is Any:
        return True
    if origin is dict:
        return isinstance(value, dict) and all(_fits(item, parts[1]) for item in value.values())
    if kind is float:
        kind = (int, float)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _name_of(kind: Any) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "str"
    if origin is tuple:
        return f"list of {parts[0].__name__}"
    return f"table of {getattr(parts[1], '__name__', 'values')}" if origin is dict else str(kind.__name__)
