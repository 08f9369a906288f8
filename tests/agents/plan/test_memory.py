from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import Lfm2Config, LlamaConfig, Qwen2Config, Qwen3Config

from agents.accumulation import Example
from agents.algorithm import PolicyLoss
from agents.learner import Learner
from agents.optimization import Masters, OptimizerSettings
from agents.packed import PackedLayout, attention
from agents.packed.support import packed_hidden_states, try_packing
from agents.plan.hardware import Hardware
from agents.plan.layout import LearnerLayout
from agents.plan.memory import (
    Kernel,
    activation_bytes,
    cache_bytes_per_token,
    layer_bytes,
    logits_bytes,
    lora_parameters,
    optimizer_bytes,
    plan_memory,
)
from agents.plan.settings import Assumptions, Precision, RunShape
from agents.plan.shapes import SHAPES, ModelShape, shape_of
from agents.policy import Policy
from agents.samplers.base import GenerationRequest
from agents.samplers.kept import KeptBatch, KeptStates, state_shape
from agents.samplers.transformers import _make_cache
from agents.testing import byte_tokenizer
from agents.trajectory import TokenSegment, Trajectory
from tests.agents.plan.measuring import peak_bytes, saved_bytes
from zs_env.errors import ConfigError

SMALL = {
    "vocab_size": 2048,
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
    "tie_word_embeddings": True,
}
CONFIGS = {
    "llama": LlamaConfig(**SMALL),
    "qwen2": Qwen2Config(**SMALL),
    "qwen3": Qwen3Config(**SMALL, head_dim=32),
    "lfm2": Lfm2Config(
        **SMALL, block_auto_adjust_ff_dim=False, conv_L_cache=6, layer_types=["conv", "full_attention", "conv"]
    ),
}
NOTHING = Assumptions(
    mfu=1,
    decode_mfu=1,
    bandwidth_share=1,
    layer_overhead_us=0,
    pass_overhead_us=0,
    runtime_gb=0,
    search_latency_s=0,
    tokens_per_document=1,
    margin=0,
)
BIG = Hardware(name="big", is_gpu=False, peak_tflops=1, bandwidth_gb_s=1, memory_gb=1e6)
RUN = RunShape(
    total_steps=1,
    questions=2,
    group_size=4,
    prompt_tokens=20,
    num_actions=2,
    action_tokens=20,
    max_new_tokens=20,
    document_tokens=40,
    max_episode_tokens=100,
    micro_batch_tokens=400,
    max_batch_tokens=4096,
)


