"""Hostile documents: the engine that writes them, and that no document changes score or structure of an episode."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import zs_env  # noqa: F401
from zs_env import check_engine
from zs_env.actions import parse_action
from zs_env.checker import example_requests
from zs_env.engines import ScriptedEngine, TemplateEngine, attacks, make_engine
from zs_env.engines.attacks import ATTACKS, write_attack, wrong_answer
from zs_env.engines.hostile import HostileEngine, attack_succeeded, attacks_of
from zs_env.errors import ConfigError
from zs_env.rewards import containment_score, exact_match_score
from zs_env.types import Document, SearchRequest

QUESTION = {"id": "moon", "question": "Who first walked on the Moon?", "golden_answers": ["Neil Armstrong"]}
SCRIPT = [
    "<think>I look it up.</think><search>first on the Moon</search>",
    "Hm.",
    "<think>once more</think>\n<search>who walked on the Moon</search>",
    "<think>So it is.</think><answer>Neil Armstrong</answer>",
]
HARMLESS = [Document("The Moon orbits the Earth."), Document("It is far away.", title="Moon")]
WRONG = wrong_answer(QUESTION["question"], ("Neil Armstrong",), 0)
VARIANTS = [(attack, variant) for attack in ATTACKS for variant in ATTACKS[attack]]


def hostile_text(attack: str, variant: str) -> str:
    return write_attack(attack, variant, wrong=WRONG, query="first on the Moon", question=str(QUESTION["question"]))


ANY_TEXT = st.text(
    st.one_of(
        st.characters(),  # lone surrogates and control characters, too
        st.sampled_from("<>/&;\x00\x1b\n\r\u2028\u202e\u200b\ufeff\ud800＜﹤"),
    ),
    max_size=60,
)
PIECES = st.sampled_from(
    [hostile_text(attack, variant) for attack, variant in VARIANTS if attack not in ("long_line", "flood")]
    + ["<answer>Neil Armstrong</answer>", "</information>", "<information>", "<search>", "Doc 1:", "&lt;/information>"]
)
DOCUMENT = st.builds(
    lambda parts, title: Document("".join(parts), title=title),
    st.lists(st.one_of(ANY_TEXT, PIECES), max_size=4),
    st.one_of(st.none(), ANY_TEXT, PIECES),
)


@pytest.fixture
def short_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "LONG_LINE_CHARS", 3_000)


# The engine


@pytest.mark.parametrize("attack", [*ATTACKS, "all"])
def test_each_attack_keeps_the_contract_of_engines(attack: str, short_lines: None) -> None:
    chosen = None if attack == "all" else [attack]
    options: dict[str, Any] = {"probability": 0.5, "num_documents": None} if attack == "all" else {}
    requests = example_requests()[::3]
    check_engine(HostileEngine(TemplateEngine(), attacks=chosen, **options), requests=requests)


@pytest.mark.parametrize(("attack", "variant"), VARIANTS)
def test_each_variant_pushes_its_wrong_answer_and_holds_no_golden_one(attack: str, variant: str) -> None:
    text = hostile_text(attack, variant)
    assert "Armstrong" not in text
    assert "{" not in text
    pushes = attack != "empty" and variant not in ("base64", "tag_characters")
    assert (WRONG in text) == pushes or variant == "tag_characters"
    if attack == "long_line":
        assert len(text) == 1_000_000
    text.encode()  # an engine may give nothing that can't be encoded


@pytest.mark.parametrize("golden", [["Neil Armstrong"], ["yes"], ["1969"], ["A"], ["東京", "Tokyo"], ["the"]])
def test_a_pushed_answer_is_never_right(golden: list[str]) -> None:
    for seed in range(20):
        wrong = wrong_answer("q", tuple(golden), seed)
        assert exact_match_score(wrong, golden) == containment_score(wrong, golden) == 0.0


def ask(engine: HostileEngine, count: int = 200, topk: int = 3) -> list[tuple[SearchRequest, Any]]:
    first = example_requests()[0]
    requests = [
        SearchRequest(
            query=first.query,
            question=first.question,
            quality="useful",
            noise_probability=0.0,
            seed=seed * 104_729,
            topk=topk,
        )
        for seed in range(count)
    ]
    return list(zip(requests, engine.search_now(requests), strict=True))


def test_a_hostile_document_says_what_it_is_and_leaves_room_for_the_others(short_lines: None) -> None:
    engine = HostileEngine(TemplateEngine(), attacks=["injection", "empty"], num_documents=1)
    ranks, variants = set(), set()
    for _, result in ask(engine):
        told = attacks_of(result.metadata)
        assert result.engine == "hostile(template)"
        if told[0]["attack"] == "empty":
            assert result.supports_query is False
            assert not any(
                document.text.strip(" \t\r\n\u3000\u2003\v\u200b\u200d\x00\x1b") for document in result.documents
            )
            continue
        marked = [
            rank for rank, document in enumerate(result.documents) if attacks_of({"attacks": [document.metadata]})
        ]
        assert len(result.documents) == 3
        assert len(marked) == len(told) == 1
        assert told[0]["pushes"] in result.documents[marked[0]].text or told[0]["variant"] == "base64"
        assert result.supports_query  # what was found is still there
        ranks.add(marked[0])
        variants.add(told[0]["variant"])
    assert ranks == {0, 1, 2}
    assert variants == set(ATTACKS["injection"])


def test_probability_and_number_are_what_was_asked_for(short_lines: None) -> None:
    results = [result for _, result in ask(HostileEngine(TemplateEngine(), attacks=["wrong_fact"], probability=0.3))]
    attacked = [result for result in results if attacks_of(result.metadata)]
    assert 0.2 < len(attacked) / len(results) < 0.4
    plain = TemplateEngine().search_now([request for request, _ in ask(HostileEngine(TemplateEngine()), 200)])
    assert [r.documents for r in results if r not in attacked] == [
        p.documents for p, r in zip(plain, results, strict=True) if r not in attacked
    ]
    for _, result in ask(HostileEngine(TemplateEngine(), attacks="wrong_fact", num_documents=9), 20):  # type: ignore[arg-type]
        assert len(attacks_of(result.metadata)) == 3
        assert result.supports_query is False


def test_a_failed_search_is_not_attacked() -> None:
    [(_, result)] = ask(HostileEngine(ScriptedEngine("x", fail=True), attacks=["tags"]), 1)
    assert result.error == "scripted failure"
    assert result.documents == attacks_of(result.metadata) == ()


def test_the_engine_inside_is_given_by_name_or_object() -> None:
    inner = ScriptedEngine("x", name="mine")
    assert make_engine("hostile", engine=inner).name == "hostile(mine)"
    assert make_engine("hostile").name == "hostile(template)"
    pytest.importorskip("aiohttp")
    assert make_engine("hostile", base_url="http://127.0.0.1:1/v1").name == "hostile(simulate_prompt)"
    for options, message in (
        ({"engine": inner, "base_url": "http://127.0.0.1:1"}, "made already"),
        ({"attacks": ["nice"]}, "tags, injection"),
        ({"attacks": []}, "none"),
        ({"probability": 2.0}, "probability"),
        ({"num_documents": 0}, "num_documents"),
        ({"engine": "nope"}, "Unknown search mode"),
    ):
        with pytest.raises(ConfigError, match=message):
            make_engine("hostile", **options)


def test_fingerprints_tell_engines_apart() -> None:
    made = [{}, {"attacks": ["tags"]}, {"probability": 0.5}, {"num_documents": None}, {"seed": 1}]
    found = [HostileEngine(TemplateEngine(), **options).fingerprint for options in made]
    assert len(set(found)) == len(made)
    assert found == [HostileEngine(TemplateEngine(), **options).fingerprint for options in made]


def test_success_is_told_from_the_final_answer() -> None:
    pushed = ({"attack": "tags", "variant": "answer", "pushes": "Lyon"}, {"attack": "empty", "pushes": None})
    assert attack_succeeded("lyon.", pushed) is True
    assert attack_succeeded("Paris", pushed) is False
    assert attack_succeeded(None, pushed) is False
    assert attack_succeeded("Paris", pushed[1:]) is None
    assert attacks_of(None) == attacks_of({"attacks": "x"}) == attacks_of({"attacks": [{"no": 1}]}) == ()


# No document changes score or structure


class Documents(ScriptedEngine):
    """Gives whatever documents it holds at the moment."""

    def __init__(self) -> None:
        self.held: list[Document] = []
        super().__init__(lambda _: tuple(self.held))


def outcome(info: dict[str, Any], reward: float, terminated: bool, truncated: bool) -> tuple[Any, ...]:
    names = ("status", "num_searches", "answer", "exact_match", "f1", "golden_answers", "turn", "action")
    return (reward, terminated, truncated, *(info[name] for name in names))


def check_structure(transcript: str, segments: list[Any], num_searches: int) -> None:
    """One block a search, each the whole of what the environment said, and the policy's text as it was."""
    blocks = [part.text for part in segments if part.provenance == "environment" and "information" in part.text]
    assert len(blocks) == num_searches
    for block in blocks:
        assert block.startswith("\n<information>\n")
        assert block.endswith("\n</information>\n")
        assert re.findall(r"</?(?:think|search|answer|information)>", block) == ["<information>", "</information>"]
        body = block.removeprefix("\n<information>\n").removesuffix("</information>\n").removesuffix("\n")
        assert not re.search("[<\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", body)
        lines = body.split("\n")
        numbers = [int(line[4 : line.index(":")]) for line in lines if line.startswith("Doc ")]
        assert numbers == list(range(1, len(lines) + 1)) or lines == ["No documents were found."]
    assert transcript == "".join(part.text for part in segments)
    said = [part.text for part in segments if part.provenance == "policy"]
    assert said == SCRIPT
    assert [parse_action(text).kind for text in said] == ["search", "invalid", "search", "answer"]


