import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.cli import main
from agents.codec import CharacterCodec
from agents.conversation import EpisodeTask, RolloutSettings
from agents.errors import RolloutError
from agents.executors import LocalExecutor
from agents.learner import Learner
from agents.optimization import OptimizerSettings
from agents.policy import Policy
from agents.rollout import RolloutResult, rollout_sync
from agents.samplers import GenerationRequest, RememberingSampler, SamplingSettings, StreamingSampler
from agents.samplers.openai import OpenAISampler, put_stop_back
from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, as_json, say
from zs_env.actions import STOP_STRINGS, parse_action
from zs_env.engines.llm.client import ClientSettings
from zs_env.episode import EpisodeSettings
from zs_env.errors import ChatError, ConfigError
from zs_env.serving import Server, WatchSettings, serve
from zs_env.types import Question

LIMITS = RolloutSettings(max_new_tokens=400, max_episode_tokens=6000, max_failure_rate=1.0)
USED = {"usage": {"prompt_tokens": 7, "completion_tokens": 3}}


def sampler_of(server: FaultServer, settings: SamplingSettings | None = None, **options: Any) -> OpenAISampler:
    given = {"max_retries": 0, "backoff_s": 0.01, **options.pop("client", {})}
    return OpenAISampler(ClientSettings(base_url=server.base_url, **given), settings, **options)


def ask(text: str, most: int = 100, key: tuple[int, ...] | None = None) -> GenerationRequest:
    return GenerationRequest(
        prompt_ids=CharacterCodec().encode(text), seed=2**40 + 1, max_new_tokens=most, conversation=key
    )


def play(sampler: OpenAISampler, engine: Any, questions: Sequence[Question], **changes: Any) -> RolloutResult:
    tasks = [EpisodeTask(question=question, group=at, key=(0, at)) for at, question in enumerate(questions)]
    options: dict[str, Any] = {"episode_settings": EpisodeSettings(prompt="short"), "settings": LIMITS, "seed": 0}
    return rollout_sync(tasks, sampler=sampler, codec=sampler.codec, engine=engine, **(options | changes))


@pytest.mark.parametrize(
    ("sent", "told", "text", "stopped"),
    [
        ("<think>a</think><search>capital", None, "<think>a</think><search>capital</search>", True),
        ("so <answer>Rome ", None, "so <answer>Rome </answer>", True),
        ("<search>a<answer>b", None, "<search>a<answer>b</answer>", True),
        ("<search>", None, "<search></search>", True),  # an empty query, which is no action
        ("<think>maybe <search>x", None, "<think>maybe <search>x</search>", True),  # only quoted: the policy goes on
        (
            "<think>tags such as <search></think> I give up",
            None,
            "<think>tags such as <search></think> I give up",
            False,
        ),
        ("I don't know", None, "I don't know", False),
        ("<answer>x</answer>", None, "<answer>x</answer>", True),  # a server that leaves it in
        ("<search>x</search> <answer>y</answer>", None, "<search>x</search>", True),  # one that doesn't stop
        ("what is open is closed", "</search>", "what is open is closed</search>", True),
        ("<search>x", "</answer>", "<search>x</answer>", True),  # the server knows better
        ("<search>x", 151645, "<search>x</search>", True),  # a token's number says nothing of strings
        ("<search>x", "\n", "<search>x</search>", True),
    ],
)
def test_the_stop_string_that_was_cut_off_is_put_back(sent: str, told: object, text: str, stopped: bool) -> None:
    assert put_stop_back(sent, STOP_STRINGS, told) == (text, stopped)


@given(before=st.sampled_from(["", "<think>hm</think>", "<think><answer>x</answer></think> so "]), content=st.text())
def test_an_action_survives_a_server_that_cuts_its_end_off(before: str, content: str) -> None:
    for name in ("search", "answer"):
        action = f"{before}<{name}>{content}</{name}>"
        if parse_action(action).kind == "invalid" or "<" in content:
            continue
        if before.endswith("so "):  # the server stopped in the thought, and went on from there
            action = action.partition("</think>")[2]
        assert put_stop_back(action.removesuffix(f"</{name}>"), STOP_STRINGS) == (action, True)


