"""What `tune quantise` makes, knows of itself, and refuses."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.zs_env.tuning.tiny_models import save_model
from zs_env.__main__ import main
from zs_env.engines import make_engine
from zs_env.errors import ConfigError
from zs_env.files import write_json
from zs_env.serving.command import how_to_ask
from zs_env.tuning.quantising import QuantiseSettings, quantise
from zs_env.tuning.simulator_file import read_simulator, sidecar, simulation_options

pytest.importorskip("gguf")
pytest.importorskip("transformers")
pytest.importorskip("xllamacpp")

SIMULATOR: dict[str, Any] = {
    "schema": "zerosearch.tuned_simulator/1",
    "base_model": "runs/base",
    "persona": "Wikipedia",
    "style": None,
    "language": "English",
    "document_words": 25,
    "topk": 2,
    "prompts": {"sft_useful": "useful: {query}", "sft_noisy": "noisy: {query}"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save_model(tmp_path_factory.mktemp("made") / "model", "Llama", "smollm", width=256)
    (folder / "simulator.json").write_text(json.dumps(SIMULATOR))
    return folder


def test_a_file_knows_what_it_is_and_how_it_is_asked(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sim.gguf"
    made = quantise(folder, out, QuantiseSettings(to="gguf:q8_0"))
    beside = read_simulator(out)
    sidecar(out).unlink()
    inside = read_simulator(out)
    assert beside == inside
    assert inside == {**SIMULATOR, "quantisation": {"to": "gguf:q8_0", "source": made["source"]}}
    assert not made["done_before"]
    assert quantise(folder, out, QuantiseSettings(to="gguf:q8_0"))["done_before"]
    with pytest.raises(ConfigError, match=r"'sim.gguf' is there already, and was made otherwise \(to 'gguf:q8_0', not"):
        quantise(folder, out, QuantiseSettings(to="gguf:f16"))


def test_a_verdict_is_of_the_file_that_was_asked_alone(folder: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(folder, model)
    write_json(model / "simulator.json", SIMULATOR)
    quantise(model, tmp_path / "before.gguf", QuantiseSettings(to="gguf:q8_0"))
    write_json(model / "simulator.json", {**SIMULATOR, "gate": {"accepted": True}})
    assert quantise(model, tmp_path / "before.gguf", QuantiseSettings(to="gguf:q8_0"))["done_before"]
    quantise(model, tmp_path / "after.gguf", QuantiseSettings(to="gguf:q4_0"))
    assert "gate" not in (read_simulator(tmp_path / "after.gguf") or {"gate": None})


def test_what_others_made_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sim.gguf").write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match=r"wasn't made by this command|can't be read"):
        quantise(folder, tmp_path / "sim.gguf", QuantiseSettings(to="gguf:f16"))
    assert (tmp_path / "sim.gguf").read_bytes() == b"GGUF"


def test_a_file_becomes_another_as_if_made_of_the_folder(folder: Path, tmp_path: Path) -> None:
    import gguf
    import numpy as np

    for name, source in (("f32", folder), ("q4_k_m", folder)):
        quantise(source, tmp_path / f"{name}.gguf", QuantiseSettings(to=f"gguf:{name}"))
    quantise(tmp_path / "f32.gguf", tmp_path / "again.gguf", QuantiseSettings(to="gguf:q4_k_m"))
    first, again = (gguf.GGUFReader(tmp_path / f"{name}.gguf") for name in ("q4_k_m", "again"))
    assert [each.name for each in first.tensors] == [each.name for each in again.tensors]
    for one, other in zip(first.tensors, again.tensors, strict=True):
        assert one.tensor_type == other.tensor_type
        assert np.array_equal(one.data, other.data), one.name
    for key in ("tokenizer.ggml.tokens", "tokenizer.ggml.merges", "llama.rope.freq_base", "general.file_type"):
        assert first.fields[key].contents() == again.fields[key].contents()
    with pytest.raises(ConfigError, match=r"quantised already \(Q4_K, Q6_K\)"):
        quantise(tmp_path / "again.gguf", tmp_path / "x.gguf", QuantiseSettings(to="gguf:q8_0"))


def test_a_converter_is_run_and_its_last_words_are_told(folder: Path, tmp_path: Path) -> None:
    quantise(folder, tmp_path / "f32.gguf", QuantiseSettings(to="gguf:f32"))
    converter = tmp_path / "convert_hf_to_gguf.py"
    copies = (
        f"import shutil, sys; shutil.copy({str(tmp_path / 'f32.gguf')!r}, sys.argv[sys.argv.index('--outfile') + 1])"
    )
    converter.write_text(copies)
    settings = QuantiseSettings(to="gguf:q8_0", converter=str(converter))
    assert quantise(folder, tmp_path / "c.gguf", settings)["bytes"] > 0
    assert (read_simulator(tmp_path / "c.gguf") or {})["persona"] == "Wikipedia"
    converter.write_text("raise SystemExit('no such architecture')")
    with pytest.raises(ConfigError, match="no such architecture"):
        quantise(folder, tmp_path / "d.gguf", settings)
    assert not list(tmp_path.glob(".*")), "nothing is left behind"


COMPRESSOR = """
import json, pathlib, sys
given = dict(zip(sys.argv[2::2], sys.argv[3::2]))
out = pathlib.Path(given["--out"])
if given["--scheme"] == "awq": raise SystemExit("no GPU")
(out / "config.json").write_text(json.dumps({"quantization_config": {"quant_method": "compressed-tensors"}}))
(out / "given.json").write_text(json.dumps(given))
"""


@pytest.fixture
def compressor(tmp_path: Path) -> str:
    """A Python with an llmcompressor that writes down what it was given."""
    (tmp_path / "llmcompressor").mkdir()
    (tmp_path / "llmcompressor" / "__init__.py").touch()
    (tmp_path / "compressor.py").write_text(COMPRESSOR)
    python = tmp_path / "python"
    python.write_text(
        f'#!/bin/sh\nexport PYTHONPATH={tmp_path}\ncase "$1" in -c) exec {sys.executable} "$@";; '
        f'*) exec {sys.executable} {tmp_path}/compressor.py "$@";; esac\n'
    )
    python.chmod(0o755)
    return str(python)


def test_gpu_formats_are_llm_compressors(folder: Path, tmp_path: Path, compressor: str) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text("{}\n")
    quantise(folder, tmp_path / "fp8", QuantiseSettings(to="fp8", python=compressor))
    settings = QuantiseSettings(to="gptq", python=compressor, data=str(data))
    quantise(folder, tmp_path / "gptq", settings)
    given = json.loads((tmp_path / "gptq" / "given.json").read_text())
    assert (given["--scheme"], given["--group-size"], given["--samples"]) == ("gptq", "128", "128")
    assert "--data" not in json.loads((tmp_path / "fp8" / "given.json").read_text())
    for name in ("tokenizer.json", "chat_template.jinja"):
        assert (tmp_path / "gptq" / name).read_bytes() == (folder / name).read_bytes()
    assert (read_simulator(tmp_path / "gptq") or {})["quantisation"]["group_size"] == 128
    assert quantise(folder, tmp_path / "gptq", settings)["done_before"]
    with pytest.raises(ConfigError, match=r"made no model; awq.log ends:\nno GPU"):
        quantise(folder, tmp_path / "awq", QuantiseSettings(to="awq", python=compressor, data=str(data)))
    assert not (tmp_path / "awq").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"to": "int3"}, "must be one of gguf:f32.*awq; got 'int3'"),
        ({"to": "gptq"}, "give examples as data"),
        ({"to": "fp8", "data": "x"}, "takes no examples"),
        ({"to": "fp8", "converter": "x"}, "has no converter"),
        ({"to": "awq", "data": "x", "group_size": 48}, "group_size must be 32, 64 or 128"),
        ({"to": "fp8", "samples": 0}, "samples must be a whole number"),
    ],
)
def test_settings_that_mean_nothing(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        QuantiseSettings(**given)


def test_the_command(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["tune", "quantise", "--model", str(folder), "--to", "gguf:f16", "--out", str(tmp_path / "s.gguf")]
    assert main([*command, "--json", str(tmp_path / "made.json")]) == 0
    assert main(command) == 0
    assert capsys.readouterr().out.count("gguf:f16") == 2
    assert json.loads((tmp_path / "made.json").read_text())["to"] == "gguf:f16"
    assert main([*command[:3], str(tmp_path / "none"), *command[4:]]) == 2
    assert main([*command[:5], "fp8", "--out", str(tmp_path / "fp8")]) == 2
    assert "needs the package 'llmcompressor'" in capsys.readouterr().err


def test_a_simulator_is_asked_as_it_learnt(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "sim.gguf"
    quantise(folder, out, QuantiseSettings(to="gguf:q4_0"))
    asked = make_engine("simulate_sft", simulation_llm=str(out))
    assert (asked.settings.persona, asked.settings.document_words) == ("Wikipedia", 25)
    assert asked.settings.prompts == SIMULATOR["prompts"]
    other = make_engine("simulate_sft", simulation_llm=str(out), persona="Google")
    assert (other.settings.persona, other.settings.document_words) == ("Google", 25), "what is given comes first"
    assert asked.fingerprint != other.fingerprint
    assert make_engine("simulate_prompt", simulation_llm=str(out)).settings.persona == "Google", "it isn't prompted so"
    served = make_engine("simulate_sft", base_url="http://127.0.0.1:9/v1", simulator=str(folder))
    assert served.settings == asked.settings
    assert f"topk=2, search_options={{'simulator': {str(out)!r}}}" in how_to_ask(str(out), "http://127.0.0.1:9/v1")
    assert how_to_ask("smollm2", "http://127.0.0.1:9/v1") == ""
    with pytest.raises(ConfigError, match="there are no settings of one"):
        make_engine("simulate_sft", base_url="http://127.0.0.1:9/v1", simulator=str(tmp_path))


def test_settings_of_another_version_are_refused(tmp_path: Path) -> None:
    (tmp_path / "simulator.json").write_text('{"schema": "zerosearch.tuned_simulator/9"}')
    with pytest.raises(ConfigError, match=r"must be of zerosearch.tuned_simulator/1; it says '.*/9'"):
        read_simulator(tmp_path)
    (tmp_path / "simulator.json").write_text("{")
    with pytest.raises(ConfigError, match="can't be read"):
        read_simulator(tmp_path)
    assert simulation_options(None) == {}
