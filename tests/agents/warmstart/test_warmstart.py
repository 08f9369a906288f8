from __future__ import annotations

import json
import random
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.policy import Policy, load_policy
from agents.warmstart import WarmStartSettings, warm_start
from agents.warmstart.demonstrations import DemonstrationSettings, Demonstrator, recall
from agents.warmstart.names import Inventor
from agents.warmstart.tokenizer import TAGS, WORD
from agents.warmstart.training import ModelShape, _Examples, make_model, make_tokenizer
from zs_env.actions import parse_action
from zs_env.engines import make_engine
from zs_env.episode import EpisodeSettings
from zs_env.errors import ConfigError
from zs_env.questions import World, load_atlas

ENGINE = make_engine("template")
EPISODE = EpisodeSettings(prompt="short")


@pytest.fixture(scope="module")
def world() -> World:
    return load_atlas().world("train")


@pytest.fixture(scope="module")
def made(world: World) -> tuple[Any, Inventor]:
    return make_tokenizer(world, ENGINE, ModelShape(), seed=0, topk=5)


def test_a_name_has_the_same_pieces_wherever_it_stands(made: tuple[Any, Inventor]) -> None:
    tokenizer, _ = made
    pieces = tokenizer(" Ouagadougou")["input_ids"]
    for text in (
        "Doc 1: The capital of Burkina Faso is Ouagadougou.",
        "<answer> Ouagadougou</answer>",
        "<search> country of Ouagadougou</search>",
    ):
        ids = tokenizer(text)["input_ids"]
        assert any(ids[at : at + len(pieces)] == pieces for at in range(len(ids)))


