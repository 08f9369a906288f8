#!/usr/bin/env bash
#SBATCH --job-name=zerosearch
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --exclusive
#SBATCH --time=12:00:00
#SBATCH --output=%x-%j.log
#
# NOT RUN: written from the manuals of SLURM and Ray, without a cluster to try it on.
#
# A Ray cluster over the machines of a job, and a training run on it:
#
#   sbatch examples/slurm_train.sh [flags of `python -m agents train`]
#
# The checkout with its .venv, the home folder (Ray's token lies there) and RUNS must be on a file system that all
# machines share. `python -m agents plan scale` says how many of each kind to take.

set -euo pipefail

ROOT=${SLURM_SUBMIT_DIR:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
RUNS=${RUNS:-$ROOT/runs}
PORT=${PORT:-6379}
LEARNERS=${LEARNERS:-4}
SAMPLERS=${SAMPLERS:-8}
SIMULATORS=${SIMULATORS:-1}
GPUS_PER_SIMULATOR=${GPUS_PER_SIMULATOR:-4}

# As the preset zerosearch-qwen2.5-3b-grpo, but with simulators that the run starts itself.
FLAGS=(--algorithm grpo --model Qwen/Qwen2.5-3B --dtype bfloat16)
FLAGS+=(--questions hf:sunhaonlp/ZeroSearch_dataset --split train --eval-split test --eval-limit 500)
FLAGS+=(--search-mode simulate_prompt --simulation-llm Qwen/Qwen2.5-14B-Instruct --topk 5)
FLAGS+=(--start-threshold 0 --end-threshold 0.5 --max-turns 5 --reward f1 --temperature 1)
FLAGS+=(--max-new-tokens 500 --max-episode-tokens 4596 --micro-batch-tokens 16384 --gradient-checkpointing)
FLAGS+=(--questions-per-step 64 --group-size 5 --total-steps 203 --learning-rate 1e-6 --kl-coef 0.001)
FLAGS+=(--old-logprobs recomputed --importance-cap 2 --checkpoint-every 50)
FLAGS+=(--executor ray --num-learners "$LEARNERS" --num-samplers "$SAMPLERS")
FLAGS+=(--num-simulators "$SIMULATORS" --gpus-per-simulator "$GPUS_PER_SIMULATOR")
FLAGS+=(--runs "$RUNS" --run-name "slurm-${SLURM_JOB_ID:-0}" --device cuda "$@")

if [ -n "${DRY_RUN:-}" ]; then
    printf '%q ' python -m agents train "${FLAGS[@]}"
    echo
    exit
fi

# Inside an allocation SLURM gives the first machine this script, and reaches the others by srun.
. "$ROOT/.venv/bin/activate"
export PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}"
export RAY_USAGE_STATS_ENABLED=0
# Since SLURM 22.05 srun doesn't take this from the job by itself, and Ray would see a single core of each machine.
[ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
# Whoever reaches Ray's ports may run code: ask for a token, which lies in the home folder that the machines share.
export RAY_AUTH_MODE=token
ray get-auth-token --generate >/dev/null

mapfile -t MACHINES < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
HEAD=${MACHINES[0]}
# The address on the cluster's own network; give INTERFACE where a machine has several.
HEAD_IP=${HEAD_IP:-$(srun --nodes=1 --ntasks=1 -w "$HEAD" hostname --ip-address | awk '{print $1}')}
if [ -n "${INTERFACE:-}" ]; then
    export GLOO_SOCKET_IFNAME=$INTERFACE NCCL_SOCKET_IFNAME=$INTERFACE
fi

stop() { srun --overlap --ntasks="${#MACHINES[@]}" --ntasks-per-node=1 ray stop >/dev/null 2>&1 || true; }
trap stop EXIT

srun --overlap --nodes=1 --ntasks=1 -w "$HEAD" \
    ray start --head --node-ip-address="$HEAD_IP" --port="$PORT" --include-dashboard=false --block &
for try in $(seq 60); do
    ray status --address "$HEAD_IP:$PORT" >/dev/null 2>&1 && break
    [ "$try" -lt 60 ] || { echo "error: Ray's head at $HEAD_IP:$PORT didn't come up in 5 minutes." >&2; exit 1; }
    sleep 5
done
for machine in "${MACHINES[@]:1}"; do
    srun --overlap --nodes=1 --ntasks=1 -w "$machine" ray start --address="$HEAD_IP:$PORT" --block &
done
for try in $(seq 60); do
    there=$(python - "$HEAD_IP:$PORT" <<'PYTHON'
import sys

import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
sys.stdout.write(str(sum(node["Alive"] for node in ray.nodes())))
PYTHON
    )
    [ "$there" -lt "${#MACHINES[@]}" ] || break
    [ "$try" -lt 60 ] || { echo "error: $there of ${#MACHINES[@]} machines joined in 5 minutes." >&2; exit 1; }
    sleep 5
done

python -m agents train "${FLAGS[@]}" --address "$HEAD_IP:$PORT"
