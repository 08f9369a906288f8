"""`python -m agents plan scale`: how a step is best shared out among GPUs, and what then takes longest."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from zs_env.curriculum import check_whole
from zs_env.errors import ConfigError

__all__ = ["add_scale_parser", "run_scale"]

_GPUS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
_WITHOUT_EFFECT = {
    "sampler": "give --sampler",
    "search_latency_s": "what a search takes is worked out from the simulator",
    "search_overlap": "what of a search is hidden is worked out from the split",
    "simulator_gb": "what a simulator takes is worked out from its shape",
    "longest_action": "the longest episode is worked out from spread",
    "keep_cache": "samplers are taken to keep their cache",
    "max_cached_tokens": "samplers are taken to keep their cache",
    "vllm_share": "samplers fill memory_share of their own GPUs",
    "total_steps": "one step is planned",
    "evaluation_episodes": "evaluations are left out",
}
"""What `--assume` may give elsewhere and nothing here depends on."""

_SPLIT = ("learners", "samplers", "gpus_per_sampler", "simulators", "gpus_per_simulator")


def add_scale_parser(commands: Any, plan: argparse.ArgumentParser) -> None:
    """Add `scale` below `plan`, whose own flags it doesn't take."""
    parser = commands.add_parser(
        "scale",
        help="estimate a step on many GPUs: the best split among learners, samplers and simulators",
        description="Estimate a training step on many GPUs. It looks for the split among learners, samplers and "
        "simulators that makes a step shortest, and says which phase takes most of it. Of one policy and one simulator "
        "it shows all phases, of several a map. It loads no weights and needs no GPU. --json FILE gets a record.",
        allow_abbrev=False,
    )

    def add(*names: str, **options: Any) -> None:
        parser.add_argument(*names, dest=f"scale_{names[0].strip('-').replace('-', '_')}", **options)

    several: dict[str, Any] = {"nargs": "+", "metavar": "SHAPE"}
    add("--policy", default=["3b", "7b", "32b"], help="shapes of the policy: 3b is qwen2.5-3b (3b 7b 32b)", **several)
    add("--simulator", default=["3b", "7b", "14b"], help="shapes of the simulator (3b 7b 14b)", **several)
    add("--gpus", type=int, nargs="+", metavar="N", help="numbers of GPUs (1 2 4 … 256)")
    add("--asynchronous", action="store_true", help="play the next step while this one is learned from")
    add(
        "--preset",
        default="zerosearch-qwen2.5-3b-grpo",
        metavar="NAME",
        help="whose settings a step has (zerosearch-qwen2.5-3b-grpo)",
    )
    add("--questions-per-step", type=int, metavar="N", help="questions of a step (as the preset)")
    add("--group-size", type=int, metavar="N", help="episodes a question (as the preset)")
    add("--sampler", default="vllm", choices=("vllm", "transformers"), help="who generates (vllm)")
    add("--hardware", default="h100", metavar="NAME", help="h100, a100, rtx4090 or l40s (h100)")
    add("--gpu-memory-gb", type=float, metavar="N", help="memory of each GPU, in place of the published")
    for name in _SPLIT:
        what = name.replace("_", " ")
        add(f"--{what.replace(' ', '-')}", type=int, metavar="N", help=f"{what}: with all five, this split alone")
    add(
        "--assume",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="put this in the place of what is assumed; --numbers shows all names; may be given again",
    )
    add("--numbers", action="store_true", help="show the numbers that all is worked out from, and where they are from")
    add("--json", type=Path, metavar="FILE", help="write the record there")

    def run(options: argparse.Namespace) -> None:
        known = {action.dest for action in plan._actions} - {"help", "run"}
        given = sorted(name for name in known if getattr(options, name, None) not in (plan.get_default(name), "scale"))
        if given:
            raise ConfigError(
                f"plan … scale: --{given[0].replace('_', '-')} comes before scale, which has flags of its own: give "
                "them after it (`python -m agents plan scale --help`)."
            )
        run_scale(options)

    parser.set_defaults(run=run)


def run_scale(options: argparse.Namespace) -> None:
    """Plan, and show it."""
    from agents.plan.scale_report import map_text, numbers_text, pair_text, record_of
    from agents.plan.shapes import find_shape
    from zs_env.files import write_json

    split = _split_of(options)
    if split is not None and options.scale_gpus is not None:
        raise ConfigError(f"A split of your own has {split.num_gpus} GPUs: leave --gpus out, or the split.")
    counts = _GPUS if options.scale_gpus is None else options.scale_gpus
    for count in counts:
        check_whole("--gpus", count, least=1)
    policies, simulators = (
        [find_shape(_full_name(name)) for name in names] for names in (options.scale_policy, options.scale_simulator)
    )
    clusters = _clusters(options, policies, simulators)
    if options.scale_numbers:
        print(numbers_text(clusters[0]))
        if not options.scale_json:
            return
    pairs = _planned(clusters, counts, split, asynchronous=options.scale_asynchronous)
    if options.scale_json:
        write_json(options.scale_json, record_of(pairs, asynchronous=options.scale_asynchronous))
    if options.scale_numbers:
        return
    if len(pairs) == 1:
        print(pair_text(pairs[0], asynchronous=options.scale_asynchronous))
    else:
        print(map_text(pairs, asynchronous=options.scale_asynchronous))


