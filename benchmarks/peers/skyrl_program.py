"""SkyRL-gym (`skyrl-gym`), driven as SkyRL's generator drives it; run by an interpreter that has it.

`SkyRLGymGenerator.agent_loop` (skyrl/train/generators/skyrl_gym_generator.py) makes a new environment for each episode
(`skyrl_gym.make`), and calls `init`, `step` and `close` through `loop.run_in_executor` on a thread pool of
`max_env_workers`: 16 in the search recipe (examples/train/search/run_search.sh). All episodes' search tools share one
`requests.Session`, which keeps up to 256 connections, and ask a server at `/retrieve` in JSON.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from typing import Any

from benchmarks.fanout_server import answer_of, documents_of, query_of, question_of
from benchmarks.peers.speaking import SEARCHES, as_action, check_read, serve

__all__ = ["SkyrlSide"]

STEPS = {
    "one env an episode": "skyrl_gym.make('search'), SearchEnv.init, .step, .close; new text only",
    "one env an episode, tool's text ready": "the same, the whole search tool replaced by its text, ready made",
}
RECIPE_WORKERS = 16
TURNS = {
    "16 workers": "SearchEnv.step through run_in_executor, max_env_workers=16 as in its search recipe",
    "one thread an episode": "SearchEnv.step through run_in_executor, max_env_workers = episodes",
}
_PROMPT = (
    "Answer the given question. You must conduct reasoning inside <think> and </think> first every time you get new "
    "information. After reasoning, if you find you lack some knowledge, you can call a search engine by <search> query "
    "</search> and it will return the top searched results between <information> and </information>. You can search as "
    "many times as you want. If you find no further external knowledge needed, you can directly provide the answer "
    "inside <answer> and </answer>. Question: "
)


class SkyrlSide:
    """SkyRL-gym's search environment."""

    def __init__(self) -> None:
        import skyrl_gym
        from skyrl_gym.envs.search.env import SearchEnvConfig
        from skyrl_gym.tools import search

        self._gym: Any = skyrl_gym
        self._config: Any = SearchEnvConfig
        self._search: Any = search

    def describe(self) -> dict[str, Any]:
        """See `Side`."""
        names = ("skyrl-gym", "requests", "urllib3")
        return {"packages": {name: version(name) for name in names}, "steps": STEPS, "turns": TURNS}

    def make(self, number: int, config: Any) -> Any:
        """The environment of one episode."""
        extras = {"reward_spec": {"ground_truth": {"target": [answer_of(number)]}}, "max_turns": SEARCHES + 1}
        return self._gym.make("search", env_config=config, extras=extras)

    def player(self, way: str, num_envs: int) -> Callable[[int], int]:
        """See `Side`."""
        config = self._config(search_url="http://nowhere/retrieve", topk=5)
        prompts = [[{"role": "user", "content": _PROMPT + question_of(i)}] for i in range(num_envs)]
        searches = [as_action(query_of(i)) for i in range(num_envs)]
        envs = [self.make(i, config) for i in range(num_envs)]
        turns = [i % SEARCHES for i in range(num_envs)]
        restore = self._make_ready(num_envs, whole_tool=way.endswith("ready"))
        check_read(self.make(0, config).step(searches[0])["observations"][0]["content"], 0)
        restore()

        def play(num_steps: int) -> int:
            read = 0
            restore = self._make_ready(num_envs, whole_tool=way.endswith("ready"))
            for _ in range(num_steps):
                for i in range(num_envs):
                    if turns[i] < SEARCHES:
                        turns[i] += 1
                        output = envs[i].step(searches[i])
                        messages = output["observations"]
                    else:
                        turns[i] = 0
                        output = envs[i].step("<answer>nothing</answer>")
                        envs[i].close()
                        envs[i] = self.make(i, config)
                        messages, _ = envs[i].init(copy.deepcopy(prompts[i]))
                    read += sum(len(message["content"]) for message in messages) + len(output["metadata"])
            restore()
            return read

        return play

    def _make_ready(self, num_envs: int, *, whole_tool: bool) -> Callable[[], None]:
        """Have documents ready made; returns what undoes it.

        Without `whole_tool` what is left of a search is parsing the action and writing the documents.
        """
        tool, alone = self._search.SearchToolGroup.search, self._search.call_search_api
        replies = {
            query_of(i): {"result": [[{"document": {"contents": f"Station {i}\n{text}"}} for text in documents_of(i)]]}
            for i in range(num_envs)
        }

        def reply(retrieval_service_url: str, query: str, **_: Any) -> tuple[Any, None]:
            return replies[query], None

        search = tool.func
        self._search.call_search_api = reply
        if whole_tool:
            group = self._search.SearchToolGroup("http://nowhere/retrieve", 5, log_requests=False)
            texts = {query: search(group, query) for query in replies}
            tool.func = lambda group, query: texts[query]

        def undo() -> None:
            self._search.call_search_api, tool.func = alone, search

        return undo

    def turn(self, way: str, episodes: int, url: str) -> SkyrlTurn:
        """See `Side`."""
        config = self._config(search_url=f"{url}/retrieve", topk=5)
        return SkyrlTurn(self, config, episodes, RECIPE_WORKERS if way == "16 workers" else episodes)

    def forget_connections(self) -> None:
        """Close the session that all episodes share; the next environment opens another."""
        pool = self._search.SearchToolGroup._session_pool
        for session in pool.values():
            session.close()
        pool.clear()


class SkyrlTurn:
    """A step of every episode, each awaited by a coroutine of its own, as the generator's are."""

    def __init__(self, side: SkyrlSide, config: Any, episodes: int, workers: int) -> None:
        self._side = side
        self._config = config
        self._envs: list[Any] = []
        self._actions = [as_action(query_of(i)) for i in range(episodes)]
        self._executor = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="skyrl-gym-env-")
        self._runner = asyncio.Runner()

    def prepare(self, *, cold: bool) -> None:
        """See `Turn`."""
        if cold:
            self._side.forget_connections()
        self._envs = [self._side.make(i, self._config) for i in range(len(self._actions))]
        for i, env in enumerate(self._envs):
            env.init([{"role": "user", "content": _PROMPT + question_of(i)}])

    def play(self) -> list[str]:
        """See `Turn`."""
        outputs = self._runner.run(self._play())
        return ["".join(message["content"] for message in output["observations"]) for output in outputs]

    async def _play(self) -> list[Any]:
        return await asyncio.gather(*map(self._step, self._envs, self._actions))

    async def _step(self, env: Any, action: str) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, env.step, action)

    def close(self) -> None:
        """See `Turn`."""
        self._runner.close()
        self._executor.shutdown()


if __name__ == "__main__":
    serve(SkyrlSide)