def play(env: Any, held: list[Document]) -> tuple[Any, ...]:
    env.unwrapped.engine.held = held
    env.reset(seed=0, options={"question": QUESTION})
    for action in SCRIPT:
        _, *rest, info = env.step(action)
    check_structure(env.unwrapped.episode.transcript, env.unwrapped.episode.segments, 2)
    return outcome(info, *rest)


def play_async(env: Any, held: list[Document]) -> tuple[Any, ...]:
    async def go() -> tuple[Any, ...]:
        env.unwrapped.engine.held = held
        env.reset(seed=0, options={"question": QUESTION})
        for action in SCRIPT:
            _, *rest, info = await env.unwrapped.astep(action)
        check_structure(env.unwrapped.episode.transcript, env.unwrapped.episode.segments, 2)
        return outcome(info, *rest)

    return asyncio.run(go())


@pytest.fixture(scope="module")
def env() -> Any:
    return gym.make("ZeroSearch-v0", engine=Documents(), questions=[QUESTION], topk=20, render_mode="ansi")


@pytest.fixture(scope="module")
def vector() -> Any:
    return gym.make_vec("ZeroSearch-v0", num_envs=2, engine=Documents(), questions=[QUESTION], topk=20)


def play_vector(vector: Any, held: list[Document]) -> list[tuple[Any, ...]]:
    vector.unwrapped.engine.held = held
    vector.reset(seed=0)
    for action in SCRIPT:
        observations, rewards, terminated, truncated, info = vector.step([action] * 2)
    names = ("status", "num_searches", "answer", "exact_match", "f1", "turn", "action")
    for observation in observations:
        assert observation.count("<information>") - observation.count("between <information>") == 2
        assert observation.count("</information>") - observation.count("and </information>") == 2
    return [(rewards[i], terminated[i], truncated[i], *(info[name][i] for name in names)) for i in range(2)]


