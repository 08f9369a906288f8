"""The sections of a run that belong to no one part of the code; the others lie beside what they configure."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from agents.devices import check_device
from agents.executors.settings import EXECUTORS
from agents.policy import SETTINGS_FILE, Packing
from agents.questions import NoiseSchedule
from agents.samplers.base import SamplingSettings
from agents.samplers.openai import UNTRAINABLE
from agents.samplers.vllm import check_vllm_options
from agents.search_paths import find_paths
from zs_env.command_options import lay_options
from zs_env.curriculum import Curriculum, check_probability, check_whole
from zs_env.engines import make_engine
from zs_env.engines.around import Budget, around
from zs_env.engines.around.timing import check_seconds
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.rewards import make_reward
from zs_env.types import SearchEngine

__all__ = [
    "ALGORITHMS",
    "PRESETS",
    "SEARCH_AROUND",
    "SEARCH_FILES",
    "EpisodeConfig",
    "EvaluationConfig",
    "LearnerConfig",
    "ModelConfig",
    "NoiseConfig",
    "QuestionsConfig",
    "RunConfig",
    "SamplingConfig",
    "SearchConfig",
]

ALGORITHMS: dict[str, tuple[str, ...]] = {"grpo": ("grpo",), "ppo": ("ppo", "critic"), "reinforce": ("reinforce",)}
"""The algorithms, each with the sections that are its own."""

SEARCH_FILES = ("cache", "record", "replay", "budget_file")
"""The keys of [search] that name files of this machine."""

SEARCH_AROUND = (
    *SEARCH_FILES,
    "tries",
    "deadline_s",
    "timeout_s",
    "max_in_flight",
    "breaker",
    "budget_requests",
    "budget_tokens",
    "budget_cost",
)
"""The keys of [search] that are no part of what an engine answers: they may change when a run goes on."""

PRESETS = Path(__file__).parent / "presets"
"""Where presets lie, and the models that ship with them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """[run]: which algorithm, from which seed, and what is kept.

    Attributes:
        algorithm: One of `ALGORITHMS`.
        executor: Where the work is done: "local" (in this process) or "ray"; see [scale].
        seed: Where all randomness of training comes from.
        device: What the model computes on: "auto" (a GPU if torch sees one), "cpu", "cuda" or "cuda:<number>".
        threads: Threads that torch computes an operation with; 0 leaves torch's own choice.
        workers: Threads that generate and differentiate side by side, each computing with `threads`. For small models
            on a CPU, two workers of one thread beat one of two. The results are the same.
        checkpoint_every: Steps between checkpoints; 0 for one at the end alone.
        keep_checkpoints: How many of the newest checkpoints stay.
        save_trajectories_every: Steps between saved samples of trajectories; 0 for none.
        num_saved_trajectories: Trajectories in such a sample, of as many groups as may be.
    """

    algorithm: str = "grpo"
    executor: str = "local"
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    workers: int = 1
    checkpoint_every: int = 10
    keep_checkpoints: int = 1
    save_trajectories_every: int = 10
    num_saved_trajectories: int = 8

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ConfigError(f"Unknown algorithm {self.algorithm!r}. Available: {', '.join(ALGORITHMS)}.")
        if self.executor not in EXECUTORS:
            raise ConfigError(f"executor must be one of {EXECUTORS}; got {self.executor!r}.")
        check_device(self.device)
        for name in ("seed", "threads", "checkpoint_every", "save_trajectories_every", "num_saved_trajectories"):
            check_whole(name, getattr(self, name), least=0)
        for name in ("workers", "keep_checkpoints"):
            check_whole(name, getattr(self, name), least=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """[model]: the policy that training starts from.

    Attributes:
        source: A folder in Hugging Face format, a run's folder for its checkpoint, an id of the hub, or
            `preset:<folder>` for one that ships with presets.
        dtype: The type of the weights: "float32" or "bfloat16", which may be trained, or "float16".
        trust_remote_code: Whether code that comes with the model may run here.
        chat_template: Whether the tokenizer's chat template is used; left out: if there is one.
        base: Of a policy that is adapters alone: the model that they belong to; left out: what is recorded with them.
    """

    source: str = ""
    dtype: str = "float32"
    trust_remote_code: bool = False
    chat_template: bool | None = None
    base: str | None = None

    @property
    def path(self) -> str:
        """Where to load it from."""
        kind, _, name = self.source.partition(":")
        if kind == "preset":
            return str(PRESETS / name)
        checkpoint = Path(self.source) / "checkpoint"
        return str(checkpoint) if (checkpoint / SETTINGS_FILE).is_file() else self.source

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
        base_url: Its server, where the mode takes one; without it, "smollm2" or a .gguf file is loaded in this process.
        check: Whether a simulator's documents are checked; left out: the engine's own choice.
        options: What else the mode's engine takes, by name.
        topk: Documents a search.
        cache: A file that keeps what was found; see `zs_env.engines.around`, as for all that follow.
        record: A file to write all searches into.
        replay: Such a file to answer from: no engine is made, and nothing else of what follows has an effect.
        tries: The most tries of a search.
        deadline_s: The most seconds of a search, all its tries included.
        timeout_s: The most seconds of a try.
        max_in_flight: The most searches at the same time.
        breaker: After how many failed searches in a row the engine gets a rest.
        budget_requests: The most searches that are paid; once a budget is used up, the run stops.
        budget_tokens: The most tokens, where the engine reports them.
        budget_cost: The most money, where the engine reports it.
        budget_file: Where the budget is counted on after a restart; without it, each run counts anew.
    """

    mode: str = "template"
    simulation_llm: str | None = None
    base_url: str | None = None
    check: bool | None = None
    options: dict[str, Any] = field(default_factory=dict)
    topk: int = 5
    cache: str | None = None
    record: str | None = None
    replay: str | None = None
    tries: int = 1
    deadline_s: float | None = None
    timeout_s: float | None = None
    max_in_flight: int | None = None
    breaker: int | None = None
    budget_requests: int | None = None
    budget_tokens: int | None = None
    budget_cost: float | None = None
    budget_file: str | None = None

    def __post_init__(self) -> None:
        if self.record is not None and self.replay is not None:
            raise ConfigError(f"Give either record (got {self.record!r}) or replay (got {self.replay!r}), not both.")
        check_whole("tries", self.tries, least=1)
        if self.max_in_flight is not None:
            check_whole("max_in_flight", self.max_in_flight, least=1)
        if self.breaker is not None:
            check_whole("breaker", self.breaker, least=1)
        object.__setattr__(self, "options", lay_options({}, self.options))
        twice = [name for name in ("simulation_llm", "base_url", "check") if name in self.options]
        if twice:
            raise ConfigError(
                f"{', '.join(twice)} is a key of [search] itself: give it there, not in its options (got "
                f"{self.options!r})."
            )
        for name in ("deadline_s", "timeout_s"):
            if getattr(self, name) is not None:
                check_seconds(name, getattr(self, name))
        self._budget()

    @property
    def paths(self) -> dict[str, str]:
        """What of the engine itself lies on this machine, beside `SEARCH_FILES`: key or option to its path."""
        found = find_paths(self.options)
        if self.base_url is None and (self.simulation_llm or "").lower().endswith(".gguf"):
            found["simulation_llm"] = str(self.simulation_llm)
        return found

    def make_engine(self) -> SearchEngine:
        """The engine, with what is put around it; an option that the mode doesn't take is an error that names it."""
        given = {"simulation_llm": self.simulation_llm, "base_url": self.base_url, "check": self.check}
        options = {name: value for name, value in given.items() if value is not None} | self.options
        return around(
            lambda: make_engine(self.mode, **options),
            cache=self.cache,
            record=self.record,
            replay=self.replay,
            tries=self.tries,
            deadline_s=self.deadline_s,
            timeout_s=self.timeout_s,
            max_in_flight=self.max_in_flight,
            breaker=self.breaker,
            budget=self._budget(),
        )

    def _budget(self) -> Budget | None:
        limits = {"requests": self.budget_requests, "tokens": self.budget_tokens, "cost": self.budget_cost}
        if all(limit is None for limit in limits.values()):
            if self.budget_file is not None:
                raise ConfigError(
                    f"budget_file (got {self.budget_file!r}) counts a budget, and there is none: give budget_requests, "
                    "budget_tokens or budget_cost, too."
                )
            return None
        return Budget(path=self.budget_file, on_spent="stop", **limits)  # type: ignore[arg-type]


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
            if not self.mix:
                raise ConfigError("mix needs at least one probability; got none. For no noise, leave it out.")
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
        max_information_chars: See `EpisodeSettings`; 0 for no limit.
    """

    max_turns: int = 5
    prompt: str = "default"
    reward: str | dict[str, float] = "em"
    max_information_chars: int = 20_000

    def settings(self, topk: int) -> EpisodeSettings:
        """The environment's settings."""
        return EpisodeSettings(
            max_turns=self.max_turns,
            topk=topk,
            reward=make_reward(self.reward),
            prompt=self.prompt,
            max_information_chars=self.max_information_chars or None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingConfig:
    """[sampling]: how training draws tokens.

    Attributes:
        temperature: See `SamplingSettings`.
        max_batch_tokens: See `TransformersSampler`.
        sampler: "transformers" (the learner's own weights, in this process) or "vllm" (a copy of them, in vLLM).
        vllm_options: What else vLLM takes; see `VllmSampler`.
        keep_cache: See `TransformersSampler`.
        max_cached_tokens: See `TransformersSampler`.
    """

    temperature: float = 1.0
    max_batch_tokens: int = 65_536
    sampler: str = "transformers"
    vllm_options: dict[str, Any] = field(default_factory=dict)
    keep_cache: bool = True
    max_cached_tokens: int = 262_144

    def __post_init__(self) -> None:
        check_whole("max_batch_tokens", self.max_batch_tokens, least=1)
        check_whole("max_cached_tokens", self.max_cached_tokens, least=0)
        if self.sampler == "openai":
            raise ConfigError(f"sampler = 'openai' is for `eval` and `ask`: {UNTRAINABLE}")
        if self.sampler not in ("transformers", "vllm"):
            raise ConfigError(f"sampler must be 'transformers' or 'vllm'; got {self.sampler!r}.")
        check_vllm_options(self.vllm_options)
        if self.vllm_options and self.sampler != "vllm":
            raise ConfigError(
                f"vllm_options (got {self.vllm_options!r}) has no effect with sampler = {self.sampler!r}: leave it "
                'out, or set sampler = "vllm".'
            )

    def settings(self) -> SamplingSettings:
        """The sampler's settings."""
        return SamplingSettings(temperature=self.temperature)


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """[learner]: how gradients are computed.

    Attributes:
        micro_batch_tokens: The most tokens that are differentiated at once.
        packing: See `policy.Packing`.
        gradient_checkpointing: Whether the backward pass makes each layer's activations again instead of keeping them:
            much less memory, about a third more time.
    """

    micro_batch_tokens: int = 16_384
    packing: Packing = "auto"
    gradient_checkpointing: bool = False

    def __post_init__(self) -> None:
        check_whole("micro_batch_tokens", self.micro_batch_tokens, least=1)
        if self.packing not in get_args(Packing):
            raise ConfigError(f"packing must be one of {get_args(Packing)}; got {self.packing!r}.")


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
        if len({f"{probability:g}" for probability in self.noise}) < len(self.noise):
            raise ConfigError(
                f"noise names each chance once, to six digits, as records are kept by it; got {list(self.noise)}."
            )
        if self.limit is not None:
            check_whole("limit", self.limit, least=1)
