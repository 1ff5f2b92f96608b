"""What every request passes before the application sees it: its key, the size of its body; and what is counted."""

import hmac
import json
import time
from typing import Any, Awaitable, Callable, Dict, List, MutableMapping, Optional, Tuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.responses import Response

from ..base.errors import UserError

OPEN_PATHS = ("/", "/healthz", "/readyz", "/v2/health/live", "/v2/health/ready")  # need no key
RETRY_SECS = "1"
HELD_BYTES = 64 << 20  # of the bodies of all requests that are not answered yet; one body of --max_body_bytes if more
_SECS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Metrics:
    """The numbers of /metrics, for one server."""

    def __init__(self, queued_texts: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        own: Dict[str, Any] = {"registry": self.registry, "namespace": "steady_bert"}
        self.requests = Counter("requests", "Requests by path and status.", ["path", "status"], **own)
        self.request_secs = Histogram(
            "request_seconds", "Seconds from request to answer.", ["path"], buckets=_SECS, **own
        )
        self.texts = Counter("texts", "Texts that were answered.", **own)
        self.batch_texts = Histogram("batch_texts", "Texts computed together.", buckets=_TEXTS, **own)
        self.batch_secs = Histogram("batch_seconds", "Seconds that the model took for a batch.", buckets=_SECS, **own)
        Gauge("queued_texts", "Texts that wait for the model.", **own).set_function(queued_texts)

    def note_batch(self, texts: int, secs: float) -> None:
        self.texts.inc(texts)
        self.batch_texts.observe(texts)
        self.batch_secs.observe(secs)


def read_keys(path: Optional[str]) -> List[bytes]:
    """The keys of --api_key_file, one a line; none without a file. Raises UserError for a file without keys."""
    if path is None:
        return []
    try:
        with open(path, "rb") as file:
            keys = [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise UserError("--api_key_file={}: {}. Check the path.".format(path, error.strerror)) from None
    if not keys:
        raise UserError("--api_key_file={}: has no key. Write one a line.".format(path))
    return keys


def refusal(status: int, reason: str, headers: Optional[Dict[str, str]] = None) -> Response:
    """{"error": reason} in ASCII: a reason may name what was sent, and that may be half of a surrogate pair."""
    return Response(json.dumps({"error": reason}), status, headers, media_type="application/json")


class Gate:
    """An ASGI application around another one. paths: those that are counted by name."""

    def __init__(self, app: Any, keys: List[bytes], max_body_bytes: int, metrics: Metrics, paths: Tuple[str, ...]):
        self._app = app
        self._keys = keys
        self._max_body_bytes = max_body_bytes
        self._metrics = metrics
        self._paths = paths
        self._held_bytes = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noting(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        body = bytearray()
        try:
            refused = await self._refused(scope, receive, body)
            if refused is not None:
                await refused(scope, receive, noting)
            else:
                await self._app(scope, _replayed(bytes(body), receive), noting)
        finally:
            self._held_bytes -= len(body)
            path = scope["path"] if scope["path"] in self._paths else "other"
            self._metrics.requests.labels(path, str(status)).inc()
            self._metrics.request_secs.labels(path).observe(time.perf_counter() - started)

    async def _refused(self, scope: Message, receive: Receive, body: bytearray) -> Optional[Response]:
        """Reads the body into `body`. Returns why the request is refused, None if it is not."""
        headers = dict(scope["headers"])
        if self._keys and scope["path"] not in OPEN_PATHS and not self._has_key(headers):
            return refusal(401, "Send a key: Authorization: Bearer KEY.", {"WWW-Authenticate": "Bearer"})
        too_large = refusal(413, "The body has more than {:,} bytes. Send less.".format(self._max_body_bytes))
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            return too_large
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            part = message.get("body", b"")
            body += part
            self._held_bytes += len(part)
            more = message.get("more_body", False)
            if len(body) > self._max_body_bytes:
                return too_large
            if self._held_bytes > max(HELD_BYTES, self._max_body_bytes):
                reason = "{:,} bytes of requests are waiting. Try again later.".format(self._held_bytes)
                return refusal(503, reason, {"Retry-After": RETRY_SECS})
        return None

    def _has_key(self, headers: Dict[bytes, bytes]) -> bool:
        given = headers.get(b"x-api-key", b"")
        scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            given = token.strip()
        return sum(hmac.compare_digest(given, key) for key in self._keys) > 0  # all of them, for it takes the same time


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receive function that gives the body that was read, then what comes."""
    messages: List[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return messages.pop() if messages else await receive()

    return replay
