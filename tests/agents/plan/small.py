"""A model, a run and a machine that are small enough to work out by hand, for the tests of plans."""

from __future__ import annotations

from agents.plan.hardware import Hardware
from agents.plan.settings import Assumptions, RunShape
from agents.plan.shapes import ModelShape

# One layer of H 4, F 8, two heads of 2 over one key head: query 16, key 8, value 8, output 16, and three of 32.
SHAPE = ModelShape(
    name="s", vocabulary=10, hidden=4, intermediate=8, num_layers=1, num_heads=2, num_kv_heads=1, head_dim=2
)
IDEAL = Assumptions(
    mfu=1,
    decode_mfu=1,
    bandwidth_share=1,
    layer_overhead_us=0,
    pass_overhead_us=0,
    runtime_gb=0,
    search_latency_s=0,
    tokens_per_document=1,
    logit_passes=0,
    longest_action=1,
    padding=1,
)
# A thousand operations a second, and bytes for nothing.
COMPUTER = Hardware(name="c", is_gpu=False, peak_tflops=1e-9, bandwidth_gb_s=1e9, memory_gb=1)
RUN = RunShape(
    total_steps=10,
    questions=2,
    group_size=2,
    prompt_tokens=10,
    num_actions=2,
    action_tokens=5,
    max_new_tokens=10,
    document_tokens=20,
    max_episode_tokens=100,
    micro_batch_tokens=400,
    max_batch_tokens=4096,
)
