"""`python -m agents plan`: what memory and time a run will need, before anything is loaded."""

from __future__ import annotations

import argparse

from agents.flags import add_train_flags, origin_of, sections_of
from agents.plan.command_scale import add_scale_parser
from zs_env.errors import ConfigError

__all__ = ["add_parser", "run"]


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `plan` to the command line."""
    parser = commands.add_parser(
        "plan",
        help="estimate the memory and time of a training run",
        description="Estimate what memory and time a run will need. It takes the flags of train, whose names of runs "
        "and files change nothing here, and loads no weights. --json FILE gets the plan as a record.",
        allow_abbrev=False,
    )
    add_train_flags(parser)
    add = parser.add_argument_group("what is planned for").add_argument
    add("--shape", metavar="NAME", help="a model's size by name, for example qwen2.5-3b, instead of its config")
    add("--hardware", metavar="NAME", help="cpu (this machine, measured), h100, a100, rtx4090 or l40s")
    add("--gpu-memory-gb", type=float, metavar="N", help="memory of each GPU, or of the CPU's machine")
    add(
        "--simulator-shape",
        metavar="NAME",
        help="count a simulator of this size on the same GPU: its weights in bfloat16 and its cache",
    )
    add(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="put this in the place of what a plan would assume or read; a plan shows all names; may be given again",
    )
    parser.set_defaults(run=run)
    add_scale_parser(parser.add_subparsers(dest="plan_command", metavar="scale", title="instead, on many GPUs"), parser)


def run(options: argparse.Namespace) -> None:
    """Plan, and show it."""
    from agents.config import load_config
    from agents.plan import changes_that_fit, find_hardware, plan_memory, plan_time
    from agents.plan.reading import HARDWARE_NUMBERS, read_assumed, read_settings
    from agents.plan.report import Plan, plan_record, plan_text
    from agents.plan.shapes import find_shape
    from agents.runs import write_json

    if options.resume:
        raise ConfigError("--resume: a plan is of a whole run; leave it out.")
    num_devices, options.num_gpus = options.num_gpus, None  # of train it would ask this machine for GPUs
    assumed = read_assumed(options.assume)
    sections = sections_of(options)
    if options.shape and not sections.get("model", {}).get("source"):
        sections.setdefault("model", {})["source"] = options.shape
    config = load_config(sections, origin=origin_of(options))
    shape = find_shape(options.shape or config.model.path, trust_remote_code=config.model.trust_remote_code)
    name = options.hardware or _hardware_here()
    is_gpu = name != "cpu"
    if options.simulator_shape:
        assumed.setdefault("simulator_gb", _simulator_gb(options.simulator_shape))
    reading = read_settings(config, is_gpu=is_gpu, assumed=assumed)
    numbers = {key: assumed[key] for key in HARDWARE_NUMBERS if key in assumed}
    hardware = find_hardware(
        name,
        dtype=reading.run.dtype,
        threads=config.run.threads * config.run.workers,
        memory_gb=options.gpu_memory_gb,
        num_devices=1 if num_devices is None or (num_devices == 0 and not is_gpu) else num_devices,
        **numbers,
    )
    planned = (shape, reading.run, hardware, reading.assumptions)
    memory = plan_memory(*planned)
    alone, together = ([], []) if memory.fits else changes_that_fit(*planned)
    plan = Plan(
        shape=shape,
        reading=reading,
        hardware=hardware,
        memory=memory,
        time=plan_time(*planned),
        alone=tuple(alone),
        together=tuple(together),
    )
    if options.json:
        write_json(options.json, plan_record(plan))
    print(plan_text(plan))


def _hardware_here() -> str:
    """The name of this machine's GPU, or "cpu" if torch sees none."""
    import torch

    from agents.plan.hardware import GPUS

    if not torch.cuda.is_available():
        return "cpu"
    full = torch.cuda.get_device_name(0)
    squeezed = full.lower().replace(" ", "")
    for name in GPUS:
        if name in squeezed:
            return name
    raise ConfigError(
        f"This machine's GPU ({full}) is not among those whose numbers are known ({', '.join(GPUS)}): give --hardware "
        "with the nearest, and --gpu-memory-gb."
    )


def _simulator_gb(name: str) -> float:
    """Weights in bfloat16, and keys and values of 64 searches of 1,024 tokens each, in 10⁹ bytes."""
    from agents.plan.memory import cache_bytes_per_token
    from agents.plan.settings import Precision
    from agents.plan.shapes import find_shape

    shape = find_shape(name)
    cache = 64 * 1024 * cache_bytes_per_token(shape, Precision.of("bfloat16"))
    return (2 * shape.num_parameters + cache) / 1e9
