#!/usr/bin/env bash
# GRPO with ZeroSearch's arguments, in any order, and its defaults, for example
#
#   bash examples/train_grpo.sh NUM_GPUS_PER_NODE 1 MODEL_PATH Qwen/Qwen2.5-3B-Instruct \
#       DATA_PATH ZeroSearch_dataset TOTAL_STEPS 203 IP localhost SEARCH_MODE simulate_prompt \
#       SIMULATION_LLM Qwen2.5-14B-Instruct START_THRESHOLD 0 END_THRESHOLD 0.5 SEARCH_ENGINE google \
#       MAX_TURNS 5 TOPK 5
#
# Flags after `--` go to `python -m agents train`; `--dry-run` shows the command.
#
# Not as there: one update a step (there 320 episodes are split by 256, which makes two), and the KL term has the sign
# that pulls to the first weights.

. "$(dirname "${BASH_SOURCE[0]}")/_train.sh"
parse_arguments "$@"
train grpo --warmup-steps $((given_TOTAL_STEPS * 95 / 100))