def test_a_conversation_is_a_chat_of_observations_and_actions(engine: Any, questions: list[Question]) -> None:
    def script(seen: Seen) -> Do:
        turns = len(seen.body["messages"])
        return say(["<search>capital of Dolmira", "nonsense", "<answer>Karthen"][turns // 2], **USED)

    with FaultServer(script) as server:
        sampler = sampler_of(server, SamplingSettings(temperature=0.7))
        assert isinstance(sampler, StreamingSampler)
        assert isinstance(sampler, RememberingSampler)
        (trajectory,) = play(sampler, engine, questions[:1]).trajectories
        bodies = [seen.body for seen in server.chats]
    assert (trajectory.status, trajectory.reward) == ("answered", 1.0)
    assert trajectory.actions == ["search", "invalid", "answer"]
    last = bodies[2]["messages"]
    assert [message["role"] for message in last] == ["user", "assistant", "user", "assistant", "user"]
    assert "What is the capital of Dolmira?" in last[0]["content"]
    assert last[1]["content"] == "<search>capital of Dolmira</search>"
    assert "The capital of Dolmira is Karthen" in last[2]["content"]
    assert last[3]["content"] == "nonsense"
    assert "".join(message["content"] for message in last) + "<answer>Karthen</answer>" == trajectory.text
    assert bodies[2] == {
        "model": "served",
        "messages": last,
        "max_tokens": 100,
        "temperature": 0.7,
        "stop": list(STOP_STRINGS),
        "stream": False,
    }
    usage = sampler.usage.to_json()
    assert usage == {"num_requests": 3, "num_failed": 0, "prompt_tokens": 21, "completion_tokens": 9}
    assert not sampler._dialogues


def test_a_stop_string_in_a_thought_lets_the_policy_go_on_in_its_own_turn(
    engine: Any, questions: list[Question]
) -> None:
    pieces = ["<think>not <answer>Rome", " but</think><answer>Karthen"]
    with FaultServer(lambda seen: say(pieces[len(seen.body["messages"]) - 1])) as server:
        (trajectory,) = play(sampler_of(server), engine, questions[:1]).trajectories
        (first, second) = (seen.body["messages"] for seen in server.chats)
    assert [message["role"] for message in second] == ["user", "assistant"]
    assert second[:1] == first
    assert second[1]["content"] == "<think>not <answer>Rome</answer>"
    assert trajectory.answer == "Karthen"


def test_a_base_model_is_given_the_whole_transcript(engine: Any, questions: list[Question]) -> None:
    def script(seen: Seen) -> Do:
        text = "<answer>Karthen" if "</information>" in seen.body["prompt"] else "<search>capital of Dolmira"
        return as_json({"choices": [{"text": text, "finish_reason": "stop"}], "model": "/data/base-7b/"})

    with FaultServer(script) as server:
        sampler = sampler_of(server, SamplingSettings(greedy=True), api="completions")
        (trajectory,) = play(sampler, engine, questions[:1]).trajectories
        paths, bodies = [seen.path for seen in server.chats], [seen.body for seen in server.chats]
    assert paths == ["/v1/completions"] * 2
    assert bodies[1]["prompt"] + "<answer>Karthen</answer>" == trajectory.text
    assert bodies[1]["temperature"] == 0.0
    assert trajectory.reward == 1.0
    assert sampler.record()["served_as"] == ["base-7b"]
    assert sampler.record()["usage"]["completion_tokens"] is None  # the server doesn't count


def test_all_conversations_are_asked_for_at_once(engine: Any, questions: list[Question]) -> None:
    # The server answers nobody before all four are there.
    with FaultServer(say("<answer>Karthen"), hold_until=4) as server:
        result = play(sampler_of(server), engine, questions)
        assert server.most_together == 4
    assert [trajectory.exact_match for trajectory in result.trajectories] == [1.0, 0.0, 0.0, 0.0]


def test_how_a_reply_ended() -> None:
    replies = [
        say("<search>a", finish_reason="length"),
        say("<search>a"),
        say("bye"),
        say(""),
        say("<answer>b", finish_reason="tool_calls"),
    ]
    with FaultServer(lambda seen: replies[seen.number]) as server:
        sampler = sampler_of(server)
        found = [sampler.generate([ask("x")])[0] for _ in replies]
    assert [generation.finish_reason for generation in found] == ["length", "stop", "eos", "eos", "stop"]
    assert [generation.text for generation in found] == [
        "<search>a",
        "<search>a</search>",
        "bye",
        "",
        "<answer>b</answer>",
    ]
    assert all(len(generation.ids) == len(generation.logprobs) == len(generation.text) for generation in found)


def test_settings_and_options_of_a_request() -> None:
    with FaultServer(say("x")) as server:
        sampler = sampler_of(server, send_seed=True, system="Be brief.", options={"stop": None, "top_k": 20})
        sampler.with_settings(SamplingSettings(top_p=0.9)).generate([ask("hello", most=10)])
        (seen,) = server.chats
    assert seen.body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]
    assert (seen.body["max_tokens"], seen.body["top_p"], seen.body["top_k"]) == (3, 0.9, 20)
    assert 0 <= seen.body["seed"] < 2**31
    assert "stop" not in seen.body
    assert sampler.usage.num_requests == 1


def test_a_call_that_fails_is_made_again_and_then_fails_its_episode_alone(
    engine: Any, questions: list[Question]
) -> None:
    def script(seen: Seen) -> Do:
        asked = seen.body["messages"][0]["content"]
        if "Ostavia" in asked or ("Dolmira" in asked and not server_failed):
            server_failed.append(asked)
            return as_json({"error": {"message": "overloaded"}}, status=503)
        return say("<answer>Karthen")

    server_failed: list[str] = []
    with FaultServer(script) as server:
        sampler = sampler_of(server, client={"max_retries": 1})
        result = play(sampler, engine, questions[:1] + questions[1:2])
        good, bad = result.trajectories
        assert (good.status, bad.status) == ("answered", "failed")
        assert "The policy's server: " in (bad.error or "")
        assert "overloaded" in (bad.error or "")
        assert "overloaded" not in bad.text
        assert sampler.usage.num_failed == 1
        strict = RolloutSettings(max_new_tokens=400, max_episode_tokens=6000, max_failure_rate=0.2)
        with pytest.raises(RolloutError, match=r"1 of 2 episodes failed.*overloaded"):
            play(sampler, engine, questions[:2], settings=strict)


@pytest.mark.parametrize(
    ("do", "says"),
    [
        (Do(how="hang"), "timeout_s=0.2"),
        (Do(how="close"), "broke off"),
        (as_json({"choices": []}), "without choices"),
        (Do(status=200, body=b"<html>"), "other than a chat completion"),
        (as_json({"error": "no such model"}, status=404), "check --model and --policy-url"),
    ],
)
@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_server_that_fails_is_told_as_one(do: Do, says: str, api: Any) -> None:
    with FaultServer(do) as server:
        sampler = sampler_of(server, api=api, client={"timeout_s": 0.2, "model": "m"})
        with pytest.raises(ChatError, match=says):
            sampler.generate([ask("x")])


def test_a_server_of_several_models_wants_a_name() -> None:
    with (
        FaultServer(say("x"), models=("a", "b")) as server,
        pytest.raises(ChatError, match=r"serves 2 models \(a, b\).*give --model"),
    ):
        sampler_of(server).generate([ask("x")])


def test_nothing_is_trained_with_it(tiny_policy: Policy, engine: Any) -> None:
    with FaultServer(say("x")) as server, pytest.raises(ConfigError, match=r"OpenAISampler.*no ratio to train with"):
        LocalExecutor(
            Learner(tiny_policy, OptimizerSettings()),
            engine=engine,
            episode_settings=EpisodeSettings(),
            rollout_settings=RolloutSettings(),
            sampling=SamplingSettings(),
            sampler=sampler_of(server),
            seed=0,
        )


def answering(seen: Seen) -> Do:
    is_told = len(seen.body["messages"]) > 1
    return say("<answer>Nairobi" if is_told else "<search>capital of Kenya", model="gpt-9-2031", **USED)


def test_eval_records_the_model_and_what_it_took_and_no_address_or_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("POLICY_KEY", "s3cret-key")
    out = tmp_path / "record.json"
    with FaultServer(answering) as server:
        code = main(
            f"eval --sampler openai --policy-url {server.base_url} --model gpt-9 --policy-key-env POLICY_KEY --limit 3 "
            f"--noise-probability 0 --no-sampled --max-new-tokens 50 --policy-option top_k=5 --json {out}".split()
        )
        assert code == 0, capsys.readouterr().err
        assert {seen.headers["authorization"] for seen in server.chats} == {"Bearer s3cret-key"}
        assert {(seen.body["model"], seen.body["max_tokens"]) for seen in server.chats} == {("gpt-9", 50)}
        port = str(server.port)
    text = out.read_text()
    record = json.loads(text)
    assert record["results"]["noise_0"]["n"] == 3
    assert record["settings"]["model"] == {
        "sampler": "openai",
        "model": "gpt-9",
        "served_as": ["gpt-9-2031"],
        "api": "chat",
        "options": {"top_k": 5},
        "characters_per_token": 4,
        "usage": {"num_requests": 6, "num_failed": 0, "prompt_tokens": 42, "completion_tokens": 18},
    }
    assert "s3cret" not in text + capsys.readouterr().out
    assert f":{port}" not in text


def test_ask_shows_an_episode_of_a_server_s_model(capsys: pytest.CaptureFixture[str]) -> None:
    with FaultServer(answering) as server:
        question = "What is the capital of Kenya?"
        assert main(["ask", question, "--sampler", "openai", "--policy-url", server.base_url]) == 0
    assert "Nairobi" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ("eval --sampler openai", "needs --policy-url"),
        ("eval --model x --policy-url http://127.0.0.1:1", "--policy-url is for a server that plays"),
        ("eval --sampler openai --policy-url http://u:p@127.0.0.1:1/v1", "must hold no user name, password"),
        (
            "eval --sampler openai --policy-url http://127.0.0.1:1 --policy-api soap",
            "'chat' or 'completions'; got 'soap'",
        ),
        ("eval --sampler openai --policy-url http://127.0.0.1:1 --policy-key-env NO_SUCH_KEY", "which isn't set"),
        ("eval --sampler openai --policy-url http://127.0.0.1:1 --policy-timeout-s 0", "timeout_s must be above 0"),
        ("eval", "eval needs --model"),
        ("ask x --script y --sampler openai --policy-url http://127.0.0.1:1", "and not both"),
    ],
)
def test_flags_that_contradict_are_refused(flags: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(flags.split()) == 2
    told = capsys.readouterr().err
    assert says in told
    assert "u:p" not in told


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    watch = WatchSettings(log_dir=tmp_path_factory.mktemp("logs"), start_timeout_s=120.0)
    with serve("llamacpp", "smollm2", port=0, parallel=2, context_tokens=2048, watch=watch) as server:
        yield server


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_a_real_server_plays(api: Any, llamacpp: Server, engine: Any, questions: list[Question]) -> None:
    sampler = OpenAISampler(ClientSettings(base_url=llamacpp.base_url), SamplingSettings(greedy=True), api=api)
    limits = RolloutSettings(max_new_tokens=96, max_episode_tokens=4000, max_failure_rate=0.0)
    rules = EpisodeSettings(prompt="short", max_turns=2)
    result = play(sampler, engine, questions[:2], settings=limits, episode_settings=rules)
    assert [trajectory.failed for trajectory in result.trajectories] == [False, False]
    usage = sampler.usage
    assert usage.num_requests == sum(len(trajectory.actions) for trajectory in result.trajectories)
    assert usage.prompt_tokens > usage.completion_tokens > 0
    assert "SmolLM2" in str(sampler.record()["served_as"])


def test_a_real_server_s_cut_is_mended(llamacpp: Server) -> None:
    sampler = OpenAISampler(
        ClientSettings(base_url=llamacpp.base_url), SamplingSettings(greedy=True), api="completions"
    )
    shots = "".join(f"{number}: <answer>{number}</answer>\n" for number in range(1, 9))
    (generation,) = sampler.generate([ask(shots + "9:", most=120)])
    assert generation.finish_reason == "stop"
    assert generation.text.count("</answer>") == 1
    assert parse_action(generation.text).kind == "answer"
    sampler.close()
