"""Simulated search against a real server on a real socket: what is asked, checked, asked again and recorded."""

from __future__ import annotations

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest

from tests.zs_env.engines.fault_server import Do, FaultServer, Seen, as_json, documents, say
from tests.zs_env.engines.llm.helpers import FRANCE, ask, engine_of, search, texts
from zs_env.checker import check_engine
from zs_env.engines import make_engine
from zs_env.errors import ConfigError, MissingPackageError
from zs_env.types import Question

USEFUL = documents("Paris is the capital of France.", "France is in Europe.")
NOISY = documents("France has many rivers.", "Its capital is large.")
TWO_HOPS = Question(
    id="two",
    question="What is the currency of the country where Tartu is?",
    golden_answers=("euro", "EUR"),
    metadata={"hops": 2, "facts": [["Tartu", "country", "Estonia"], ["Estonia", "currency", "euro"]]},
)


def in_turn(*replies: Do):
    return lambda seen: replies[min(seen.number, len(replies) - 1)]


def test_a_search_asks_the_model_and_gives_its_documents() -> None:
    usage = {"prompt_tokens": 50, "completion_tokens": 9}
    with FaultServer(documents("Paris is it.", "The capital isn't Lyon.", usage=usage)) as server:
        prices = {"price_per_million_input_tokens": 1.0, "price_per_million_output_tokens": 10.0}
        [result] = search(engine_of(server, **prices))
    assert texts(result) == ["Paris is it.", "The capital isn't Lyon."]
    assert result.engine == "simulate_prompt"
    assert result.error is None
    assert result.supports_query is None
    assert result.cost == pytest.approx(140e-6)
    assert result.latency_s > 0
    assert result.metadata == {
        "quality_checked": True,
        "tries": 1,
        "unmet": None,
        "documents_dropped": 0,
        "cut": 0,
        "retries": 0,
        "model": "m",
        "input_tokens": 50,
        "output_tokens": 9,
    }
    [seen] = server.chats
    assert seen.path == "/v1/chat/completions"
    assert seen.body["model"] == "m"
    assert seen.body["max_tokens"] == 100 + 4 * 2 * 30
    assert seen.body["temperature"] == 0.8


@pytest.mark.parametrize("mode", ["simulate_prompt", "simulate_sft"])
@pytest.mark.parametrize("quality", ["useful", "noisy"])
def test_all_golden_answers_reach_the_prompt_and_so_do_the_settings(mode: str, quality: str) -> None:
    """Defect 16 of the field: the first golden answer alone, "five documents" whatever was asked, no noise told."""
    question = Question(
        id="q", question="Who was first?", golden_answers=("Neil Armstrong", "N. Armstrong", "Armstrong")
    )
    with FaultServer(say("")) as server:
        engine = engine_of(server, mode, max_tries=1, document_words=45, persona="Wikipedia")
        search(engine, ask("moon", question, quality=quality, topk=3))
    messages = server.chats[0].body["messages"]
    prompt = server.chats[0].prompt
    assert all(golden in prompt for golden in question.golden_answers)
    assert "three" in prompt
    assert "about 45 words" in prompt
    assert "Wikipedia search engine" in (prompt if mode == "simulate_sft" else messages[0]["content"])
    assert question.question in prompt
    assert "Query: moon\n" in prompt
    if mode == "simulate_sft":
        assert prompt.endswith(f"Query: moon\n{quality.title()} Output:\n")


def test_each_request_is_one_record_whatever_order_replies_come_in() -> None:
    """Defect 15 of the field: queries compacted, questions not, so that the simulator is told another row's answer."""
    questions = [Question(id=str(i), question=f"Question {i}?", golden_answers=(f"gold{i}x",)) for i in range(20)]

    def script(seen: Seen) -> Do:
        golds = [f"gold{i}x" for i in range(20) if f"gold{i}x" in seen.prompt and f"Question {i}?" in seen.prompt]
        [query] = [line for line in seen.prompt.splitlines() if line.startswith("Query: topic")]
        return documents(f"{query.removeprefix('Query: ')} {golds[0]}", "More.")

    with FaultServer(script, hold_until=20) as server:
        results = search(engine_of(server), *[ask(f"topic {i}", q) for i, q in enumerate(questions)])
    assert [texts(result)[0] for result in results] == [f"topic {i} gold{i}x" for i in range(20)]


def test_256_requests_are_in_flight_together() -> None:
    with FaultServer(USEFUL, hold_until=256) as server:
        results = search(engine_of(server), *[ask() for _ in range(256)])  # equal requests: nothing is coalesced
        assert len(server.chats) == server.most_together == 256
    assert all(result.error is None for result in results)


