"""A collapse alarm: says when a run goes wrong while it can still be stopped, with the numbers that it saw.

Policies that learn to search collapse suddenly: reward falls to nothing within tens of steps, after or together with
an entropy that falls or explodes, episodes that grow or shrink, a KL or gradient that blows up, actions that are no
longer actions. Each kind of alarm has an **excursion**, a number that says how far out its metric is. At 1 the alarm is
raised, once; only below `_OVER` is the excursion over, and the same kind may be raised again.

Metrics that a step doesn't have, or that aren't finite, are passed over. All state is plain numbers, so that a resumed
run raises exactly what the run in one go would have raised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from zs_env.curriculum import check_probability, check_whole
from zs_env.errors import ConfigError

__all__ = ["Alarm", "AlarmAction", "AlarmSettings", "CollapseAlarm"]

AlarmAction = Literal["warn", "stop"]
"""What an alarm does: it is told, or it ends the run after its step, with the policy saved."""

_OVER = 0.75
_NOISE_DECAY = 0.1
_ALMOST_NO_ENTROPY = 0.05
_LEAST_LENGTH = 8.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmSettings:
    """[alarm]: what counts as a collapse. The defaults stay silent on healthy runs of the quickstart.

    Attributes:
        action: See `AlarmAction`.
        window: Steps that are averaged before anything is compared, but for the reward and the gradient.
        start_steps: Steps at the start whose mean the later ones are compared with.
        entropy_low: Entropy below this share of the start's is a collapse to one way of saying things.
        entropy_high: Entropy above this multiple of the start's (taken as at least 0.05 nats) is an explosion.
        length_jump: Policy tokens an episode above this multiple, or below this fraction, of their own running level.
        length_drift: The same, of the start's.
        level_steps: Steps that a running level looks back on.
        kl_limit: A KL to the first weights above this, in nats a token.
        share_rise: How far the share of invalid actions, or of episodes out of tokens, may rise above its lowest.
        grad_jump: A gradient, before clipping, of more than this multiple of its running level.
        reward_window: Steps of the running mean of the reward.
        reward_fall: Share of its best running mean that the reward may lose, beyond what the curriculum's noise
            explains.
        reward_errors: Standard errors that such a fall must have, too.
    """

    action: AlarmAction = "warn"
    window: int = 3
    start_steps: int = 5
    entropy_low: float = 0.05
    entropy_high: float = 3.0
    length_jump: float = 2.0
    length_drift: float = 4.0
    level_steps: int = 10
    kl_limit: float = 1.0
    share_rise: float = 0.25
    grad_jump: float = 10.0
    reward_window: int = 5
    reward_fall: float = 0.4
    reward_errors: float = 3.0

    def __post_init__(self) -> None:
        if self.action not in get_args(AlarmAction):
            raise ConfigError(f"action must be one of {get_args(AlarmAction)}; got {self.action!r}.")
        for name in ("window", "start_steps", "level_steps", "reward_window"):
            check_whole(name, getattr(self, name), least=1)
        for name in ("entropy_low", "share_rise", "reward_fall"):
            check_probability(name, getattr(self, name))
        for name in ("share_rise", "reward_fall"):
            if not getattr(self, name):
                raise ConfigError(f"{name} must be above 0, or every step would raise an alarm; got 0.")
        for name in ("entropy_high", "length_jump", "length_drift", "grad_jump"):
            if not 1 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} is a multiple: a finite number above 1; got {getattr(self, name)!r}.")
        for name in ("kl_limit", "reward_errors"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be a finite number above 0; got {getattr(self, name)!r}.")


@dataclass(frozen=True, slots=True)
class Alarm:
    """What went wrong in a run.

    Attributes:
        step: The training step, counted from 0, that raised it.
        kind: "entropy_collapse", "entropy_explosion", "length_explosion", "length_shrinkage", "kl_blow_up",
            "invalid_actions", "out_of_tokens", "gradient_spike" or "reward_fall".
        message: What was seen, since when, and what people do about it.
    """

    step: int
    kind: str
    message: str

    def to_json(self) -> dict[str, Any]:
        """The alarm in plain JSON types."""
        return asdict(self)


@dataclass(slots=True)
class _Track:
    """What is kept of a metric."""

    count: int = 0
    start: float = 0.0  # mean of the first steps
    level: float = 0.0  # running level: of the steps before the window, but for those of an excursion
    lowest: float = math.inf  # of the windows' means
    steps: list[int] = field(default_factory=list)  # of the window
    values: list[float] = field(default_factory=list)

    @property
    def mean(self) -> float:
        return sum(self.values) / len(self.values)

    def since(self, is_out: float, *, above: bool) -> int:
        """The first step of the window that is beyond a bound by itself."""
        beyond = [step for step, value in zip(self.steps, self.values, strict=True) if (value > is_out) == above]
        return beyond[0] if beyond else self.steps[0]


@dataclass(slots=True)
class _Reward:
    """What is kept of the reward, beside its track.

    `expected` is the best running mean, less what the noise that came since takes from a policy that searches once.
    """

    expected: float = 0.0
    best: float = 0.0
    best_step: int = -1
    noise_probability: float = 0.0  # the highest so far
    variance: float = 0.0  # of a step's mean reward, from differences of neighbours
    num_differences: int = 0


class CollapseAlarm:
    """Watches a run's metrics, a step at a time.

    Args:
        settings: What counts as a collapse.

    Examples:
        >>> alarm = CollapseAlarm(AlarmSettings())
        >>> [alarm.check(step, {"kl": 0.01 if step < 5 else 9.0}) for step in range(5)]
        [[], [], [], [], []]
        >>> [found.kind for found in alarm.check(5, {"kl": 9.0})]
        ['kl_blow_up']
    """

    def __init__(self, settings: AlarmSettings | None = None) -> None:
        self.settings = settings or AlarmSettings()
        self._tracks: dict[str, _Track] = {}
        self._reward = _Reward()
        self._open: set[str] = set()
        self._raised: list[Alarm] = []

    def check(self, step: int, metrics: Mapping[str, float]) -> list[Alarm]:
        """The alarms that the metrics of a step raise.

        Args:
            step: The training step, counted from 0; each step once, in order.
            metrics: Name to number, as a `TrainingStep` has them.
        """
        self._raised = []
        known = {name: float(value) for name, value in metrics.items() if math.isfinite(value)}
        if "reward_mean" in known:
            self._watch_reward(step, known["reward_mean"], known.get("noise_probability", 0.0))
        for name, watch in (
            ("entropy", self._watch_entropy),
            ("policy_tokens", self._watch_length),
            ("kl", self._watch_kl),
            ("invalid_share", self._watch_invalid),
            ("out_of_tokens_share", self._watch_tokens),
            ("grad_norm", self._watch_gradient),
        ):
            if name in known:
                window = 1 if name == "grad_norm" else self.settings.window
                watch(step, self._add(name, step, known[name], window))
        return self._raised

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered, in plain JSON types."""
        tracks = {name: asdict(track) for name, track in self._tracks.items()}
        for track in tracks.values():
            track["lowest"] = None if math.isinf(track["lowest"]) else track["lowest"]
        return {"tracks": tracks, "reward": asdict(self._reward), "open": sorted(self._open)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what `state_dict` gave, instead of what is remembered now."""
        self._tracks = {}
        for name, kept in state["tracks"].items():
            lowest = math.inf if kept["lowest"] is None else kept["lowest"]
            lists = {"steps": list(kept["steps"]), "values": list(kept["values"])}
            self._tracks[name] = _Track(**{**kept, **lists, "lowest": lowest})
        self._reward = _Reward(**state["reward"])
        self._open = set(state["open"])

    def _add(self, name: str, step: int, value: float, window: int) -> _Track:
        """Take in a value: the oldest of the window leaves it for the running level."""
        track = self._tracks.setdefault(name, _Track())
        if track.count < self.settings.start_steps:
            track.start = (track.start * track.count + value) / (track.count + 1)
        track.count += 1
        if len(track.values) == window:
            left = track.values.pop(0)
            track.steps.pop(0)
            weight = 1 / min(max(track.count - window, 1), self.settings.level_steps)
            if not any(kind in self._open for kind in _FREEZE.get(name, ())):
                track.level += weight * (left - track.level)
        track.steps.append(step)
        track.values.append(value)
        return track

    def _settled(self, track: _Track) -> bool:
        """Whether the start is known, and the window lies behind it."""
        return track.count > self.settings.start_steps

    def _judge(self, step: int, kind: str, excursion: float, message: str) -> None:
        """Raise an alarm where an excursion begins."""
        if excursion >= 1 and kind not in self._open:
            self._open.add(kind)
            self._raised.append(Alarm(step, kind, message))
        elif excursion < _OVER:
            self._open.discard(kind)

    def _watch_entropy(self, step: int, track: _Track) -> None:
        if not self._settled(track):
            return
        now, start = track.mean, track.start
        low = self.settings.entropy_low * start
        self._judge(
            step,
            "entropy_collapse",
            _ratio(low, now),
            f"Entropy {now:.4f} nats a token since step {track.since(low, above=False)}, {now / start:.1%} of the "
            f"{start:.4f} that the run began with: the policy says one thing only, and samples teach nothing more. "
            "People lower the learning rate, add an entropy bonus (entropy_coef) or widen the upper clip (clip_high)."
            if start
            else "",
        )
        high = self.settings.entropy_high * max(start, _ALMOST_NO_ENTROPY)
        self._judge(
            step,
            "entropy_explosion",
            now / high,
            f"Entropy {now:.3f} nats a token since step {track.since(high, above=True)}, from {start:.3f} when the run "
            "began: the policy falls apart into noise. People go back to an earlier checkpoint with a lower learning "
            "rate, or hold the policy near its first weights (kl_coef).",
        )

    def _watch_length(self, step: int, track: _Track) -> None:
        if not self._settled(track):
            return
        now, start, level = track.mean, track.start, track.level
        jump, drift = self.settings.length_jump, self.settings.length_drift
        high = max(min(jump * level, drift * start), _LEAST_LENGTH)
        seen = f"{now:.1f} policy tokens an episode since step"
        before = f"{level:.1f} just before and {start:.1f} when the run began"
        self._judge(
            step,
            "length_explosion",
            now / high,
            f"{seen} {track.since(high, above=True)}, from {before}: episodes ramble. People look at sampled "
            "trajectories, lower the learning rate, or lower max_new_tokens so that rambling can't be rewarded.",
        )
        low = max(level / jump, start / drift)
        self._judge(
            step,
            "length_shrinkage",
            _ratio(low, now) if max(level, start) > _LEAST_LENGTH else 0.0,
            f"{seen} {track.since(low, above=False)}, from {before}: the policy stopped thinking or searching. People "
            "look at sampled trajectories for a shortcut in the reward, and lower the learning rate.",
        )

    def _watch_kl(self, step: int, track: _Track) -> None:
        limit = self.settings.kl_limit
        self._judge(
            step,
            "kl_blow_up",
            track.mean / limit,
            f"KL to the first weights {track.mean:.3g} nats a token since step {track.since(limit, above=True)}, above "
            f"{limit:g}: the policy left the language that it came with. People raise kl_coef or lower the learning "
            "rate, and go back to a checkpoint before it.",
        )

    def _watch_invalid(self, step: int, track: _Track) -> None:
        self._watch_share(step, track, "invalid_actions", "of all actions were neither a search nor an answer")

    def _watch_tokens(self, step: int, track: _Track) -> None:
        self._watch_share(step, track, "out_of_tokens", "of the episodes ran out of tokens")

    def _watch_share(self, step: int, track: _Track, kind: str, what: str) -> None:
        """A share that rose from its lowest: a model that doesn't know the format yet may begin high."""
        if len(track.values) < self.settings.window:
            return
        now, lowest = track.mean, min(track.lowest, track.mean)
        track.lowest = lowest
        bound = lowest + self.settings.share_rise
        self._judge(
            step,
            kind,
            (now - lowest) / self.settings.share_rise,
            f"{now:.0%} {what} since step {track.since(bound, above=True)}, from {lowest:.0%} at best: the policy "
            "loses the format. People lower the learning rate and go back to a checkpoint before it"
            + (", or raise max_episode_tokens if honest episodes are that long." if kind == "out_of_tokens" else "."),
        )

    def _watch_gradient(self, step: int, track: _Track) -> None:
        if not self._settled(track) or not track.level:
            return
        now, level = track.mean, track.level
        self._judge(
            step,
            "gradient_spike",
            now / (self.settings.grad_jump * level),
            f"A gradient of length {now:.3g} in step {step}, {now / level:.0f} times its level of {level:.3g} before: "
            "often the step before a collapse. People lower the learning rate or max_grad_norm.",
        )

    def _watch_reward(self, step: int, value: float, noise_probability: float) -> None:
        """A fall from the best running mean that is neither chance nor the curriculum.

        Where the chance of noise rises from p to p', a policy that answers from one search keeps (1 - p') / (1 - p) of
        its reward, and one that searches again keeps more.
        """
        kept, settings = self._reward, self.settings
        track = self._tracks.get("reward_mean")
        if track is not None and "reward_fall" not in self._open:
            kept.num_differences += 1
            weight = max(1 / kept.num_differences, _NOISE_DECAY)
            kept.variance += weight * ((value - track.values[-1]) ** 2 / 2 - kept.variance)
        if noise_probability > kept.noise_probability:
            if track is not None:
                kept.expected *= (1 - noise_probability) / (1 - kept.noise_probability)
            kept.noise_probability = noise_probability
        track = self._add("reward_mean", step, value, settings.reward_window)
        if len(track.values) < settings.reward_window:
            return
        now = track.mean
        if kept.best_step < 0 or now >= kept.expected:
            kept.expected, kept.best, kept.best_step = now, now, step
        if kept.expected <= 0:
            return
        error = math.sqrt(2 * kept.variance / settings.reward_window)
        allowed = max(settings.reward_fall * kept.expected, settings.reward_errors * error)
        self._judge(
            step,
            "reward_fall",
            (kept.expected - now) / allowed if allowed else 0.0,
            f"Reward {now:.3f} over the last {settings.reward_window} steps, from {kept.best:.3f} at best, up to step "
            f"{kept.best_step}; noise explains a fall to {kept.expected:.3f} at most (a step's reward varies by "
            f"{math.sqrt(kept.variance):.3f}). People stop, take a checkpoint from before the fall, and go on with a "
            "lower learning rate or a kl_coef.",
        )


_FREEZE = {
    "policy_tokens": ("length_explosion", "length_shrinkage"),
    "grad_norm": ("gradient_spike",),
}
"""The kinds of alarm during which a metric's running level stays: the excursion is measured against what was before."""


def _ratio(bound: float, value: float) -> float:
    """How often a value fits into its lower bound."""
    if value > 0:
        return bound / value
    return math.inf if bound > 0 else 0.0
