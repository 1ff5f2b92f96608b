"""Requests that arrive together become one batch. Runs in the event loop; the model runs in a thread beside it."""

import asyncio
import collections
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Awaitable, Callable, Deque, Iterator, List, NamedTuple, Sequence

from .predictor import Prepared


class QueueFullError(Exception):
    """There is no room for a request; the message says how many texts wait."""


class _Waiting(NamedTuple):
    asked: Prepared
    texts: int
    future: "asyncio.Future[List[Any]]"


class Batcher:
    """Collects requests while the model computes, and gives it all that wait, up to `batch_tokens`, as one batch.

    If the batch before held several requests, it waits for as many, at most batch_wait_ms: a request that comes alone
    is not kept waiting. A request with more tokens is a batch of its own. At most max_queued_texts wait.

    answer(requests) gives the answers to each; it is called in a thread, for one batch at a time.
    note(texts, secs) is told of each batch.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Prepared]], List[List[Any]]],
        batch_tokens: int,
        batch_wait_ms: float,
        max_queued_texts: int,
        note: Callable[[int, float], None],
    ) -> None:
        self._answer = answer
        self._batch_tokens = batch_tokens
        self._wait_secs = batch_wait_ms / 1000.0
        self._max_queued_texts = max_queued_texts
        self._note = note
        self._waiting: Deque[_Waiting] = collections.deque()
        self._arrived = asyncio.Event()
        self._before = 1  # number of requests in the batch before
        self.queued_texts = 0

    def ask(self, asked: Prepared, texts: int) -> Awaitable[List[Any]]:
        """The answers to a request of so many texts, once they are computed. Raises QueueFullError at once."""
        self.require_room(texts)
        future: "asyncio.Future[List[Any]]" = asyncio.get_event_loop().create_future()
        self._waiting.append(_Waiting(asked, texts, future))
        self.queued_texts += texts
        self._arrived.set()
        return future

    @contextlib.contextmanager
    def holding(self, texts: int) -> Iterator[None]:
        """Within it, so many texts that are still being prepared count as waiting. Raises QueueFullError at once."""
        self.require_room(texts)
        self.queued_texts += texts
        try:
            yield
        finally:
            self.queued_texts -= texts

    def require_room(self, texts: int) -> None:
        """Raises QueueFullError if so many texts more may not wait."""
        if self.queued_texts + texts > self._max_queued_texts:
            raise QueueFullError("{} texts are waiting. Try again later.".format(self.queued_texts))

    async def run(self) -> None:
        """Answers requests until it is cancelled."""
        loop = asyncio.get_event_loop()
        with ThreadPoolExecutor(max_workers=1) as model:
            while True:
                await self._gather(loop)
                batch = self._next_batch()
                self._before = len(batch)
                started = loop.time()
                try:
                    answers = await loop.run_in_executor(model, self._answer, [each.asked for each in batch])
                except Exception as error:  # each request is told; the server goes on with the next batch
                    for each in batch:
                        _settle(each.future, error)
                else:
                    self._note(sum(each.texts for each in batch), loop.time() - started)
                    for each, answer in zip(batch, answers):
                        _settle(each.future, answer)

    async def _gather(self, loop: asyncio.AbstractEventLoop) -> None:
        """Waits for a request, and for those that are likely to come with it."""
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        deadline = loop.time() + self._wait_secs
        while len(self._waiting) < self._before and not self._is_full():
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), deadline - loop.time())
            except asyncio.TimeoutError:
                return

    def _is_full(self) -> bool:
        return sum(each.asked.tokens for each in self._waiting) >= self._batch_tokens

    def _next_batch(self) -> List[_Waiting]:
        batch = [self._waiting.popleft()]
        tokens = batch[0].asked.tokens
        while self._waiting and tokens + self._waiting[0].asked.tokens <= self._batch_tokens:
            batch.append(self._waiting.popleft())
            tokens += batch[-1].asked.tokens
        self.queued_texts -= sum(each.texts for each in batch)
        return batch


def _settle(future: "asyncio.Future[List[Any]]", result: Any) -> None:
    if future.cancelled():  # the client has gone
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
