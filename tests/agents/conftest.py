"""Small real things that the tests of `agents` share: a byte-level tokenizer, tiny models, a world with its engine."""

from __future__ import annotations

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from agents.policy import Policy
from agents.testing import MODELS, byte_tokenizer, tiny_lfm2
from zs_env.types import Document, Question, SearchRequest, SearchResult


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return byte_tokenizer()


@pytest.fixture(params=sorted(MODELS))
def model(request: pytest.FixtureRequest) -> torch.nn.Module:
    return MODELS[request.param]()


@pytest.fixture
def tiny_policy(tokenizer: PreTrainedTokenizerFast) -> Policy:
    return Policy(tiny_lfm2(), tokenizer)


CAPITALS = {"Dolmira": "Karthen", "Ostavia": "Brunnel", "Velloria": "Sammet", "Quandor": "Tilbra"}


class CapitalEngine:
    """A deterministic engine that never waits: useful replies hold the fact that the query asks for."""

    name = "capitals"

    def __init__(self) -> None:
        self.requests: list[SearchRequest] = []

    def search_now(self, requests: list[SearchRequest]) -> list[SearchResult]:
        self.requests.extend(requests)
        return [self._reply(request) for request in requests]

    async def search(self, requests: list[SearchRequest]) -> list[SearchResult]:
        return self.search_now(requests)

    def _reply(self, request: SearchRequest) -> SearchResult:
        found = [country for country in CAPITALS if country in request.query]
        others = [country for country in CAPITALS if country not in found]
        shown = (found if request.quality == "useful" else []) + others[request.seed % 3 :][:1]
        documents = [Document(f"The capital of {country} is {CAPITALS[country]}.") for country in shown]
        supports = bool(found) and request.quality == "useful"
        return SearchResult(documents=tuple(documents[: request.topk]), engine=self.name, supports_query=supports)


@pytest.fixture
def engine() -> CapitalEngine:
    return CapitalEngine()


@pytest.fixture
def questions() -> list[Question]:
    return [
        Question(
            id=f"capital-{country}",
            question=f"What is the capital of {country}?",
            golden_answers=(capital,),
            metadata={"hops": 1},
        )
        for country, capital in CAPITALS.items()
    ]
