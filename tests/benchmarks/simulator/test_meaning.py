from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

from benchmarks.simulator.meaning import Meaning
from zs_env.errors import ConfigError


def test_meaning_by_hand(tmp_path: Path) -> None:
    (tmp_path / "tokenizers").mkdir()
    (tmp_path / "weights").mkdir()
    vocabulary = {"[UNK]": 0, "king": 1, "queen": 2, "bread": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizers" / "l2_supercat_tokenizer_config.json"))
    table = np.array([[0, 0], [3, 0], [3, 4], [0, 2]], dtype=np.float16)
    save_file({"embedding.weight": table}, tmp_path / "weights" / "l2_supercat_256.safetensors")
    meaning = Meaning(tmp_path)
    # queen is (3, 4) / 5; king and bread are (1.5, 1) / √3.25; unknown words and no words are nothing.
    assert meaning("king", ["queen", "bread", "king bread", "tea", ""]) == pytest.approx(
        [0.6, 0, 0.83205, 0, 0], abs=1e-4
    )


def test_other_releases_of_the_package_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no tokenizers/.*--no-meaning"):
        Meaning(tmp_path)