def make(name: str, **changed: int) -> tuple[Any, ModelShape]:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    config = copy.deepcopy(CONFIGS[name])
    for key, value in changed.items():
        setattr(config, key, value)
    return AutoModelForCausalLM.from_config(config).eval(), shape_of(config, name=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_activations_are_those_that_autograd_saves(name: str, dtype: torch.dtype) -> None:
    model, shape = make(name)
    model = model.to(dtype)
    ids = torch.randint(1000, (4, 128))
    saved = saved_bytes(model, lambda: model.base_model(input_ids=ids, use_cache=False))
    precision = Precision.of("float32" if dtype is torch.float32 else "bfloat16")
    assert activation_bytes(shape, precision, ids.numel()) == pytest.approx(saved, rel=0.01)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_activations_of_adapters_are_those_that_autograd_saves(dtype: torch.dtype) -> None:
    pytest.importorskip("peft")
    from agents.lora import LoraSettings, add_adapters

    model, shape = make("llama")
    policy = add_adapters(Policy(model.to(dtype), byte_tokenizer()), LoraSettings(rank=8), seed=0, source="x")
    ids = torch.randint(1000, (4, 128))
    saved = saved_bytes(policy.model, lambda: policy.model.base_model(input_ids=ids, use_cache=False))
    precision = Precision.of("float32" if dtype is torch.float32 else "bfloat16")
    assert activation_bytes(shape, precision, ids.numel(), lora_rank=8) == pytest.approx(saved, rel=0.01)


@pytest.mark.parametrize("kernel", ["blockwise", "segments"])
@pytest.mark.parametrize("name", ["llama", "qwen3"])
def test_activations_of_what_is_packed_are_those_that_autograd_saves(
    name: str, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, shape = make(name)
    layout = PackedLayout.of([(0, [128])] * 4)
    ids = torch.randint(1000, (512,))
    assert try_packing(model) is None
    if kernel == "segments":  # what packed rows are computed with on a GPU, without flash-attn
        monkeypatch.setattr(attention, "packed_kernel_name", lambda device, dtype: "sdpa")
    saved = saved_bytes(model, lambda: packed_hidden_states(model.base_model, ids, layout))
    expected = activation_bytes(shape, Precision(), 512, kernel=kernel, keys_seen=128)
    assert expected == pytest.approx(saved, rel=0.015)  # the rotation's angles aren't counted


def test_activations_with_checkpointing_are_those_of_one_layer_and_the_inputs_of_all() -> None:
    model, shape = make("llama")
    ids = torch.randint(1000, (4, 128))
    # transformers 5.24 renamed it.
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable
    model.train()
    enable({"use_reentrant": False})
    hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
    most, _ = peak_bytes(lambda: hidden.sum().backward())
    inputs = shape.num_layers * ids.numel() * shape.hidden * 4  # these are there already
    expected = activation_bytes(shape, Precision(), ids.numel(), checkpointing=True)
    gradients = 4 * (shape.num_parameters - shape.embedding_parameters)
    layer = 3 * ids.numel() * shape.intermediate * 4  # of gradients on their way
    embedding = shape.embedding_parameters * 4
    again = layer_bytes(shape, Precision(), ids.numel())
    assert most + inputs == pytest.approx(expected + again + gradients + max(layer, embedding), rel=0.25)
    assert expected + again < activation_bytes(shape, Precision(), ids.numel()) / 1.9


def test_the_loss_holds_so_many_logits() -> None:
    from agents.losses import entropy_from_logits, selective_log_softmax

    _, shape = make("llama")
    weight = torch.randn(shape.vocabulary, shape.hidden)
    hidden = torch.randn(300, shape.hidden, requires_grad=True)

    def loss() -> None:
        logits = (hidden @ weight.T).float()
        with torch.no_grad():
            entropy_from_logits(logits.detach())
        selective_log_softmax(logits, torch.zeros(300, dtype=torch.long)).sum().backward()

    most, _ = peak_bytes(loss)
    assert logits_bytes(shape, 300) == pytest.approx(most, rel=0.05)


def trajectory(group: int, seed: int) -> Trajectory:
    """An episode of 100 tokens as `RUN` has them: 20 of the prompt, twice 20 of the policy, 40 of documents."""

    def draw(count: int, seed: int) -> tuple[int, ...]:
        return tuple(torch.randint(1000, (count,), generator=torch.Generator().manual_seed(seed)).tolist())

    segments = [
        TokenSegment("prompt", draw(20, 1000 + group), ""),
        TokenSegment("policy", draw(20, seed), "", (-5.0,) * 20),
        TokenSegment("environment", draw(40, seed), ""),
        TokenSegment("policy", draw(20, seed), "", (-5.0,) * 20),
    ]
    return Trajectory(
        question_id=f"q{group}",
        question="?",
        golden_answers=("a",),
        group=group,
        noise_probability=0.0,
        segments=segments,
    )


UPDATES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {},
    "lfm2": {},
    "prompts apart": {"packing": "packed"},
    "padded": {"packing": "padded"},
    "padded, a larger vocabulary": {"packing": "padded", "vocab_size": 8192},
    "a larger vocabulary": {"vocab_size": 8192},
    "checkpointing": {"vocab_size": 8192, "gradient_checkpointing": True},
    "bfloat16": {"vocab_size": 8192, "dtype": "bfloat16"},
    "bfloat16 without masters": {"vocab_size": 8192, "dtype": "bfloat16", "masters": "none"},
    "adafactor without masters": {"dtype": "bfloat16", "masters": "none", "optimizer": "adafactor"},
    "adapters": {"vocab_size": 8192, "lora_rank": 8},
    "adapters in bfloat16": {"vocab_size": 8192, "lora_rank": 8, "dtype": "bfloat16"},
}


@pytest.mark.parametrize("case", UPDATES)
def test_an_update_takes_what_was_planned(case: str) -> None:
    changed = dict(UPDATES[case])
    vocabulary = changed.pop("vocab_size", 2048)
    run = replace(RUN, **changed)
    model, shape = make(case if case in CONFIGS else "llama", vocab_size=vocabulary)
    if LearnerLayout.of(shape, run).shares:
        run = replace(run, micro_batch_tokens=340)  # one group, as no second would fit
    policy = Policy(model.to(getattr(torch, run.dtype)), byte_tokenizer())
    if run.lora_rank:
        pytest.importorskip("peft")
        from agents.lora import LoraSettings, add_adapters

        policy = add_adapters(policy, LoraSettings(rank=run.lora_rank), seed=0, source="x")
    masters: Masters = run.masters
    learner = Learner(
        policy,
        OptimizerSettings(learning_rate=1e-4, kind=run.optimizer, masters=masters),
        batching=policy.batching(run.micro_batch_tokens, run.packing),
        recompute=run.gradient_checkpointing,
    )
    examples = [Example.of(trajectory(index // 4, index), 1.0) for index in range(8)]
    planned = {item.name: item.num_bytes for item in plan_memory(shape, run, BIG, NOTHING).items}

    def accumulate() -> None:
        learner.accumulate(examples, PolicyLoss(), "token_mean")

    def update() -> None:
        learner.update(examples, PolicyLoss(), aggregation="token_mean", learning_rate=1e-4)

    assert planned["weights"] == sum(parameter.nbytes for parameter in policy.model.parameters())
    copies = sum(
        master.nbytes
        for one, master in zip(learner.parameters.parameters, learner.parameters.masters, strict=True)
        if one is not master
    )
    assert planned.get("float32 copy of the weights", 0) == copies
    # The first update leaves the optimizer's state; gradients are let go.
    _, left = peak_bytes(update)
    assert planned[f"optimizer state ({run.optimizer})"] == pytest.approx(left, rel=0.02)
    most, left = peak_bytes(accumulate)
    assert planned["gradients"] == pytest.approx(left, rel=0.01)
    of_the_update = ("gradients", "activations of a micro-batch", "logits, or gradients on their way")
    assert sum(planned[part] for part in of_the_update) == pytest.approx(most, rel=0.05)
    most, _ = peak_bytes(lambda: learner.parameters.step(loss=1.0, learning_rate=1e-4))
    assert planned["optimizer's step"] == pytest.approx(most, rel=0.02)


def test_the_cache_is_what_the_sampler_allocates() -> None:
    for name in ("llama", "qwen3"):
        model, shape = make(name)
        cache = _make_cache(model.config, 50)
        argument = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
        with torch.inference_mode():
            model(input_ids=torch.ones(2, 10, dtype=torch.long), use_cache=True, **{argument: cache})
        kept = sum(
            layer.keys.untyped_storage().nbytes() + layer.values.untyped_storage().nbytes() for layer in cache.layers
        )
        assert kept == 100 * cache_bytes_per_token(shape, Precision())


def test_the_cache_that_is_kept_between_turns_is_what_the_sampler_holds() -> None:
    model, shape = make("llama")
    assert try_packing(model) is None
    argument = "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"
    states, kept = state_shape(model, argument), KeptStates(1000)
    assert states is not None
    requests = [
        GenerationRequest(prompt_ids=(1, 2, 3, row), max_new_tokens=60, seed=0, conversation=row) for row in range(4)
    ]
    per_token = cache_bytes_per_token(shape, Precision())
    with torch.inference_mode():
        batch = KeptBatch(model, argument, states, kept, requests, 60)
        # Padding is written to one place more a row.
        assert batch._states.untyped_storage().nbytes() == 4 * (64 + 1) * per_token
        for row in range(4):
            batch.end(row, [5])
        assert sum(one.states.untyped_storage().nbytes() for one in kept._kept.values()) == 16 * per_token
        # Rows that are let go are copied, and for a moment both are there.
        most, _ = peak_bytes(lambda: batch.keep(torch.arange(4)))
        assert most == pytest.approx(4 * 65 * per_token, rel=0.01)


@pytest.mark.parametrize("max_batch_tokens", [4096, 400])
def test_a_rollout_takes_at_most_what_was_planned(max_batch_tokens: int) -> None:
    model, shape = make("llama", num_hidden_layers=12)
    run = replace(RUN, questions=4, max_batch_tokens=max_batch_tokens)
    sampler = Policy(model, byte_tokenizer()).sampler(max_batch_tokens=max_batch_tokens)

    def play() -> None:
        read = [trajectory(index // 4, index).segments[0].ids for index in range(16)]
        for turn in range(2):
            requests = [
                GenerationRequest(prompt_ids=ids, max_new_tokens=20, seed=2 * index + turn, conversation=index)
                for index, ids in enumerate(read)
            ]
            written = sampler.generate(requests)
            read = [(*ids, *one.ids, *range(40)) for ids, one in zip(read, written, strict=True)]
        lengths.append(sum(map(len, read)) / 16 - 40)  # no documents come after the last action
        sampler.kept.clear()

    lengths: list[float] = []
    most, left = peak_bytes(play)
    items = plan_memory(shape, run, BIG, NOTHING).items
    planned = sum(item.num_bytes for item in items if item.phase == "rollout")
    assert left == 0
    assert lengths[-1] == pytest.approx(run.episode_tokens, rel=0.05)  # hardly one ends early
    assert 0.65 * planned < most <= planned


def test_optimizer_states_by_hand() -> None:
    shape = replace(SHAPES["smollm2-135m"], num_layers=1)
    # Queries 576×576, keys and values 192×576, output 576×576, three of 1536×576: sums of rows and columns.
    # Three norms beside them are vectors.
    sides = 1152 + 2 * 768 + 1152 + 3 * 2112
    by_kind = {"adamw": 8.0 * 1000, "adafactor": 4.0 * (sides + 49_152 + 576 + 3 * 576)}
    for kind, expected in by_kind.items():
        assert optimizer_bytes(shape, replace(RUN, optimizer=kind), 1000) == expected
    assert lora_parameters(shape, 8) == 8 * sides


def test_adapters_are_as_many_as_peft_makes() -> None:
    peft = pytest.importorskip("peft")
    model, shape = make("qwen2")
    wrapped = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"))
    trained = sum(parameter.numel() for parameter in wrapped.parameters() if parameter.requires_grad)
    assert lora_parameters(shape, 4) == trained


def peaks(run: RunShape, hardware: Hardware = BIG) -> tuple[float, float]:
    plan = plan_memory(SHAPES["qwen2.5-0.5b"], run, hardware, NOTHING)
    return plan.peak("rollout"), plan.peak("update")


def test_what_each_option_adds_or_saves() -> None:
    parameters = SHAPES["qwen2.5-0.5b"].num_parameters
    rollout, update = peaks(RUN)
    reference = peaks(replace(RUN, has_reference=True))
    assert reference == pytest.approx((rollout + 4 * parameters, update + 4 * parameters))
    # A critic: weights and two moments of the trunk, which is all but the head; here the head is the embedding.
    critic = peaks(replace(RUN, has_critic=True))
    assert critic == pytest.approx((rollout + 12 * parameters, update + 12 * parameters))
    # bfloat16: weights halve, and a float32 copy of them comes in, with which gradients stay float32.
    half = peaks(replace(RUN, dtype="bfloat16"))
    assert half[0] == pytest.approx(rollout + 2 * parameters, rel=0.02)
    assert peaks(replace(RUN, dtype="bfloat16", masters="none"))[1] == pytest.approx(half[1] - 6 * parameters)
    assert peaks(replace(RUN, lora_rank=8, has_reference=True))[1] < update - 10 * parameters
    gpu = replace(BIG, is_gpu=True)
    shared_out = peaks(RUN, replace(gpu, num_devices=4))
    assert shared_out[1] == pytest.approx(peaks(RUN, gpu)[1] - 0.75 * 16 * parameters, rel=0.02)
    for changed in (
        replace(RUN, gradient_checkpointing=True),
        replace(RUN, micro_batch_tokens=200),
        replace(RUN, optimizer="adafactor"),
    ):
        assert peaks(changed)[1] < update


def test_a_critic_over_adapters_has_adapters_of_its_own_and_shares_the_rest() -> None:
    shape, adapters = SHAPES["qwen2.5-0.5b"], lora_parameters(SHAPES["qwen2.5-0.5b"], 8)
    run = replace(RUN, lora_rank=8, has_critic=True, dtype="bfloat16")
    planned = {item.name: item.num_bytes for item in plan_memory(shape, run, BIG, NOTHING).items}
    assert planned["critic and its optimizer"] == 12 * adapters


def test_workers_have_gradients_of_their_own_in_the_weights_type() -> None:
    shape = SHAPES["qwen2.5-0.5b"]
    run = replace(RUN, workers=2, dtype="bfloat16")
    planned = {item.name: item.num_bytes for item in plan_memory(shape, run, BIG, NOTHING).items}
    assert planned["gradients"] == 4 * shape.num_parameters
    assert planned["gradients of the workers"] == 2 * 2 * shape.num_parameters


def test_vllm_takes_its_share_of_the_device_for_the_whole_run() -> None:
    shape = SHAPES["qwen2.5-3b"]
    run = replace(RUN, dtype="bfloat16", sampler="vllm")
    planned = {item.name: item for item in plan_memory(shape, run, replace(BIG, memory_gb=80), NOTHING).items}
    assert planned["sampler's weights"].num_bytes == 2 * shape.num_parameters
    both = planned["sampler's weights"].num_bytes + planned["sampler's cache"].num_bytes
    assert both == pytest.approx(0.4 * 80e9)
    assert planned["sampler's cache"].phase == "always"


def test_a_critic_has_an_optimizer_of_its_own() -> None:
    shape = replace(SHAPES["qwen2.5-0.5b"], num_layers=1)
    run = replace(RUN, has_critic=True, dtype="bfloat16", critic_masters="none", critic_optimizer="adafactor")
    planned = {item.name: item.num_bytes for item in plan_memory(shape, run, BIG, NOTHING).items}
    state = optimizer_bytes(shape, replace(run, optimizer="adafactor"), 0)
    assert planned["critic and its optimizer"] == 2 * shape.num_parameters + state
    assert planned["optimizer state (adamw)"] == 8 * shape.num_parameters


def test_in_the_optimizers_step_activations_are_gone_and_gradients_are_not() -> None:
    shape = SHAPES["qwen2.5-0.5b"]
    plan = plan_memory(shape, RUN, BIG, NOTHING)
    held = (4 + 8 + 4) * shape.num_parameters + 8 * shape.embedding_parameters
    assert plan.peak("step") == pytest.approx(held)


def test_convolutions_are_padded_and_may_not_be_packed() -> None:
    _, shape = make("lfm2")
    assert not LearnerLayout.of(shape, RUN).packed
    with pytest.raises(ConfigError, match="packing='shared' is not for lfm2: 2 of its layers are convolutions"):
        LearnerLayout.of(shape, replace(RUN, packing="shared"))


def test_a_shared_prompt_is_computed_once_a_group() -> None:
    shape = SHAPES["qwen2.5-0.5b"]
    shared = LearnerLayout.of(shape, RUN)  # groups of four, 20 of 100 tokens the prompt
    assert shared.episode_tokens == 20 / 4 + 80
    assert shared.policy_share == 40 / 85
    assert shared.keys_per_token == (20 + 4 * 100) / (20 + 4 * 80)
    apart = LearnerLayout.of(shape, replace(RUN, packing="packed"))
    assert (apart.episode_tokens, apart.policy_share, apart.keys_per_token) == (100, 0.4, 1)