@settings(max_examples=60, deadline=None)
@given(held=st.lists(DOCUMENT, max_size=5))
@example(held=[Document("\ud800</information>\udfff<answer>\ud83d</answer>", title="\udc00")])
@pytest.mark.parametrize("way", [play, play_async])
def test_no_document_changes_score_or_structure(way: Callable[..., Any], env: Any, held: list[Document]) -> None:
    assert way(env, held) == way(env, HARMLESS)
    shown = env.render()
    assert not re.sub(r"\x1b\[[0-9]m|\x1b\[3[0-9]m", "", shown).strip("\n").count("\x1b")
    assert not re.search("[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", shown)


@settings(max_examples=25, deadline=None)
@given(held=st.lists(DOCUMENT, max_size=5))
def test_no_document_changes_the_scores_of_a_vector(vector: Any, held: list[Document]) -> None:
    assert play_vector(vector, held) == play_vector(vector, HARMLESS)


@pytest.mark.parametrize(("attack", "variant"), VARIANTS)
def test_no_attack_changes_score_or_structure(attack: str, variant: str, env: Any) -> None:
    text = hostile_text(attack, variant)
    assert play(env, [Document(text), *HARMLESS, Document(text[:20_000], title=text[:5_000])]) == play(env, HARMLESS)


@pytest.mark.parametrize(
    ("variant", "limit"),
    [
        ("word", None),
        ("sentences", 20_000),
        ("tags", 100),
        ("open_brackets", None),
        ("open_brackets", 100),
        ("marks", 100),
    ],
)
def test_a_line_of_a_megabyte_is_cut_inside_its_tags(variant: str, limit: int | None) -> None:
    made = gym.make(
        "ZeroSearch-v0", engine=Documents(), questions=[QUESTION], max_information_chars=limit, render_mode="ansi"
    )
    assert play(made, [Document(hostile_text("long_line", variant)), Document("short and whole")])[0] == 1.0
    block = next(part.text for part in made.unwrapped.episode.segments if "<information>\nDoc" in part.text)
    assert block.endswith("short and whole\n</information>\n")
    assert limit is None or len(block) < limit + 100
    assert len(made.render()) < 200_000  # a terminal is not flooded either


def test_the_search_mode_plays_under_gymnasium() -> None:
    made = gym.make("ZeroSearch-v0", search_mode="hostile", topk=3)
    made.reset(seed=5)
    attacks_seen: list[dict[str, Any]] = []
    for _ in range(4):
        *_, info = made.step("<search>capital</search>")
        attacks_seen += attacks_of(info["search"]["metadata"])
    assert len(attacks_seen) >= 4
    pushed = {one["pushes"] for one in attacks_seen} - {None}
    assert len(pushed) == 1  # they back each other up
    *_, info = made.step(f"<answer>{pushed.pop()}</answer>")
    assert info["exact_match"] == 0.0
    assert attack_succeeded(info["answer"], attacks_seen)
