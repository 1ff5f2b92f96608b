"""The HTTP application: our own paths, KServe's version 2 of them, metrics, and a page to try sentences."""

import asyncio
import base64
import contextlib
import functools
import hashlib
import json
import os
import re
from typing import Any, AsyncIterator, Callable, Dict, List, Sequence

import tensorflow.compat.v1 as tf
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from ..base import json_files
from ..base.errors import UserError
from . import messages
from .answers import Text
from .batching import Batcher, QueueFullError
from .gate import RETRY_SECS, Gate, Metrics, read_keys, refusal
from .messages import InferenceRequest, Texts, VectorTexts
from .predictor import Predictor, Prepared
from .settings import ServingConfig

_PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "page.html")
_PREPARED_AT_ONCE = 4000  # characters, which take about a millisecond
_EMBEDDED = ("texts", "pairs")  # what vectors are made of


def application(predictor: Predictor, config: ServingConfig) -> FastAPI:
    """The application that serves a model. Raises UserError for an --api_key_file without keys."""
    state = _State(predictor, config)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        state.start()
        yield
        await state.stop()

    app = FastAPI(title="Steady BERT", docs_url=None, redoc_url=None, lifespan=lifespan)
    _add_errors(app)
    _add_own_paths(app, state)
    _add_kserve_paths(app, state)
    paths = tuple(getattr(route, "path", "") for route in app.routes)
    keys = read_keys(config.api_key_file)
    app.add_middleware(Gate, keys=keys, max_body_bytes=config.max_body_bytes, metrics=state.metrics, paths=paths)
    return app