def test_tags_and_template_words_are_one_token_each(made: tuple[Any, Inventor]) -> None:
    tokenizer, _ = made
    for text in (*TAGS, " capital", " country", " The", " missing", "\nDoc 3:"):
        assert len(tokenizer(text)["input_ids"]) == 1
    ids = tokenizer("<think> a</think>")["input_ids"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<think> a</think>"


@given(text=st.text(max_size=30))
@settings(max_examples=50)
def test_any_text_survives_the_tokenizer(made: tuple[Any, Inventor], text: str) -> None:
    tokenizer, _ = made
    if not any(tag in text for tag in ("<pad>", "<s>")):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def demonstrator(world: World, **given: float) -> Demonstrator:
    return Demonstrator(world, ENGINE, DemonstrationSettings(**given), EPISODE)


def test_nothing_of_another_split_is_in_the_warm_start(world: World, made: tuple[Any, Inventor]) -> None:
    others = {name for split in ("validation", "test") for name in load_atlas().world(split).entities}
    assert not others & set(world.entities)
    playing, rng = demonstrator(world, noise=0.5), random.Random(0)
    for number in range(300):
        shown = playing.play(world.questions[number], rng, practice=True)
        text = "".join(part for part, _ in shown.parts)
        lines = text.replace("<", " ").replace("\n", " . ")
        assert not [name for name in others if f" {name} " in lines or f" {name}." in lines or f" {name}," in lines]


def test_no_invented_word_is_of_a_held_out_name(world: World, made: tuple[Any, Inventor]) -> None:
    _, inventor = made
    rng = random.Random(0)
    names = {
        name for fact in world.facts.values() for name in (fact.entity.name, *fact.answers, fact.answer_in_sentence)
    }
    trained = {word.casefold() for name in names for word in WORD.findall(name)}
    others = {
        word.casefold()
        for split in ("validation", "test")
        for name in load_atlas().world(split).entities
        for word in WORD.findall(name)
    }
    assert {inventor.word(rng).casefold() for _ in range(200_000)} & (others - trained) == set()


def test_demonstrations_are_as_weak_as_they_are_said_to_be(world: World) -> None:
    playing, rng = demonstrator(world, ask_on=0.2, noise=0.0), random.Random(1)
    questions = [question for question in world.questions if question.metadata["hops"] == 2][:400]
    asked_on = [len(playing.play(question, rng, practice=False).parts) == 6 for question in questions]
    assert 0.13 < sum(asked_on) / len(asked_on) < 0.27
    assert all(len(playing.play(question, rng, practice=True).parts) == 6 for question in questions[:50])


def test_a_practised_chain_ends_in_the_right_answer(world: World) -> None:
    playing, rng = demonstrator(world, noise=0.0), random.Random(2)
    for number in range(50):
        question = world.questions[number]
        text, said = playing.play(question, rng, practice=True).parts[-1]
        assert said
        assert parse_action(text).content in {
            question.golden_answers[0],
            world.facts_of(question)[-1].answer_in_sentence,
        }


def test_practice_does_not_show_when_to_go_on(world: World, made: tuple[Any, Inventor]) -> None:
    tokenizer, inventor = made
    policy = Policy(make_model(ModelShape(), len(tokenizer), 0), tokenizer)
    playing, rng = demonstrator(world, ask_on=1.0, noise=0.0), random.Random(3)
    examples = _Examples(policy, lambda: playing.draw(rng, inventor), 4, rng)
    end, search, answer = tokenizer.convert_tokens_to_ids(["</think>", "<search>", "<answer>"])
    question = next(question for question in world.questions if question.metadata["hops"] == 2)
    for practice in (True, False):
        shown = playing.play(question, rng, practice=practice)
        ids, mask = examples.encode(shown)
        choices = {ids[at]: mask[at] for at in range(1, len(ids)) if ids[at - 1] == end}
        assert choices == {search: not practice, answer: True}
        said = [text for text, policy_said in shown.parts if policy_said]
        assert sum(mask) == sum(len(policy.codec.encode(text)) for text in said) - practice


def test_invented_names_replace_the_same_word_in_the_same_way(made: tuple[Any, Inventor]) -> None:
    _, inventor = made
    rename = inventor.renamer(random.Random(0))
    first = rename("The capital of Senegal is Dakar. +221 .sn")
    assert rename("The capital of Senegal is Dakar. +221 .sn") == first
    assert first.startswith("The capital of ")
    assert "Senegal" not in first
    assert "+221" not in first
    assert rename("no name of any kind is in here") == "no name of any kind is in here"


def test_recall_asks_for_what_is_listed(made: tuple[Any, Inventor]) -> None:
    shown = recall(random.Random(0), made[1])
    (listed, _), *asked = shown.parts
    assert len(asked) == 3
    for text, said in asked:
        fact = text.removeprefix("<think> ").partition("</think>")[0]
        assert said
        assert f"{fact}." in listed


def test_the_same_seed_makes_the_same_policy_and_it_loads(tmp_path: Path) -> None:
    small = WarmStartSettings(num_steps=2, model=ModelShape(width=32, layers="ca", head_width=16))
    rows: list[dict[str, Any]] = []
    one = warm_start(small, tmp_path / "one", report=rows.append, num_judged=8)
    other = warm_start(small, tmp_path / "other", num_judged=8)
    assert one.fingerprints() == other.fingerprints() == load_policy(tmp_path / "one").fingerprints()
    assert rows[-1]["step"] == 2
    record = json.loads((tmp_path / "one" / "warmstart.json").read_text())
    assert record["fingerprints"] == one.fingerprints()


@pytest.mark.parametrize(
    "make",
    [
        lambda: ModelShape(layers="xyz"),
        lambda: ModelShape(width=60),
        lambda: WarmStartSettings(num_steps=0),
        lambda: DemonstrationSettings(ask_on=2),
    ],
)
def test_bad_settings_are_refused(make: Any) -> None:
    with pytest.raises(ConfigError):
        make()


SHIPPED = Path(__file__).parents[3] / "agents" / "presets" / "quickstart_warmstart"


def test_the_shipped_warm_start_is_what_the_command_makes(world: World) -> None:
    """Its record names the default settings, today's questions, and these very weights."""
    record = json.loads((SHIPPED / "warmstart.json").read_text(encoding="utf-8"))
    assert record["settings"] == json.loads(json.dumps(asdict(WarmStartSettings())))
    assert record["questions"]["train"] == world.questions.fingerprint
    assert record["questions"]["validation"] == load_atlas().world("validation").questions.fingerprint
    policy = load_policy(SHIPPED)
    assert record["fingerprints"] == policy.fingerprints()
    remade, _ = make_tokenizer(world, ENGINE, ModelShape(), seed=0, topk=5)
    assert remade.get_vocab() == policy.tokenizer.get_vocab()
    assert sum(file.stat().st_size for file in SHIPPED.iterdir()) <= 10_000_000
