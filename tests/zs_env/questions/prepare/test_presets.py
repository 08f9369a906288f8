import re
from pathlib import Path

import pytest

from zs_env.errors import ConfigError
from zs_env.questions.prepare import Source, expand
from zs_env.questions.prepare.presets import FLASHRAG, HOPS
from zs_env.questions.prepare.settings import FLAGS

PAGE = Path(__file__).parents[4] / "docs" / "data.md"


def test_flashrag_is_the_seven_sets_with_the_split_that_is_tested_on():
    sources = expand(Source(place="flashrag"))
    assert [(source.data_source, source.split, source.into) for source in sources] == [
        (name, split, "test") for name, split in FLASHRAG.items()
    ]
    assert sources == expand(Source(place="flashrag", split="test"))


def test_flashrag_to_train_on_is_the_sets_that_have_such_questions():
    sources = expand(Source(place="flashrag@v1", split="train", into="dev"))
    assert [source.data_source for source in sources] == ["nq", "triviaqa", "hotpotqa", "2wikimultihopqa", "musique"]
    assert {(source.split, source.into) for source in sources} == {("train", "dev")}
    assert sources[0].place == "hf:RUC-NLPIR/FlashRAG_datasets:nq@v1"


def test_other_places_stay():
    source = Source(place="flashrag.jsonl", split="train")
    assert expand(source) == (source,)
    assert expand(Source(place="zerosearch@v1"))[0].place == "hf:sunhaonlp/ZeroSearch_dataset@v1"
    with pytest.raises(ConfigError, match=r"flashrag has nq, .*; got 'squad'"):
        expand(Source(place="flashrag:squad"))


def test_the_documents_say_so():
    page = PAGE.read_text(encoding="utf-8")
    table = re.findall(r"^\| `(\w+)` \| (test|dev) \| (.+) \|$", page, re.MULTILINE)
    assert table == [(name, split, str(HOPS.get(name, "by its id"))) for name, split in FLASHRAG.items()]
    assert all(f"`{flag}`" in page for flag in FLAGS)
