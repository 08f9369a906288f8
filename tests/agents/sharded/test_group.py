"""The store that learners meet at."""

from __future__ import annotations

import sys

import pytest

from agents.sharded import connect_store, make_store
from tests.agents.sharded.scenarios import listening


@pytest.mark.skipif(sys.platform != "linux", reason="reads Linux' table of sockets")
def test_a_store_listens_on_its_own_address_alone() -> None:
    before = listening()
    store = make_store("127.0.0.1")
    found = listening()
    for address in before:
        found.remove(address)
    assert found == ["0100007F"]
    assert store.port > 0


def test_who_connects_finds_what_others_have_left() -> None:
    store = make_store("127.0.0.1", timeout_s=20)
    store.set("question", "who?")
    assert connect_store("127.0.0.1", store.port, timeout_s=20).get("question") == b"who?"
