"""Requests to a served model become batches: how many texts at once, who waits, who is refused."""

import asyncio
import threading

import pytest

from steady_bert.serving.batching import Batcher, QueueFullError


class Asked:
    def __init__(self, number, tokens=1):
        self.number, self.tokens = number, tokens


class Model:
    """Answers a request with its number, doubled. Notes the batches; the first waits until `go` is set."""

    def __init__(self):
        self.batches = []
        self.go = threading.Event()

    def answer(self, asked):
        self.batches.append([each.number for each in asked])
        self.go.wait(10)
        if any(each.number < 0 for each in asked):
            raise RuntimeError("broken")
        return [[2 * each.number] for each in asked]


def batched(model, requests, **limits):
    """The answers, or errors, to requests of which all but the first come while the model works on the first."""
    settings = dict(batch_tokens=10, batch_wait_ms=0.0, max_queued_texts=100, note=lambda texts, secs: None)

    async def scenario():
        batcher = Batcher(model.answer, **dict(settings, **limits))
        running = asyncio.ensure_future(batcher.run())
        futures = [batcher.ask(requests[0], 1)]
        while not model.batches:
            await asyncio.sleep(0.001)
        for request in requests[1:]:
            try:
                futures.append(batcher.ask(request, 1))
            except QueueFullError as error:
                futures.append(asyncio.sleep(0, error))
        model.go.set()
        results = await asyncio.gather(*futures, return_exceptions=True)
        running.cancel()
        return results

    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(scenario())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def test_requests_that_come_while_the_model_works_are_one_batch_up_to_its_tokens():
    model = Model()
    answers = batched(model, [Asked(0)] + [Asked(n, tokens=3) for n in range(1, 6)] + [Asked(6, tokens=50), Asked(7)])
    assert answers == [[2 * n] for n in range(8)]
    assert model.batches == [[0], [1, 2, 3], [4, 5], [6], [7]]


def test_a_full_queue_refuses_and_a_batch_that_fails_stops_no_other():
    model = Model()
    answers = batched(model, [Asked(0), Asked(-1), Asked(2), Asked(3), Asked(4)], max_queued_texts=3, batch_tokens=2)
    assert [type(each).__name__ for each in answers] == [
        "list",
        "RuntimeError",
        "RuntimeError",
        "list",
        "QueueFullError",
    ]
    assert model.batches == [[0], [-1, 2], [3]] and str(answers[-1]) == "3 texts are waiting. Try again later."


def test_a_batch_waits_for_as_many_requests_as_the_one_before_had():
    model = Model()

    async def scenario():
        batcher = Batcher(model.answer, 100, 5000.0, 100, lambda texts, secs: None)
        running = asyncio.ensure_future(batcher.run())
        model.go.set()
        loop = asyncio.get_event_loop()
        started = loop.time()
        await batcher.ask(Asked(1), 1)
        alone = loop.time() - started  # nobody came with it before
        await asyncio.gather(batcher.ask(Asked(2), 1), batcher.ask(Asked(3), 1))
        loop.call_later(0.02, batcher.ask, Asked(5), 1)
        await batcher.ask(Asked(4), 1)
        running.cancel()
        return alone

    loop = asyncio.new_event_loop()
    try:
        asyncio.set_event_loop(loop)
        alone = loop.run_until_complete(scenario())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
    assert alone < 2.5 and model.batches == [[1], [2, 3], [4, 5]]


def test_texts_that_are_being_prepared_count_as_waiting():
    async def scenario():
        batcher = Batcher(Model().answer, 10, 0.0, 3, lambda texts, secs: None)
        with batcher.holding(2), pytest.raises(QueueFullError, match="2 texts are waiting"):
            batcher.require_room(2)
        batcher.require_room(3)

    asyncio.run(scenario())