def _full_name(name: str) -> str:
    """Of Qwen's sizes the size is enough.

    Examples:
        >>> _full_name("7b"), _full_name("llama-3.2-3b")
        ('qwen2.5-7b', 'llama-3.2-3b')
    """
    from agents.plan.shapes import SHAPES

    return f"qwen2.5-{name}" if f"qwen2.5-{name}" in SHAPES else name


def _clusters(options: argparse.Namespace, policies: Iterable[Any], simulators: Iterable[Any]) -> list[Any]:
    """One for each policy and simulator."""
    from agents.config import load_config, load_preset
    from agents.plan import find_hardware
    from agents.plan.cluster import ClusterNumbers
    from agents.plan.reading import HARDWARE_NUMBERS, read_assumed, read_settings
    from agents.plan.scaling import Cluster

    types = {item.name: str(item.type) for item in dataclasses.fields(ClusterNumbers)}
    numbers: dict[str, Any] = {}
    rest = []
    for pair in options.scale_assume:
        name, _, text = pair.partition("=")
        if name.strip() in types:
            numbers[name.strip()] = _number(name.strip(), text, whole=types[name.strip()] == "int")
        else:
            rest.append(pair)
    assumed = read_assumed(rest, more=types)
    for name in assumed:
        if name in _WITHOUT_EFFECT:
            raise ConfigError(f"--assume {name} would change nothing: {_WITHOUT_EFFECT[name]}.")
    flags = {"questions": options.scale_questions_per_step, "group_size": options.scale_group_size}
    assumed |= {name: value for name, value in flags.items() if value is not None}
    assumed["sampler"] = options.scale_sampler
    reading = read_settings(load_config(load_preset(options.scale_preset)), is_gpu=True, assumed=assumed)
    hardware = find_hardware(
        options.scale_hardware,
        dtype=reading.run.dtype,
        memory_gb=options.scale_gpu_memory_gb,
        **{key: assumed[key] for key in HARDWARE_NUMBERS if key in assumed},
    )
    links = {"nvlink_gb_s", "network_gb_s"}
    if hardware.is_gpu and hardware.name != "h100" and not links <= set(numbers):
        raise ConfigError(
            f"--hardware {hardware.name}: the links between GPUs and machines that are planned with are an H100's. "
            "Give its own by --assume nvlink_gb_s=… and --assume network_gb_s=…, in 10⁹ bytes a second: what a GPU "
            "takes in from the others of its machine (over PCIe where it has no NVLink), and a machine from others."
        )
    if not hardware.is_gpu:
        raise ConfigError(f"--hardware {hardware.name}: many GPUs are planned for, and that is none.")
    return [
        Cluster(
            policy=policy,
            simulator=simulator,
            run=reading.run,
            hardware=hardware,
            assumptions=reading.assumptions,
            numbers=ClusterNumbers(**numbers),
            given=frozenset({*numbers, *(name for name in assumed if name not in flags or flags[name] is None)}),
        )
        for policy in policies
        for simulator in simulators
    ]


def _number(name: str, text: str, *, whole: bool) -> float:
    try:
        return int(text) if whole else float(text)
    except ValueError:
        what = "a whole number" if whole else "a number"
        raise ConfigError(f"--assume {name} must be {what}; got {text!r}.") from None


def _split_of(options: argparse.Namespace) -> Any:
    """The split that is asked for; None to look for the best.

    Raises:
        ConfigError: Some of it is missing, or makes no sense.
    """
    from agents.plan.scaling import Split

    given = {name: getattr(options, f"scale_{name}") for name in _SPLIT}
    if all(value is None for value in given.values()):
        return None
    needed = {name: value for name, value in given.items() if not name.startswith("gpus_per_")}
    for name, value in needed.items():
        if value is None:
            raise ConfigError(f"A split needs --learners, --samplers and --simulators; --{name} is missing.")
        check_whole(f"--{name}", value, least=1 if name == "learners" else 0)
    widths = {name: 1 if value is None else value for name, value in given.items() if name.startswith("gpus_per_")}
    for name, value in widths.items():
        check_whole(f"--{name.replace('_', '-')}", value, least=1)
    if needed["samplers"] and not needed["simulators"]:
        raise ConfigError("--simulators 0 with samplers: a simulator shares a GPU with a learner that plays alone.")
    return Split(**needed, **widths)


def _planned(clusters: Iterable[Any], counts: Iterable[int], split: Any, *, asynchronous: bool) -> list[Any]:
    """What was found for each cluster and number of GPUs, or why nothing was."""
    from agents.plan.scale_report import Pair
    from agents.plan.splits import Found, Planner

    pairs = []
    for cluster in clusters:
        planner = Planner(cluster)
        if split is not None:
            if asynchronous and not split.samplers:
                raise ConfigError("--asynchronous needs samplers: who learns can't play at the same time.")
            found = Found(split=split, phases=planner.phases(split), asynchronous=asynchronous)
            pairs.append(Pair(cluster=cluster, cells={split.num_gpus: found}, least=planner.least_gpus()))
            continue
        cells: dict[int, Found | str] = {}
        for count in counts:
            try:
                cells[count] = planner.best(count, asynchronous=asynchronous)
            except ConfigError as error:
                cells[count] = str(error)
        pairs.append(Pair(cluster=cluster, cells=cells, least=planner.least_gpus()))
    return pairs
