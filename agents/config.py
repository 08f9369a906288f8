"""What a run is made of: sections of small settings, read from a TOML file or the command line.

Every key is known, or it is an error that names it; nothing is ignored in silence.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from agents.alarms import AlarmSettings
from agents.algorithm import TrainingSettings
from agents.conversation import RolloutSettings
from agents.grpo import GrpoSettings
from agents.optimization import OptimizerSettings
from agents.ppo import CriticSettings, PpoSettings
from agents.questions import NoiseSchedule
from agents.reinforce import ReinforceSettings
from agents.samplers.base import SamplingSettings
from zs_env.curriculum import Curriculum, check_probability, check_whole
from zs_env.engines import make_engine
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.rewards import make_reward
from zs_env.types import SearchEngine

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
    "load_config",
    "load_preset",
    "preset_names",
]

ALGORITHMS: dict[str, tuple[str, ...]] = {"grpo": ("grpo",), "ppo": ("ppo", "critic"), "reinforce": ("reinforce",)}
"""The algorithms, each with the sections that are its own."""

_OWNED = tuple(section for sections in ALGORITHMS.values() for section in sections)

PRESETS = Path(__file__).parent / "presets"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """[run]: which algorithm, from which seed, and what is kept.

    Attributes:
        algorithm: One of `ALGORITHMS`.
        seed: Where all randomness of training comes from.
        threads: Threads that torch computes an operation with; 0 leaves torch's own choice.
        workers: Threads that generate and differentiate side by side, each computing with `threads`. For small models
            on a CPU, two workers of one thread beat one of two. The results are the same.
        checkpoint_every: Steps between checkpoints; 0 for one at the end alone.
        save_trajectories_every: Steps between saved samples of trajectories; 0 for none.
        num_saved_trajectories: Trajectories in such a sample, of as many groups as may be.
    """

    algorithm: str = "grpo"
    seed: int = 0
    threads: int = 0
    workers: int = 1
    checkpoint_every: int = 0
    save_trajectories_every: int = 10
    num_saved_trajectories: int = 8

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(f"Unknown algorithm {self.algorithm!r}. Available: {', '.join(ALGORITHMS)}.")
        for name in ("seed", "threads", "checkpoint_every", "save_trajectories_every", "num_saved_trajectories"):
            check_whole(name, getattr(self, name), least=0)
        check_whole("workers", self.workers, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """[model]: the policy that training starts from.

    Attributes:
        source: A folder in Hugging Face format, an id of the hub, or `preset:<folder>` for one that ships with presets.
        dtype: The type of the weights; training takes float32 alone.
        trust_remote_code: Whether code that comes with the model may run here.
        chat_template: Whether the tokenizer's chat template is used; left out: if there is one.
    """

    source: str = ""
    dtype: str = "float32"
    trust_remote_code: bool = False
    chat_template: bool | None = None

    @property
    def path(self) -> str:
        """Where to load it from."""
        kind, _, name = self.source.partition(":")
        return str(PRESETS / name) if kind == "preset" else self.source

    @property
    def shown(self) -> str:
        """What to call it in records: of a local folder the name alone, so that no record holds a machine's paths."""
        return Path(self.source).name if Path(self.source).exists() else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionsConfig:
    """[questions]: what is trained on.

    Attributes:
        source: What `zs_env.load_questions` takes.
        split: A split of it; left out: "train" of the atlas, and everything in a file.
        limit: A fixed sample of this many questions; left out: all.
    """

    source: str = "atlas"
    split: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.source == "atlas" and self.split is None:
            object.__setattr__(self, "split", "train")
        if self.limit is not None:
            check_whole("limit", self.limit, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """[search]: who answers searches.

    Attributes:
        mode: A search mode of `zs_env.engines.make_engine`.
        simulation_llm: The model that plays the search engine, where the mode takes one.
        base_url: Its server, where the mode takes one.
        topk: Documents a search.
    """

    mode: str = "template"
    simulation_llm: str | None = None
    base_url: str | None = None
    topk: int = 5

    def make_engine(self) -> SearchEngine:
        """The engine; an option that the mode doesn't take is an error that names it."""
        given = {"simulation_llm": self.simulation_llm, "base_url": self.base_url}
        return make_engine(self.mode, **{name: value for name, value in given.items() if value is not None})


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseConfig:
    """[noise]: how likely a search of training asks for noisy documents: a curriculum, or a fixed mix.

    Attributes:
        start_threshold: The curriculum's probability at the first step.
        end_threshold: And at the last.
        mix: The i-th question of a step has the i-th of these, round and round.
    """

    start_threshold: float | None = None
    end_threshold: float | None = None
    mix: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if (self.start_threshold is None) != (self.end_threshold is None):
            raise ConfigError(
                f"start_threshold (got {self.start_threshold}) and end_threshold (got {self.end_threshold}) belong "
                "together: give both, or neither for no noise."
            )
        for name in ("start_threshold", "end_threshold"):
            if getattr(self, name) is not None:
                check_probability(name, getattr(self, name))
        if self.mix is not None:
            for probability in self.mix:
                check_probability("A probability in mix", probability)
            object.__setattr__(self, "mix", tuple(self.mix))
            if self.start_threshold is not None:
                raise ConfigError(f"Give either start_threshold and end_threshold, or mix (got {self.mix}), not both.")

    def schedule(self, total_steps: int) -> NoiseSchedule:
        """The noise of each step; the last of `total_steps` has the end threshold."""
        if self.start_threshold is None or self.end_threshold is None:
            return NoiseSchedule(mix=self.mix or (0.0,))
        curriculum = Curriculum(start=self.start_threshold, end=self.end_threshold, total_steps=max(total_steps - 1, 1))
        return NoiseSchedule(curriculum=curriculum)


@dataclass(frozen=True, slots=True, kw_only=True)
class EpisodeConfig:
    """[episode]: the rules.

    Attributes:
        max_turns: See `EpisodeSettings`.
        prompt: See `EpisodeSettings`.
        reward: A name of `zs_env.rewards.REWARDS`, or a table of names to weights.
    """

    max_turns: int = 5
    prompt: str = "default"
    reward: str | dict[str, float] = "em"

    def settings(self, topk: int) -> EpisodeSettings:
        """The environment's settings."""
        return EpisodeSettings(max_turns=self.max_turns, topk=topk, reward=make_reward(self.reward), prompt=self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """[sampling]: how training draws tokens.

    Attributes:
        temperature: See `SamplingSettings`.
        max_batch_tokens: See `TransformersSampler`.
    """

    temperature: float = 1.0
    max_batch_tokens: int = 65_536

    def __post_init__(self) -> None:
        check_whole("max_batch_tokens", self.max_batch_tokens, least=1)

    def settings(self) -> SamplingSettings:
        """The sampler's settings."""
        return SamplingSettings(temperature=self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """[learner]: how gradients are computed.

    Attributes:
        micro_batch_tokens: See `Learner`.
    """

    micro_batch_tokens: int = 16_384

    def __post_init__(self) -> None:
        check_whole("micro_batch_tokens", self.micro_batch_tokens, least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """[evaluation]: what is measured before and after.

    Attributes:
        source: Where its questions come from; left out: where training's do.
        split: Never the one that is trained on; left out: "test" of the atlas, and everything in a file.
        limit: A fixed sample of this many questions; left out: all.
        noise: The chances of noise that it is measured at.
        sampled: Whether to play each question with sampling too.
        seed: Of its noise and sampling; the same in every run, so that runs can be compared.
    """

    source: str | None = None
    split: str | None = None
    limit: int | None = 500
    noise: tuple[float, ...] = (0.0, 0.5)
    sampled: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "noise", tuple(self.noise))
        for probability in self.noise:
            check_probability("A probability in noise", probability)
        if self.limit is not None:
            check_whole("limit", self.limit, least=1)


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
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    alarm: AlarmSettings = field(default_factory=AlarmSettings)

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
        trained, evaluated = self.questions.source, self.evaluation.source or self.questions.source
        if evaluated == "atlas" and self.evaluation.split is None:
            object.__setattr__(self, "evaluation", replace(self.evaluation, split="test"))
        same = _resolved(trained) == _resolved(evaluated) and self.questions.split == self.evaluation.split
        if same and self.evaluation.noise:
            part = f", split {self.questions.split!r}" if self.questions.split else ""
            raise ConfigError(
                f"Training and evaluation both use {trained!r}{part}: what was trained on says nothing about what was "
                "learned. Give one of them another split (--split, --eval-split) or source (--eval-questions)."
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
        return {"num_workers": self.run.workers, "max_batch_tokens": self.sampling.max_batch_tokens}

    def record(self) -> dict[str, Any]:
        """All settings in plain JSON types, without anything of this machine."""
        others = set(_OWNED) - set(ALGORITHMS[self.run.algorithm])
        record = {name: values for name, values in asdict(self).items() if name not in others}
        record["model"]["source"] = self.model.shown
        for section in ("questions", "evaluation"):
            source = record[section]["source"]
            if source is not None and Path(source).exists():
                record[section]["source"] = Path(source).name
        return record


def _resolved(source: str) -> str:
    """One name for each file, however its path is written."""
    path = Path(source).expanduser()
    return str(path.resolve()) if path.exists() else source


def preset_names() -> list[str]:
    """The presets that there are."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_preset(name: str) -> dict[str, dict[str, Any]]:
    """The sections of a named preset.

    Raises:
        ConfigError: There is no such preset.
    """
    if name not in preset_names():
        raise ConfigError(f"Unknown preset {name!r}. Available: {', '.join(preset_names())}.")
    return tomllib.loads((PRESETS / f"{name}.toml").read_text(encoding="utf-8"))


def load_config(sections: Mapping[str, Mapping[str, Any]], *, origin: str = "the settings") -> TrainConfig:
    """Make a run's settings of sections of plain values.

    Args:
        sections: Section to key to value, as TOML gives them.
        origin: What to call them in errors.

    Raises:
        ConfigError: A section, key or value is unknown or wrong.
    """
    made: dict[str, Any] = {}
    types = get_type_hints(TrainConfig)
    for name, values in sections.items():
        if name not in types:
            raise ConfigError(f"{origin}: unknown section [{name}]. Sections: {', '.join(types)}.")
        if not isinstance(values, Mapping):
            raise ConfigError(f"{origin}: [{name}] is a section of keys and values; got {values!r}.")
        section = types[name]
        known = {item.name: item for item in fields(section)}
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise ConfigError(f"{origin}: [{name}] has no {', '.join(map(repr, unknown))}. It has: {', '.join(known)}.")
        hints = get_type_hints(section)
        for key, value in values.items():
            _check_type(f"{origin}: [{name}] {key}", value, hints[key])
        made[name] = section(**values)
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
    return f"table of {parts[1].__name__}" if origin is dict else str(kind.__name__)
