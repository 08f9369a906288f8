import threading
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import CancelledError, Future
from typing import Any

import pytest

from agents.codec import TextCodec
from agents.errors import NonFiniteError
from agents.samplers import (
    Generation,
    GenerationRequest,
    PublishedSampler,
    SamplingSettings,
    ScriptedEngine,
    StreamingSampler,
)
from agents.samplers.stepping import Ended, SteppedSampler
from agents.testing import byte_tokenizer
from zs_env.errors import ConfigError

CODEC = TextCodec(byte_tokenizer())


def ask(text: str, most: int = 100) -> GenerationRequest:
    return GenerationRequest(prompt_ids=CODEC.encode(text), seed=0, max_new_tokens=most)


class Gated(ScriptedEngine):
    """An engine whose steps wait for `permits`, so that a test says what happens when."""

    def __init__(self, script: Callable[[str], str], **options: Any) -> None:
        super().__init__(CODEC, script, **options)
        self.permits = threading.Semaphore(0)
        self.num_steps = 0

    def step(self) -> list[tuple[str, Ended | Exception]]:
        assert self.permits.acquire(timeout=20)
        self.num_steps += 1
        return super().step()

    def go(self, steps: int = 10_000) -> None:
        self.permits.release(steps)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_a_request_joins_while_another_is_under_way_and_may_end_before_it() -> None:
    engine = Gated(lambda said: "a long text" if said == "long" else "ab")
    sampler = SteppedSampler(engine, CODEC)
    assert isinstance(sampler, StreamingSampler)
    assert isinstance(sampler, PublishedSampler)
    long = sampler.submit(ask("long"))
    engine.go(3)
    wait_for(lambda: engine.num_steps == 3)
    short = sampler.submit(ask("short"))
    engine.go(3)
    assert short.result(20).text == "ab"
    assert not long.done()
    engine.go()
    assert long.result(20).text == "a long text"
    assert engine.events == [("add", "0"), ("add", "1"), ("end", "1"), ("end", "0")]
    sampler.close()


def test_what_comes_out_is_what_the_engine_said_and_in_the_order_of_requests() -> None:
    sampler = SteppedSampler(ScriptedEngine(CODEC, lambda said: said * len(said), logprob=-0.5), CODEC)
    first, second = sampler.generate([ask("abc"), ask("x")])
    assert first == Generation(
        ids=tuple(CODEC.encode("abcabcabc")),
        logprobs=(-0.5,) * 9,
        finish_reason="stop",
        weight_version=0,
        text="abc" * 3,
    )
    assert second.text == "x"
    (cut,) = sampler.generate([ask("abc", most=4)])
    assert (cut.text, cut.finish_reason) == ("abca", "length")
    sampler.close()


def test_the_end_of_turn_token_is_in_the_ids_and_not_in_the_text() -> None:
    class Ending(ScriptedEngine):
        def step(self) -> list[tuple[str, Ended | Exception]]:
            (key,) = self._left
            return [(key, Ended(ids=(65, 66, 256), logprobs=(-1.0, -2.0, -3.0), finish_reason="eos"))]

    sampler = SteppedSampler(Ending(CODEC, str.upper), CODEC)
    (generation,) = sampler.generate([ask("x")])
    assert (generation.ids, generation.text) == ((65, 66, 256), CODEC.decode([65, 66]))
    sampler.close()


def test_new_weights_wait_for_requests_under_way_and_later_requests_wait_for_them() -> None:
    engine = Gated(lambda said: "words")
    sampler = SteppedSampler(engine, CODEC)
    early = [sampler.submit(ask("a")), sampler.submit(ask("b"))]
    engine.go(1)
    wait_for(lambda: engine.num_steps == 1)
    publishing = threading.Thread(target=lambda: sampler.publish_weights([("w", None)], 3))  # type: ignore[list-item]
    publishing.start()
    wait_for(lambda: len(sampler._thread._inbox) == 1)
    late = sampler.submit(ask("c"))
    engine.go()
    assert [future.result(20).weight_version for future in [*early, late]] == [0, 0, 3]
    publishing.join()
    assert sampler.weight_version == 3
    kinds = [event[0] for event in engine.events]
    assert kinds == ["add", "add", "end", "end", "load", "add", "end"]
    sampler.close()


def test_weights_that_cannot_be_taken_are_the_publisher_s_error_and_no_new_version() -> None:
    class Refusing(ScriptedEngine):
        def load(self, named_tensors: Iterable[tuple[str, Any]]) -> None:
            raise OSError("no room")

    sampler = SteppedSampler(Refusing(CODEC, str), CODEC)
    with pytest.raises(OSError, match="no room"):
        sampler.publish_weights([], 1)
    assert sampler.weight_version == 0
    assert sampler.generate([ask("a")])[0].weight_version == 0
    sampler.close()