class _State:
    """The model, its queue and its numbers."""

    def __init__(self, predictor: Predictor, config: ServingConfig) -> None:
        self.predictor = predictor
        self.config = config
        self.batcher: Any = None  # made in the event loop
        self.metrics = Metrics(lambda: self.batcher.queued_texts if self.batcher else 0)
        self.card = model_card(predictor, config)
        self.predicted = ("texts", "words") if self.card["kind"] in ("bio", "plain") else ("texts", "pairs")
        self._task: Any = None

    def start(self) -> None:
        config = self.config
        self.batcher = Batcher(
            self.predictor.answer,
            config.batch_tokens,
            config.batch_wait_ms,
            config.max_queued_texts,
            self.metrics.note_batch,
        )
        self._task = asyncio.ensure_future(self.batcher.run())

    async def stop(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    async def answers(self, texts: List[Text]) -> List[Any]:
        return await self._asked(texts, self.predictor.prepare)

    async def vectors(self, texts: List[Text], pooling: str, layers: Any) -> List[Any]:
        prepare = functools.partial(self.predictor.prepare_vectors, pooling=pooling, layers=layers)
        return await self._asked(texts, prepare)

    async def _asked(self, texts: List[Text], prepare: Callable[[Sequence[Text]], Prepared]) -> List[Any]:
        messages.require_within_limits(texts, self.config)
        with self.batcher.holding(len(texts)):
            if sum(map(messages.characters_of, texts)) <= _PREPARED_AT_ONCE:
                prepared = prepare(texts)
            else:  # would keep other requests waiting
                prepared = await asyncio.get_event_loop().run_in_executor(None, prepare, texts)
        answers: List[Any] = await self.batcher.ask(prepared, len(texts))
        return answers

    @property
    def is_ready(self) -> bool:
        return self._task is not None and not self._task.done()


def model_card(predictor: Predictor, config: ServingConfig) -> Dict[str, Any]:
    """What /v1/model says of the model."""
    run, encoder = predictor.run, predictor.encoder
    card: Dict[str, Any] = {
        "name": config.model_name,
        "kind": "encoder" if run is None else run.kind,
        "hidden_size": encoder.bert_config.hidden_size,
        "layers": encoder.bert_config.num_hidden_layers,
        "max_seq_length": encoder.max_seq_length,
        "tensorflow": tf.__version__,
        "precision": config.precision,
        "limits": {
            name: getattr(config, name)
            for name in ("max_body_bytes", "max_texts", "max_text_characters", "max_queued_texts", "batch_tokens")
        },
    }
    if run is not None:
        card.update(
            labels=list(run.task.labels),
            long_text=encoder.long_text.mode,
            checkpoint=os.path.basename(run.prefix),
            text_counts=list(run.text_counts),
        )
        with contextlib.suppress(UserError):
            scores = json_files.read(os.path.join(run.folder, "eval_results.json"))
            card["scores"] = {name: value for name, value in scores.items() if isinstance(value, (int, float))}
    return card


def _add_errors(app: FastAPI) -> None:
    """Every refusal is {"error": reason}."""

    @app.exception_handler(UserError)
    async def user_error(request: Request, error: UserError) -> Response:
        return refusal(422, str(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        problems = [
            "{}: {}".format(".".join(map(str, problem["loc"][1:])) or "body", problem["msg"])
            for problem in error.errors()
        ]
        return refusal(422, "; ".join(problems[:5]))

    @app.exception_handler(QueueFullError)
    async def full(request: Request, error: QueueFullError) -> Response:
        return refusal(503, str(error), {"Retry-After": RETRY_SECS})

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        return refusal(error.status_code, str(error.detail), getattr(error, "headers", None))

    @app.exception_handler(tf.errors.OpError)
    async def failed(request: Request, error: tf.errors.OpError) -> Response:
        return refusal(500, "The model failed: {}".format(error.message.split("\n", 1)[0]))


def _add_own_paths(app: FastAPI, state: _State) -> None:
    name, page = state.config.model_name, _Page()

    @app.get("/", include_in_schema=False)
    async def try_sentences() -> Response:
        return HTMLResponse(page.html, headers=page.headers)

    @app.get("/healthz")
    async def is_alive() -> Dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz")
    async def is_ready() -> Response:
        return JSONResponse({"status": "ok"}) if state.is_ready else refusal(503, "The model does not answer.")

    @app.get("/metrics")
    async def numbers() -> Response:
        return Response(generate_latest(state.metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/model")
    async def card() -> Dict[str, Any]:
        return state.card

    @app.post("/v1/predict")
    async def predict(texts: Texts) -> Response:
        answers = await state.answers(texts.asked(state.predicted))
        return _json({"model": name, "predictions": messages.rounded(answers)})

    @app.post("/v1/embed")
    async def embed(texts: VectorTexts) -> Response:
        vectors = await state.vectors(texts.asked(_EMBEDDED), texts.pooling, texts.layers)
        return _json({"model": name, "embeddings": [messages.rounded(vector.tolist()) for vector in vectors]})


def _add_kserve_paths(app: FastAPI, state: _State) -> None:
    """The Open Inference Protocol for one model."""
    name = state.config.model_name
    model = "/v2/models/{}".format(name)
    kind, labels = state.card["kind"], state.card.get("labels", [])

    @app.get("/v2/health/live")
    async def live() -> Dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready")
    @app.get(model + "/ready")
    async def ready() -> JSONResponse:
        return JSONResponse({"ready": state.is_ready}, 200 if state.is_ready else 503)

    @app.get("/v2")
    async def server() -> Dict[str, Any]:
        return {"name": "steady_bert", "version": tf.__version__, "extensions": []}

    @app.get(model)
    async def metadata() -> Dict[str, Any]:
        names = ["text", "text_pair"] if 2 in state.card.get("text_counts", ()) else ["text"]
        inputs = [{"name": each, "datatype": "BYTES", "shape": [-1]} for each in names]
        return {
            "name": name,
            "platform": "tensorflow",
            "inputs": inputs,
            "outputs": messages.described_tensors(kind, labels),
        }

    @app.post(model + "/infer")
    async def infer(request: InferenceRequest) -> Response:
        answers = await state.answers(request.asked(state.predicted))
        outputs = messages.rounded(messages.output_tensors(answers, kind, labels))
        answer = {"model_name": name, "outputs": outputs}
        if request.id is not None:
            answer["id"] = request.id
        return _json(answer)


def _json(value: Any) -> Response:
    """Quicker than what FastAPI does with a value, which is checked and converted already."""
    return Response(json.dumps(value, separators=(",", ":")), media_type="application/json")


class _Page:
    """The page, and a policy that lets the browser run what is in it and load nothing from elsewhere."""

    def __init__(self) -> None:
        with open(_PAGE, encoding="utf-8") as file:
            self.html = file.read()
        script, style = (
            " ".join(
                "'sha256-{}'".format(_digest(each))
                for each in re.findall("<{0}>(.*?)</{0}>".format(tag), self.html, re.S)
            )
            for tag in ("script", "style")
        )
        self.headers = {
            "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src data:; base-uri 'none'; "
            "form-action 'none'; frame-ancestors 'none'; script-src {}; style-src {}".format(script, style),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-cache",
        }


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")
