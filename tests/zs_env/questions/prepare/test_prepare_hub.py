import json

import pytest

from tests.zs_env.questions.asking import Asking
from tests.zs_env.questions.small_hub import SmallHub
from zs_env.questions.prepare.presets import FLASHRAG

pytest.importorskip("datasets", reason="the hub's data sets are read by datasets")
pq = pytest.importorskip("pyarrow.parquet")
pa = pytest.importorskip("pyarrow")

TEST = {
    "nq": ["who wrote the phantom of the opera music"],
    "triviaqa": ["Which river runs through Cairo?"],
    "popqa": ["What is Rex Ryan's occupation?"],
    "hotpotqa": ["Were Scott Derrickson and Ed Wood of the same nationality?"],
    "2wikimultihopqa": ["Who is the mother of the director of the film Polish-Russian War?"],
    "musique": ["Who is the spouse of the Green performer?"],
    "bamboogle": ["Who was president when superconductivity was discovered?"],
}


def flashrag_files(with_card=True):
    """A small collection with the real one's configurations, splits and columns."""
    files, card = {}, ["---", "license: cc-by-sa-4.0", "configs:"]
    for name, split in FLASHRAG.items():
        own = "2hop__1_2" if name == "musique" else f"{split}_0"
        extra = {"type": "bridge_comparison" if name == "2wikimultihopqa" else "x", "context": {"title": ["T"] * 3}}
        rows = [{"id": own, "question": text, "golden_answers": ["A", "B"], "metadata": extra} for text in TEST[name]]
        files[f"{name}/{split}.jsonl"] = "".join(json.dumps(row) + "\n" for row in rows)
        card += [f"- config_name: {name}", "  data_files:", f"  - split: {split}", f"    path: {name}/{split}.jsonl"]
    return {**files, "README.md": "\n".join([*card, "---", "# FlashRAG", ""])}


def zerosearch_row(at, question, answer, data_source="nq"):
    return {
        "id": f"train_{at}",
        "question": question,
        "golden_answers": [answer],
        "data_source": data_source,
        "prompt": [{"role": "user", "content": f"Answer the given question. Question: {question}"}],
        "ability": "fact-reasoning",
        "reward_model": {"style": "rule", "ground_truth": {"target": [answer]}},
        "extra_info": {"index": at, "split": "train"},
    }


def parquet_bytes(tmp_path, rows):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    with SmallHub() as small:
        rows = [
            zerosearch_row(0, "who wrote the music phantom of the opera", "A"),  # nearly NQ's
            zerosearch_row(1, "who is the mother of the director of the film polish russian war", "C", "hotpotqa"),
            zerosearch_row(2, "who painted the night watch", "Rembrandt"),
            zerosearch_row(3, "where was Rembrandt born", "Leiden"),
        ]
        data = parquet_bytes(tmp_path_factory.mktemp("rows"), rows)
        small.add(
            "sunhaonlp/ZeroSearch_dataset", {"README.md": "---\nlicense: apache-2.0\n---\n", "train.parquet": data}
        )
        small.add("RUC-NLPIR/FlashRAG_datasets", flashrag_files())
        yield small


@pytest.fixture(scope="module")
def asking(hub, tmp_path_factory):
    with Asking(hub.environment(tmp_path_factory.mktemp("home"))) as process:
        yield process