def test_a_request_that_is_cancelled_is_dropped_and_the_others_go_on() -> None:
    engine = Gated(lambda said: said * 3)
    sampler = SteppedSampler(engine, CODEC)
    futures = [sampler.submit(ask(text)) for text in "ab"]
    engine.go(1)
    wait_for(lambda: engine.num_steps == 1)
    assert futures[0].cancel()
    engine.go()
    assert futures[1].result(20).text == "bbb"
    assert ("drop", "0") in engine.events
    assert ("end", "0") not in engine.events
    sampler.close()


def test_a_request_that_cannot_be_dropped_ends_unheard_and_the_others_go_on() -> None:
    class Stubborn(Gated):
        def drop(self, keys: Collection[str]) -> None:
            raise RuntimeError("not now")

    engine = Stubborn(lambda said: said * 3)
    sampler = SteppedSampler(engine, CODEC)
    futures = [sampler.submit(ask(text)) for text in "ab"]
    engine.go(1)
    wait_for(lambda: engine.num_steps == 1)
    assert futures[0].cancel()
    engine.go()
    assert futures[1].result(20).text == "bbb"
    assert sampler.generate([ask("c")])[0].text == "ccc"
    sampler.close()


def test_a_request_that_the_engine_refuses_fails_alone() -> None:
    class Choosy(ScriptedEngine):
        def add(self, key: str, request: GenerationRequest, settings: SamplingSettings) -> None:
            if CODEC.decode(list(request.prompt_ids)) == "bad":
                raise ValueError("too long")
            super().add(key, request, settings)

    sampler = SteppedSampler(Choosy(CODEC, str.upper), CODEC)
    bad, good = sampler.submit(ask("bad")), sampler.submit(ask("good"))
    assert good.result(20).text == "GOOD"
    assert isinstance(bad.exception(20), ValueError)
    sampler.close()


def test_a_step_that_fails_fails_what_is_under_way_and_later_requests_are_served() -> None:
    class Stumbling(Gated):
        def step(self) -> list[tuple[str, Ended | Exception]]:
            ended = super().step()
            if self.num_steps == 2:
                raise RuntimeError("out of memory")
            return ended

        def drop(self, keys: Collection[str]) -> None:
            super().drop(keys)
            raise RuntimeError("and confused")

    engine = Stumbling(lambda said: said * 3)
    sampler = SteppedSampler(engine, CODEC)
    futures = [sampler.submit(ask(text)) for text in "ab"]
    engine.go()
    assert {str(future.exception(20)) for future in futures} == {"out of memory"}
    assert sampler.generate([ask("c")])[0].text == "ccc"
    sampler.close()


@pytest.mark.parametrize("logprob", [float("nan"), float("-inf")])
def test_a_log_prob_that_is_not_finite_is_told_as_what_it_is(logprob: float) -> None:
    sampler = SteppedSampler(ScriptedEngine(CODEC, str, logprob=logprob), CODEC)
    with pytest.raises(NonFiniteError, match=r"drew 1 of 1 tokens with a log-prob that isn't finite"):
        sampler.generate([ask("a")])
    sampler.close()


def test_settings_go_with_each_request_and_the_engine_is_shared() -> None:
    seen: list[bool] = []

    class Noting(ScriptedEngine):
        def add(self, key: str, request: GenerationRequest, settings: SamplingSettings) -> None:
            seen.append(settings.greedy)
            super().add(key, request, settings)

    sampler = SteppedSampler(Noting(CODEC, str), CODEC)
    greedy = sampler.with_settings(SamplingSettings(greedy=True))
    sampler.generate([ask("a")])
    greedy.generate([ask("a")])
    sampler.publish_weights([], 2)
    assert seen == [False, True]
    assert greedy.weight_version == 2
    sampler.close()


def test_closing_gives_up_what_is_under_way_and_no_request_is_taken_after() -> None:
    engine = Gated(lambda said: said * 10)
    sampler = SteppedSampler(engine, CODEC)
    running: Future[Generation] = sampler.submit(ask("a"))
    engine.go(1)
    wait_for(lambda: engine.num_steps == 1)
    closing = threading.Thread(target=sampler.close)
    closing.start()
    engine.go()
    closing.join(20)
    with pytest.raises(CancelledError):
        running.result(20)
    assert engine.events[-1] == ("close",)
    sampler.close()  # once is enough
    with pytest.raises(ConfigError, match="closed"):
        sampler.submit(ask("b"))
