from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import Lfm2Config, LlamaConfig, Qwen2Config, Qwen3Config

from agents.accumulation import Example
from agents.algorithm import PolicyLoss
from agents.learner import Learner
from agents.optimization import OptimizerSettings
from agents.plan.hardware import Hardware
from agents.plan.memory import (
    activation_bytes,
    cache_bytes_per_token,
    logits_bytes,
    lora_parameters,
    optimizer_bytes,
    plan_memory,
)
from agents.plan.settings import Assumptions, Precision, RunShape
from agents.plan.shapes import SHAPES, ModelShape, shape_of
from agents.policy import Policy
from agents.samplers.transformers import _make_cache
from agents.testing import byte_tokenizer
from agents.trajectory import TokenSegment, Trajectory
from tests.agents.plan.measuring import peak_bytes, saved_bytes

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


def make(name: str) -> tuple[Any, ModelShape]:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(CONFIGS[name]).eval(), shape_of(CONFIGS[name], name=name)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(CONFIGS))
def test_activations_are_those_that_autograd_saves(name: str, dtype: torch.dtype) -> None:
    model, shape = make(name)
    model = model.to(dtype)
    ids = torch.randint(1000, (4, 128))
    saved = saved_bytes(model, lambda: model.base_model(input_ids=ids, use_cache=False))
    precision = Precision.of("float32" if dtype is torch.float32 else "bfloat16")
    assert activation_bytes(shape, precision, ids.numel()) == pytest.approx(saved, rel=0.01)


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
    assert most + inputs == pytest.approx(expected + gradients + max(layer, embedding), rel=0.25)
    assert expected < activation_bytes(shape, Precision(), ids.numel()) / 1.9


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
    assert logits_bytes(shape, Precision(), 300) == pytest.approx(most, rel=0.05)


def trajectory(group: int, seed: int) -> Trajectory:
    """An episode of 100 tokens as `RUN` has them: 20 of the prompt, twice 20 of the policy, 40 of documents."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(1000, (count,), generator=generator).tolist())

    segments = [
        TokenSegment("prompt", draw(20), ""),
        TokenSegment("policy", draw(20), "", (-5.0,) * 20),
        TokenSegment("environment", draw(40), ""),
        TokenSegment("policy", draw(20), "", (-5.0,) * 20),
    ]
    return Trajectory(
        question_id=f"q{group}",
        question="?",
        golden_answers=("a",),
        group=group,
        noise_probability=0.0,
        segments=segments,
    )


@pytest.mark.parametrize("name", ["llama", "qwen2", "lfm2"])
def test_an_update_takes_what_was_planned(name: str) -> None:
    model, shape = make(name)
    learner = Learner(Policy(model, byte_tokenizer()), OptimizerSettings(learning_rate=1e-4), micro_batch_tokens=400)
    examples = [Example.of(trajectory(index // 4, index), 1.0) for index in range(8)]

    def update() -> None:
        learner.update(examples, PolicyLoss(), aggregation="token_mean", learning_rate=1e-4)

    most, left = peak_bytes(update)
    plan = {item.name: item.num_bytes for item in plan_memory(shape, RUN, BIG, NOTHING).items}
    assert plan["weights"] == sum(parameter.nbytes for parameter in model.parameters())
    # The first update leaves the optimizer's state; gradients are let go.
    assert plan["optimizer state (adamw)"] == pytest.approx(left, rel=0.01)
    of_the_update = ("gradients", "activations of a micro-batch", "logits, or gradients on their way")
    most, _ = peak_bytes(update)
    assert sum(plan[part] for part in of_the_update) == pytest.approx(most, rel=0.01)


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


def test_optimizer_states_by_hand() -> None:
    shape = replace(SHAPES["smollm2-135m"], num_layers=1)
    # Queries 576×576, keys and values 192×576, output 576×576, three of 1536×576: sums of rows and columns.
    sides = 1152 + 2 * 768 + 1152 + 3 * 2112
    by_kind = {"adamw": 8.0 * 1000, "adamw_8bit": 2.0 * 1000 * 65 / 64, "adafactor": 4.0 * (sides + 49_152 + 576)}
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
    # bfloat16: weights and gradients halve, and a float32 copy of the weights comes in.
    assert peaks(replace(RUN, dtype="bfloat16"))[0] == pytest.approx(rollout + 2 * parameters, rel=0.02)
    assert peaks(replace(RUN, lora_rank=8, has_reference=True))[1] < update - 10 * parameters
    shared_out = peaks(RUN, replace(BIG, is_gpu=True, num_devices=4))
    assert shared_out[1] == pytest.approx(update - 0.75 * 16 * parameters, rel=0.02)
    for changed in (
        replace(RUN, gradient_checkpointing=True),
        replace(RUN, micro_batch_tokens=200),
        replace(RUN, optimizer="adafactor"),
        replace(RUN, optimizer="adamw_8bit"),
        replace(RUN, logits_chunk_tokens=10),
    ):
        assert peaks(changed)[1] < update