def test_the_limit_of_connections_is_a_setting() -> None:
    with FaultServer(USEFUL) as server:
        results = search(engine_of(server, max_connections=4), *[ask(seed=i) for i in range(32)])
        assert server.most_together <= 4
        assert server.connections <= 4
    assert all(result.error is None for result in results)


def test_connections_are_used_again() -> None:
    with FaultServer(in_turn(NOISY, NOISY, NOISY, USEFUL)) as server:
        search(engine_of(server))
        assert len(server.chats) == 4
        assert server.connections == 1


# What is checked, asked again and recorded


def test_useful_documents_without_a_golden_answer_are_asked_for_again() -> None:
    with FaultServer(in_turn(NOISY, USEFUL)) as server:
        [result] = search(engine_of(server))
    assert "Paris is the capital of France." in texts(result)
    assert result.metadata is not None
    assert (result.metadata["quality_checked"], result.metadata["tries"]) == (True, 2)
    assert server.chats[0].body["seed"] != server.chats[1].body["seed"]


def test_noisy_documents_that_hold_a_golden_answer_are_dropped_and_only_what_is_missing_is_asked_for() -> None:
    replies = in_turn(documents("The capital is rainy.", "PARIS’s museums."), documents("France has snow."))
    with FaultServer(replies) as server:
        [result] = search(engine_of(server), ask(quality="noisy"))
    assert texts(result) == ["The capital is rainy.", "France has snow."]
    assert result.metadata is not None
    assert result.metadata["quality_checked"] is True
    assert (result.metadata["tries"], result.metadata["documents_dropped"]) == (2, 1)
    assert "Write two noisy documents" in server.chats[0].prompt
    assert "Write one noisy document " in server.chats[1].prompt


@pytest.mark.parametrize(("quality", "reply"), [("useful", NOISY), ("noisy", documents("Paris.", "In Paris."))])
def test_what_cannot_be_met_is_told(quality: str, reply: Do) -> None:
    with FaultServer(reply) as server:
        [result] = search(engine_of(server, max_tries=3), ask(quality=quality))
        assert len(server.chats) == 3
        [failed] = search(engine_of(server, max_tries=3, unmet="fail"), ask(quality=quality))
    assert result.error is None
    assert len(result.documents) == 2
    assert result.metadata is not None
    assert result.metadata["quality_checked"] is False
    assert result.metadata["tries"] == 3
    assert "golden answer" in result.metadata["unmet"]
    assert failed.documents == ()
    assert "after 3 tries" in str(failed.error)


@pytest.mark.parametrize("quality", ["useful", "noisy"])
def test_a_check_that_means_nothing_says_none(quality: str) -> None:
    question = Question(id="y", question="Is Paris large?", golden_answers=("yes",), metadata={"hops": 2})
    with FaultServer(documents("Yes, Paris is.", "No, it's Paris.")) as server:
        [result] = search(engine_of(server), ask("Paris", question, quality=quality))
        assert len(server.chats) == 1
    assert result.metadata is not None
    assert result.metadata["quality_checked"] is None


def test_one_search_does_not_give_away_the_whole_chain() -> None:
    replies = in_turn(
        documents("Tartu is in Estonia, which has the euro.", "Tartu is a country town of the south."),
        documents("Tartu: Estonia."),
    )
    with FaultServer(replies) as server:
        [result] = search(engine_of(server), ask("which country is Tartu in", TWO_HOPS))
        assert texts(result) == ["Tartu is a country town of the south.", "Tartu: Estonia."]
        assert "Don't write the final answer" in server.chats[0].prompt
    assert result.metadata is not None
    assert result.metadata["quality_checked"] is True
    assert result.metadata["documents_dropped"] == 1
    with FaultServer(documents("The currency of Estonia is the euro.", "Estonia is small.")) as server:
        [result] = search(engine_of(server), ask("currency of Estonia", TWO_HOPS))
        assert "Don't write the final answer" not in server.chats[0].prompt
    assert result.metadata is not None
    assert (result.metadata["quality_checked"], result.metadata["tries"]) == (True, 1)


def test_too_few_documents_are_asked_for_again_and_too_many_are_cut() -> None:
    with FaultServer(
        in_turn(documents("Paris is one."), documents("France: two.", "France: three.", "Four."))
    ) as server:
        [result] = search(engine_of(server), ask(topk=3))
    assert texts(result) == ["Paris is one.", "France: two.", "France: three."]


def test_a_model_that_writes_nothing_fails_the_search() -> None:
    for reply in (say(""), say(None), say("<think>hm"), say("***")):
        with FaultServer(reply) as server:
            [result] = search(engine_of(server, max_tries=2))
            assert len(server.chats) == 2
        assert result.documents == ()
        assert "no documents in 2 tries" in str(result.error)


