#!/usr/bin/env bash
# PPO with ZeroSearch's arguments, in any order, and its defaults, for example
#
#   bash examples/train_ppo.sh NUM_GPUS_PER_NODE 1 MODEL_PATH Qwen/Qwen2.5-3B-Instruct \
#       DATA_PATH ZeroSearch_dataset TOTAL_STEPS 203 IP localhost SEARCH_MODE simulate_prompt \
#       SIMULATION_LLM Qwen2.5-14B-Instruct START_THRESHOLD 0 END_THRESHOLD 0.5 SEARCH_ENGINE google \
#       MAX_TURNS 5 TOPK 5
#
# Flags after `--` go to `python -m agents train`; `--dry-run` shows the command.
#
# Not as there: one update a step (there 320 episodes are split by 256, which makes two).

. "$(dirname "${BASH_SOURCE[0]}")/_train.sh"
parse_arguments "$@"
train ppo --warmup-steps $((given_TOTAL_STEPS * 285 / 1000)) \
    --critic-learning-rate 1e-5 --critic-warmup-steps $((given_TOTAL_STEPS * 15 / 1000))
