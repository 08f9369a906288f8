"""GEM (`gem-llm`), driven as its own examples drive it; run by an interpreter that has it.

Its search recipe (examples/train_oat/README.md) is `--env_id qa:HotpotQA --wrappers
"search_tool_no_int_reward,concat_chat" --async_env`: `gem.make_vec` with `QaEnv` in a `ToolEnvWrapper` with one shared
`SearchTool`, five tool uses, no rewards for them, in an `ObservationWrapper`, in an `AsyncVectorEnv`, which has a
thread an environment. Here the observation is `concat_with_action`, the same transcript without a tokenizer's chat
template, which costs it less. The tool asks a server at `/retrieve` in msgpack, with a new connection each time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any

from benchmarks.fanout_server import answer_of, documents_of, query_of, question_of
from benchmarks.peers.speaking import SEARCHES, as_action, check_read, serve

__all__ = ["GemSide"]

STEPS = {
    "SyncVectorEnv": "gem.make_vec: SyncVectorEnv.step; ObservationWrapper(ToolEnvWrapper(QaEnv)), whole transcript",
    "single env": "ObservationWrapper.step and .reset around ToolEnvWrapper(QaEnv), whole transcript",
    "single env, new text only": "ToolEnvWrapper.step and .reset around QaEnv, new text only",
}
TURNS = {"AsyncVectorEnv": "gem.make_vec(async_mode=True): AsyncVectorEnv.step, a thread an episode; SearchTool"}


class GemSide:
    """GEM's environments."""

    def __init__(self) -> None:
        import datasets
        import gem
        from gem.tools.search_tool import SearchTool
        from gem.tools.tool_env_wrapper import ToolEnvWrapper
        from gem.wrappers.wrapper_factory import WRAPPER_FACTORY

        class Ready(SearchTool):  # type: ignore[misc]
            """Has its documents already; what is left is parsing the action and writing the documents."""

            found: dict[str, Any]

            def _search(self, query: str) -> str:
                return str(self._passages2string(self.found[query]))

        datasets.disable_progress_bars()
        gem.register("stations", "gem.envs.qa_env:QaEnv", question_key="question", answer_key="answer")
        self._gem: Any = gem
        self._ready: Any = Ready
        self._tool: Any = SearchTool
        self._with_tool: Any = ToolEnvWrapper
        self._concat: Any = WRAPPER_FACTORY["concat_with_action"]
        self._dataset: Any = datasets.Dataset

    def describe(self) -> dict[str, Any]:
        """See `Side`."""
        names = ("gem-llm", "datasets", "requests", "urllib3", "msgspec", "numpy")
        return {"packages": {name: version(name) for name in names}, "steps": STEPS, "turns": TURNS}

    def player(self, way: str, num_envs: int) -> Callable[[int], int]:
        """See `Side`."""
        tool = self._ready(search_url="http://nowhere", topk=5)
        tool.found = {
            query_of(i): [{"document": {"contents": f"Station {i}\n{text}"}} for text in documents_of(i)]
            for i in range(num_envs)
        }
        envs = self._envs(tool, [range(num_envs)] * num_envs, concat=way != "single env, new text only", threads=False)
        searches = [as_action(query_of(i)) for i in range(num_envs)]
        envs.reset()
        check_read(envs.step(searches)[0][0], 0)
        return _play_vector(envs, searches) if way == "SyncVectorEnv" else _play_each(envs.envs, searches)

    def turn(self, way: str, episodes: int, url: str) -> GemTurn:
        """See `Side`."""
        tool = self._tool(search_url=f"{url}/retrieve", topk=5, timeout=5)
        return GemTurn(self._envs(tool, [range(i, i + 1) for i in range(episodes)], concat=True, threads=True))

    def _envs(self, tool: Any, numbers: list[range], *, concat: bool, threads: bool) -> Any:
        with_tool = partial(
            self._with_tool, tools=[tool], tool_reward=0.0, tool_success_reward=0.0, max_tool_uses=SEARCHES + 1
        )
        return self._gem.make_vec(
            ["stations"] * len(numbers),
            wrappers=[with_tool, self._concat] if concat else [with_tool],
            vec_kwargs=[{"dataset": self._questions(each), "seed": i} for i, each in enumerate(numbers)],
            async_mode=threads,
        )

    def _questions(self, numbers: range) -> Any:
        return self._dataset.from_dict(
            {"question": [question_of(i) for i in numbers], "answer": [[answer_of(i)] for i in numbers]}
        )


class GemTurn:
    """A step of an `AsyncVectorEnv`. Connections are new whatever is asked for: the tool keeps none."""

    def __init__(self, envs: Any) -> None:
        self._envs = envs
        self._actions = [as_action(query_of(i)) for i in range(envs.num_envs)]

    def prepare(self, *, cold: bool) -> None:
        """See `Turn`."""
        self._envs.reset()

    def play(self) -> list[str]:
        """See `Turn`."""
        return list(self._envs.step(self._actions)[0])

    def close(self) -> None:
        """See `Turn`."""
        self._envs.thread_pool_executer.shutdown()


def _play_vector(envs: Any, searches: list[str]) -> Callable[[int], int]:
    envs.reset()
    turns = [i % SEARCHES for i in range(len(searches))]

    def play(num_steps: int) -> int:
        nonlocal turns
        read = 0
        for _ in range(num_steps):
            actions = [
                "<answer>nothing</answer>" if turn == SEARCHES else search
                for turn, search in zip(turns, searches, strict=True)
            ]
            observations, _, _, _, infos = envs.step(actions)
            read += sum(map(len, observations)) + sum(map(len, infos))
            turns = [0 if turn == SEARCHES else turn + 1 for turn in turns]
        return read

    return play


def _play_each(envs: list[Any], searches: list[str]) -> Callable[[int], int]:
    for env in envs:
        env.reset()
    turns = [i % SEARCHES for i in range(len(searches))]

    def play(num_steps: int) -> int:
        read = 0
        for _ in range(num_steps):
            for i, env in enumerate(envs):
                if turns[i] < SEARCHES:
                    turns[i] += 1
                    observation, _, _, _, info = env.step(searches[i])
                else:
                    turns[i] = 0
                    env.step("<answer>nothing</answer>")
                    observation, info = env.reset()
                read += len(observation) + len(info)
        return read

    return play


if __name__ == "__main__":
    serve(GemSide)