def test_without_the_check_there_is_one_try_and_no_verdict() -> None:
    with FaultServer(NOISY) as server:
        [result] = search(engine_of(server, check=False))
        assert len(server.chats) == 1
    assert len(result.documents) == 2
    assert result.metadata is not None
    assert result.metadata["quality_checked"] is None


@pytest.mark.parametrize("options", [{"check": False}, {"compat": "upstream"}])
def test_an_empty_reply_is_a_failed_search_without_the_check_too(options: dict[str, object]) -> None:
    with FaultServer(say("", finish_reason="length")) as server:
        [result] = search(engine_of(server, **options))
    assert result.documents == ()
    assert "no documents in 1 try" in str(result.error)


def test_seeds_differ_by_draw_and_try_and_are_the_same_again() -> None:
    with FaultServer(NOISY) as server:
        for _ in range(2):
            search(engine_of(server, max_tries=2), ask(seed=5), ask(seed=2**53))
        seeds = [chat.body["seed"] for chat in server.chats]
        search(engine_of(server, max_tries=1, send_seed=False))
        assert "seed" not in server.chats[-1].body
    assert len(set(seeds[:4])) == 4
    assert sorted(seeds[:4]) == sorted(seeds[4:])
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_upstream_compatibility_sends_the_papers_prompts_and_checks_nothing() -> None:
    question = Question(id="u", question="Who?", golden_answers=("Ada", "Ada L."))
    with FaultServer(say("Doc 1: x")) as server:
        for mode in ("simulate_prompt", "simulate_sft"):
            engine = engine_of(server, mode, compat="upstream")
            [result] = search(engine, ask("q", question, topk=5))
            assert texts(result) == ["x"]
    prompt, sft = server.chats
    assert sft.prompt == (
        "You are the Google search engine.\nGiven a query, you need to generate five useful documents for the query."
        "\n\n"
        'The user is trying to answer the question: "Who?" whose answer is Ada.\nEach document should contain about 30 '
        "words, and these documents should contain useful information.\n\nQuery: q\nUseful Output:\n"
    )
    assert prompt.prompt.startswith("You are the Google search engine.\nGiven a query, you need to imitate the style")
    for seen in (prompt, sft):
        assert seen.body["messages"][0] == {"role": "system", "content": ""}
        assert (seen.body["max_tokens"], seen.body["temperature"]) == (600, 0.8)


def test_the_short_prompt_of_five_documents_and_one_answer_is_the_papers_letter_for_letter() -> None:
    with FaultServer(say("Doc 1: x")) as server:
        for options in ({}, {"compat": "upstream"}):
            search(engine_of(server, "simulate_sft", check=False, **options), ask(topk=5), ask(topk=5, quality="noisy"))
    first, second, third, fourth = sorted(chat.prompt for chat in server.chats)
    assert first == second
    assert third == fourth


def test_extra_settings_go_into_each_request_and_none_takes_out() -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 9, "chat_template_kwargs": {"enable_thinking": False}}
    with FaultServer(USEFUL) as server:
        search(engine_of(server, extra=extra, top_p=0.9, system="Be brief."))
    body = server.chats[0].body
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["top_p"]) == (9, 0.9)
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}


# How it is made and shared


def test_gym_make_and_its_vector_take_it() -> None:
    options = {
        "search_mode": "simulate_prompt",
        "simulation_llm": "m",
        "check": True,
        "questions": [{"id": "1", "question": FRANCE.question, "golden_answers": ["Paris"]}],
    }
    with FaultServer(
        documents("Paris is the capital of France.", "France is it.", "Old France.", "A capital.", "Its capital.")
    ) as server:
        env = gym.make("ZeroSearch-v0", base_url=f"http://127.0.0.1:{server.port}", **options)
        env.reset(seed=0)
        observation, _, _, _, info = env.step("<search>capital of France</search>")
        assert "Doc 1: Paris is the capital of France." in observation
        assert info["search"]["metadata"]["quality_checked"] is True
        assert info["search"]["engine"] == "simulate_prompt"
        envs = gym.make_vec("ZeroSearch-v0", num_envs=8, base_url=server.base_url, **options)
        envs.reset(seed=0)
        _, _, _, _, info = envs.step(["<search>capital of France</search>"] * 8)
        assert len(server.chats) == 9
        env.close()
        envs.close()


def test_the_contract_of_engines_is_kept() -> None:
    def script(seen: Seen) -> Do:
        return documents(*[f"{seen.body['seed']} Paris Armstrong {i}" for i in range(5)])

    with FaultServer(script) as server:
        check_engine(engine_of(server))
        check_engine(engine_of(server, "simulate_sft", check=False))