def read(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_the_articles_data_free_of_its_seven_test_sets(hub, asking, tmp_path):
    arguments = ("--from", "zerosearch", "--split", "train", "--against", "flashrag", "--name", "ZeroSearch")
    out = tmp_path / "out"
    status, told, err = asking.prepare(*arguments, "--out", out)
    assert (status, err) == (0, "")
    assert "evaluation exact: 1" in told
    assert [row["id"] for row in read(out / "train.jsonl")] == ["nq-train_2", "nq-train_3"]
    removed = {row["id"]: row for row in read(out / "removed.jsonl")}
    assert removed["nq-train_0"]["why"] == "evaluation_near"
    assert removed["nq-train_0"]["repeats"]["source"] == "hf:RUC-NLPIR/FlashRAG_datasets:nq (test)"
    assert removed["hotpotqa-train_1"]["why"] == "evaluation_exact"
    assert removed["hotpotqa-train_1"]["repeats"]["data_source"] == "2wikimultihopqa"
    record = json.loads((out / "prepared.json").read_text())
    commit = hub.repositories["sunhaonlp/ZeroSearch_dataset"].refs["main"]
    assert (record["sources"][0]["commit"], record["sources"][0]["licence"]) == (commit, "apache-2.0")
    assert [told["split"] for told in record["against"]] == list(FLASHRAG.values())
    assert 'license: "apache-2.0"' in (out / "README.md").read_text()
    status, told, _ = asking.prepare(*arguments, "--no-streaming", "--out", out)  # reads the same
    assert (status, "holds this preparation already" in told) == (0, True)
    copied = tmp_path / "copied"
    assert asking.prepare(*arguments, "--no-streaming", "--out", copied).status == 0
    assert (copied / "train.jsonl").read_bytes() == (out / "train.jsonl").read_bytes()


def test_the_seven_test_sets_stay_as_they_are(asking, tmp_path):
    assert asking.prepare("--from", "flashrag", "--drop", "holds_answer", "--out", tmp_path / "out").status == 0
    rows = read(tmp_path / "out" / "test.jsonl")
    assert [row["data_source"] for row in rows] == list(FLASHRAG)
    assert [row["id"] for row in rows][:4] == ["nq-test_0", "triviaqa-test_0", "popqa-test_0", "hotpotqa-dev_0"]
    assert {row["data_source"]: row["hops"] for row in rows} == {
        "nq": 1, "triviaqa": 1, "popqa": 1, "hotpotqa": 2, "2wikimultihopqa": 4, "musique": 2, "bamboogle": 2,
    }  # fmt: skip
    assert not (tmp_path / "out" / "train.jsonl").exists()


def test_a_source_that_moved_on_is_told(hub, asking, tmp_path):
    rows = [{"question": f"what is number {at}", "answer": str(at)} for at in range(3)]
    files = {"train.jsonl": "".join(json.dumps(row) + "\n" for row in rows)}
    first = hub.add("owner/growing", files)
    out = tmp_path / "out"
    newest, pinned = ("--from", "hf:owner/growing"), ("--from", "hf:owner/growing", "--revision", first)
    assert asking.prepare(*newest, "--out", out).status == 0
    assert asking.prepare(*pinned, "--out", tmp_path / "pinned").status == 0
    second = hub.add("owner/growing", {"train.jsonl": files["train.jsonl"] * 2})
    status, _, err = asking.prepare(*newest, "--out", out)
    assert status == 2
    assert f"it was at {first}, and is at {second} now" in err
    assert f"hf:owner/growing@{first}" in err
    assert "nothing was done" in asking.prepare(*pinned, "--out", tmp_path / "pinned").out
    assert asking.prepare(*newest, "--force", "--out", out).status == 0
    assert json.loads((out / "prepared.json").read_text())["sources"][0]["commit"] == second
    assert asking.prepare(*pinned, "--out", tmp_path / "again").status == 0
    written = [(tmp_path / name / "train.jsonl").read_bytes() for name in ("pinned", "again")]
    assert written[0] == written[1]


def test_a_preparation_is_there_though_the_hub_is_not(hub, asking, tmp_path):
    arguments = ("--from", "zerosearch", "--split", "train", "--limit", "2", "--out", tmp_path / "out")
    assert asking.prepare(*arguments).status == 0
    hub.fail["/api/datasets"] = 503
    try:
        status, told, _ = asking.prepare(*arguments)
    finally:
        hub.fail.clear()
    assert status == 0
    assert "nothing was done" in told
    assert "isn't known: The hub at" in told


def test_streaming_reads_no_more_than_is_asked_for(hub, asking, tmp_path):
    text = "".join(json.dumps({"question": f"what is number {at}", "answer": str(at)}) + "\n" for at in range(20_000))
    hub.add("owner/large", {f"data/train-{part}.jsonl": text for part in range(4)})
    hub.requests.clear()
    assert asking.prepare("--from", "hf:owner/large", "--limit", "5", "--out", tmp_path / "out").status == 0
    assert len(read(tmp_path / "out" / "train.jsonl")) == 5
    read_parts = {path.rpartition("/")[2] for verb, path, _ in hub.requests if verb == "GET" and "resolve" in path}
    assert read_parts == {"train-0.jsonl"}
