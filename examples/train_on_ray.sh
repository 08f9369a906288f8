#!/usr/bin/env bash
# Any of the three algorithms with ZeroSearch's arguments, in any order, over processes that Ray starts, for example
#
#   bash examples/train_on_ray.sh grpo NUM_GPUS_PER_NODE 4 MODEL_PATH Qwen/Qwen2.5-3B-Instruct \
#       DATA_PATH ZeroSearch_dataset TOTAL_STEPS 203 IP localhost SEARCH_MODE simulate_prompt \
#       SIMULATION_LLM Qwen2.5-14B-Instruct START_THRESHOLD 0 END_THRESHOLD 0.5 SEARCH_ENGINE google \
#       MAX_TURNS 5 TOPK 5
#
# Of NUM_GPUS_PER_NODE GPUs, at least 2, half are learners' and the others samplers'; with 0 or without it, one learner
# and one sampler compute on the CPU. Flags after `--` go to `python -m agents train` and win: `--num-learners`,
# `--num-samplers`, and `--address` for a cluster of several machines. `--dry-run` shows the command.
#
# Not run on a GPU yet. docs/scaleout.md has the rest.

. "$(dirname "${BASH_SOURCE[0]}")/_train.sh"

ALGORITHM=${1-}
case $ALGORITHM in
grpo | ppo | reinforce) shift ;;
*) fail "the first argument is an algorithm, grpo, ppo or reinforce; got '$ALGORITHM'." ;;
esac
parse_arguments "$@"

gpus=${given_NUM_GPUS_PER_NODE:-0}
case $gpus in *[!0-9]* | 1) fail "NUM_GPUS_PER_NODE must be 0, or 2 or more; got '$gpus'." ;; esac
if [ "$gpus" = 0 ]; then
    scale=(--executor ray --device cpu)
else
    scale=(--executor ray --gpus-per-learner 1 --gpus-per-sampler 1)
    scale+=(--num-learners $((gpus / 2)) --num-samplers $((gpus - gpus / 2)))
fi

pairs=()
for name in $NAMES; do
    value=$(value_of "$name")
    [ "$name" = NUM_GPUS_PER_NODE ] || [ -z "$value" ] || pairs+=("$name" "$value")
done
export DRY_RUN=${DRY_RUN:-}
exec bash "$(dirname "${BASH_SOURCE[0]}")/train_$ALGORITHM.sh" "${pairs[@]}" -- "${scale[@]}" ${EXTRA[@]+"${EXTRA[@]}"}
