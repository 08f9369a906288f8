"""`python -m zs_env tune train`: tune a simulator on examples."""

from __future__ import annotations

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.tuning.training import Stopped, train
from zs_env.tuning.training_settings import Dtype, Schedule, TrainingSettings

__all__ = ["add_parser", "run"]

_DEFAULT = TrainingSettings()


def add_parser(commands: Any) -> None:
    """Add the command to a parser's sub-commands."""
    parser = commands.add_parser(
        "train",
        help="tune a simulator on examples that `tune build` made",
        description="Tune a simulator. The same command goes on with a training that was stopped.",
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, help="the folder with train.jsonl and held_out.jsonl")
    add("--model", required=True, help="a Hugging Face folder, a name on its hub, a .gguf file, or smollm2")
    add("--out", type=Path, required=True, help="where the tuned model goes, a Hugging Face folder")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--lora-rank", type=int, help="tune LoRA's adapters of this rank, instead of all weights")
    what.add_argument("--full", action="store_true", help="tune all weights (this is the default)")
    add("--lora-alpha", type=float, help="the adapters' scale (twice the rank)")
    add("--adapters-only", action="store_true", help="save the adapters alone, rather than merged into the model")
    add(
        "--epochs",
        type=float,
        default=_DEFAULT.epochs,
        help=f"times that examples are learned, at most ({_DEFAULT.epochs:g})",
    )
    add(
        "--minutes",
        type=float,
        help="minutes that all of it may take, at most; the learning rate falls to zero by then",
    )
    add(
        "--learning-rate", type=float, help="its peak (2e-4 for 135 million weights, less for more; LoRA: ten times it)"
    )
    add("--schedule", choices=get_args(Schedule), default=_DEFAULT.schedule, help=f"how it falls ({_DEFAULT.schedule})")
    add(
        "--warmup",
        type=float,
        default=_DEFAULT.warmup,
        help=f"the share of the training in which it rises ({_DEFAULT.warmup:g})",
    )
    add("--batch-size", type=int, default=_DEFAULT.batch_size, help=f"examples a step ({_DEFAULT.batch_size})")
    add(
        "--micro-batch-size",
        type=int,
        default=_DEFAULT.micro_batch_size,
        help=f"examples computed together ({_DEFAULT.micro_batch_size})",
    )
    add(
        "--answer-weight",
        type=float,
        default=_DEFAULT.answer_weight,
        metavar="X",
        help="how much tokens of a golden answer count, where all others count 1; small models learn to tell useful "
        f"from noisy sooner with 4 or so ({_DEFAULT.answer_weight:g})",
    )
    add(
        "--max-tokens",
        type=int,
        default=_DEFAULT.max_tokens,
        help=f"longer examples are left out ({_DEFAULT.max_tokens})",
    )
    add(
        "--dtype",
        choices=get_args(Dtype),
        default=_DEFAULT.dtype,
        help="what matrices are multiplied in; weights stay float32 (auto: bfloat16 where that is fast)",
    )
    add(
        "--device", choices=("auto", "cpu", "cuda"), default=_DEFAULT.device, help="where (auto: a GPU if there is one)"
    )
    add("--threads", type=int, help="threads that compute (torch's choice)")
    add("--seed", type=int, default=_DEFAULT.seed, help=f"of the order of examples ({_DEFAULT.seed})")
    add(
        "--save-minutes",
        type=float,
        default=_DEFAULT.save_minutes,
        help=f"minutes between checkpoints ({_DEFAULT.save_minutes:g})",
    )
    add(
        "--held-out-limit",
        type=int,
        default=_DEFAULT.held_out_limit,
        help=f"held-out examples that losses are of ({_DEFAULT.held_out_limit}); 0 for none",
    )
    add("--weight-decay", type=float, default=_DEFAULT.weight_decay, help=f"AdamW's ({_DEFAULT.weight_decay:g})")
    add(
        "--max-grad-norm",
        type=float,
        default=_DEFAULT.max_grad_norm,
        help=f"gradients are clipped to it ({_DEFAULT.max_grad_norm:g})",
    )
    add("--gradient-checkpointing", action="store_true", help="less memory, slower")
    add(
        "--save-dtype",
        choices=("float32", "bfloat16", "float16"),
        default=_DEFAULT.save_dtype,
        help=f"what weights are saved in ({_DEFAULT.save_dtype})",
    )
    add("--tensorboard", action="store_true", help="write TensorBoard's files too")
    add("--json", type=Path, help="write what was measured to this file too")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Tune, and say what came of it."""
    settings = TrainingSettings(**{one.name: getattr(options, one.name) for one in fields(TrainingSettings)})
    try:
        record = train(options.data, options.model, options.out, settings, say=lambda text: print(text, flush=True))
    except KeyboardInterrupt as stopped:
        print(str(stopped) or "Stopped at once. The same command goes on from the last checkpoint.", file=sys.stderr)
        return 128 + (stopped.signal if isinstance(stopped, Stopped) else 2)
    figures = record["training"]["figures"]
    print(
        f"{figures['steps']:,} steps, {figures['epochs']:.2f} epochs, {figures['training_s'] / 60:,.1f} min; the tuned "
        f"simulator of {record['base_model']} lies in {options.out}"
    )
    if options.json is not None:
        try:
            write_json(options.json, record)
        except OSError as error:
            raise ConfigError(f"--json {str(options.json)!r} can't be written: {error}.") from error
    return 0