def test_copies_are_the_engine_itself_and_a_pickled_one_is_made_anew() -> None:
    engine = engine_of("http://127.0.0.1:1", document_words=7)
    assert copy.deepcopy(engine) is engine
    assert copy.copy(engine) is engine
    again = pickle.loads(pickle.dumps(engine))
    assert (again.settings, again.client_settings) == (engine.settings, engine.client_settings)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"base_url": None}, "needs base_url"),
        ({"speed": 3}, r"doesn't take 'speed'.*document_words"),
        ({"check": "yes"}, "check must be one of True, False, None"),
        ({"max_tries": 0}, "max_tries"),
        ({"persona": " "}, "Wikipedia"),
        ({"temperature": float("nan")}, "temperature"),
        ({"compat": "paper"}, "upstream"),
        ({"compat": "upstream", "language": "French"}, "leave out prompts"),
        ({"unmet": "ignore"}, "deliver"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"max_retries": True}, "max_retries"),
        ({"simulation_llm": " "}, "name of the model"),
        ({"api_key_env": "NO_SUCH_KEY"}, "NO_SUCH_KEY"),
        ({"prompts": "/no/such/folder"}, "prompt_useful.txt"),
        ({"extra": "x"}, "extra"),
        ({"extra": {"x": object()}}, "JSON"),
        ({"extra": {"messages": []}}, "'messages'"),
        ({"mode": "sft"}, "doesn't take 'mode'"),
        ({"style": 5}, "style"),
        ({"system": 5}, "system"),
        ({"prompts": 5}, "path of a folder"),
    ],
)
def test_wrong_options_are_errors_that_say_what_to_do(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        make_engine("simulate_prompt", **{"base_url": "http://127.0.0.1:1/v1", **options})


def test_copies_of_the_prompts_examples_are_told_as_what_they_are() -> None:
    copied = documents(
        "Moby-Dick is a novel by the American author Herman Melville about a whaling captain who hunts a white whale.",
        "Who wrote Moby-Dick? It was Herman Melville, in 1851, after years at sea on whaling ships.",
    )
    with FaultServer(copied) as server:
        [result] = search(engine_of(server, max_tries=2))
    assert result.error is not None
    assert "All 4 documents" in result.error
    assert "examples" in result.error
    assert result.metadata["documents_dropped"] == 4


def test_requests_that_were_made_again_are_counted_where_the_search_fails_too() -> None:
    with FaultServer(as_json({}, status=500)) as server:
        [failed] = search(engine_of(server, max_retries=2))
    assert failed.error is not None
    assert failed.metadata["retries"] == 2
    with FaultServer(in_turn(documents("Paris is it."), *[as_json({}, status=500)] * 9)) as server:
        [kept] = search(engine_of(server, max_retries=1))
    assert texts(kept) == ["Paris is it."]
    assert (kept.error, kept.metadata["retries"], kept.metadata["tries"]) == (None, 1, 2)


def test_replies_that_ended_at_the_limit_of_tokens_are_counted_whatever_they_ended_with() -> None:
    with FaultServer(say("Doc 1: Paris is it.\nDoc 2: The capital is old.", finish_reason="length")) as server:
        [result] = search(engine_of(server))
    assert (len(result.documents), result.metadata["cut"]) == (2, 1)


def test_importing_the_package_imports_no_http_client_and_its_lack_names_the_command() -> None:
    code = """
import sys
import zs_env
assert "aiohttp" not in sys.modules
sys.modules["aiohttp"] = None
try:
    zs_env.make_engine("simulate_prompt", base_url="http://127.0.0.1:1")
except ImportError as error:
    print(type(error).__name__, error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(MissingPackageError.__name__)
    assert 'pip install "zerosearch-env[simulate]"' in done.stdout


def test_users_prompts_take_the_place_of_those_that_ship(tmp_path: Path) -> None:
    (tmp_path / "prompt_noisy.txt").write_text('{"a": {language}} {answers}\n{query}', encoding="utf-8")
    with FaultServer(say("")) as server:
        engine = engine_of(server, prompts=str(tmp_path), max_tries=1, language="Estonian")
        search(engine, ask("{answers} {x}", quality="noisy"), ask())
    prompts = {chat.prompt for chat in server.chats}
    assert '{"a": Estonian} Paris\n{answers} {x}' in prompts
    assert any("useful document" in prompt for prompt in prompts)
    (tmp_path / "prompt_noisy.txt").write_text("{query} {golden}", encoding="utf-8")
    with pytest.raises(ConfigError, match="no placeholders but"):
        engine_of("http://127.0.0.1:1", prompts=tmp_path)


def test_metadata_is_plain() -> None:
    with FaultServer(USEFUL) as server:
        [result] = search(engine_of(server))
    json.dumps(result.metadata)
