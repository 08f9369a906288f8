"""`python -m zs_env`: play an episode, serve or tune a simulator, index a corpus, or prepare questions."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence

import gymnasium

from zs_env.command_options import add_search_option, lay_options
from zs_env.engines.retrieval import command as index_command
from zs_env.env import SimulatedSearchEnv
from zs_env.errors import ZeroSearchError
from zs_env.questions import command as questions_command
from zs_env.serving import command as serve_command
from zs_env.tuning import command as tune_command

HELP = """\
Type a query to search for it.      capital of France
Start with = to answer.             = Paris
Type what a policy would, raw.      <think>hm</think><search>capital of France</search>
An empty line skips the question, q quits.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m zs_env", description="ZeroSearch as a Gymnasium environment.")
    commands = top.add_subparsers(dest="command", required=True)
    play_parser = commands.add_parser(
        "play", help="play episodes in the terminal", formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = play_parser.add_argument
    add("--questions", default="atlas", help="atlas, or a jsonl, json, csv or parquet file")
    add("--split", default=None, help="a split of the questions; the atlas' test split where left out")
    add("--search-mode", default="template", help="what answers searches")
    add("--simulation-llm", help="the model that plays the search engine; smollm2 or a .gguf file runs in this process")
    add("--base-url", help="the server of that model")
    add("--check", action=argparse.BooleanOptionalAction, help="check a simulator's documents, or don't")
    add_search_option(add)
    add("--noise-probability", type=float, default=0.0, help="the chance that a search gives noisy documents, 0 to 1")
    add("--topk", type=int, default=5, help="documents a search")
    add("--max-turns", type=int, default=5, help="turns an episode, searches and the answer together")
    add("--seed", type=int, default=None, help="repeat an earlier game")
    play_parser.set_defaults(run=play)
    serve_command.add_parser(commands)
    index_command.add_parser(commands)
    questions_command.add_parser(commands)
    tune_command.add_parser(commands)
    return top


def to_action(line: str) -> str:
    """What a person typed, as a policy would write it.

    Examples:
        >>> to_action("= Paris"), to_action("capital of France"), to_action("<think>raw</think>")
        ('<answer>Paris</answer>', '<search>capital of France</search>', '<think>raw</think>')
    """
    if "<" in line:
        return line
    return f"<answer>{line[1:].strip()}</answer>" if line.startswith("=") else f"<search>{line}</search>"


def play(options: argparse.Namespace, read: Callable[[str], str] = input) -> None:
    """Play episodes until the player leaves, then say how it went.

    Args:
        options: The parsed command line.
        read: Asks for a line; `EOFError` and `KeyboardInterrupt` end the game.
    """
    split = "test" if options.split is None and options.questions == "atlas" else options.split
    env = SimulatedSearchEnv(
        questions=options.questions,
        split=split,
        search_mode=options.search_mode,
        simulation_llm=options.simulation_llm,
        base_url=options.base_url,
        check=options.check,
        search_options=lay_options({}, options.search_option or {}),
        noise_probability=options.noise_probability,
        topk=options.topk,
        max_turns=options.max_turns,
        render_mode="human",
    )
    print(HELP)
    played = right = 0
    seed = options.seed
    try:
        while True:
            env.reset(seed=seed)
            seed, done, reward = None, False, 0.0
            while not done:
                line = read("\n> ").strip()
                if line == "q":
                    raise EOFError
                if not line:
                    break
                _, reward, terminated, truncated, _ = env.step(to_action(line))
                done = terminated or truncated
            played, right = played + done, right + (done and reward == 1.0)
            print()
    except (EOFError, KeyboardInterrupt):
        print(f"\n{right} of {played} right.")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    given, extra = serve_command.split_extra(sys.argv[1:] if arguments is None else arguments)
    options = parser().parse_args(given)
    if extra and "extra" not in options:
        parser().error(f"{options.command} takes nothing behind --")
    options.extra = extra
    try:
        return options.run(options) or 0
    except (ZeroSearchError, gymnasium.error.Error) as error:
        print(f"error: {error}", file=sys.stderr)
        return serve_command.exit_status(error)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}. Give another path, or mend that one.", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
