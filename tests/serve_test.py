"""serve.py: what it answers, what it refuses and why, and how it ends."""

import asyncio
import dataclasses
import json
import os
import random
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import types
import urllib.request

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from conftest import BAD, GOOD, ROOT, WORDS, command, mistake, run_main
from fastapi.exceptions import RequestValidationError
from fastapi.testclient import TestClient

import flags
from steady_bert.base.errors import UserError
from steady_bert.serving import Predictor, messages, server
from steady_bert.serving import gate as gates
from steady_bert.serving.application import application, model_card
from steady_bert.serving.batching import Batcher, QueueFullError
from steady_bert.serving.messages import InferenceRequest, Texts
from steady_bert.serving.settings import ServingConfig

TEXTS = ["alpha good beta", "sad", "gamma delta", "", "nice " * 40]


@pytest.fixture(scope="module")
def folder(tiny, tmp_path_factory):
    path = str(tmp_path_factory.mktemp("served") / "run")
    assert run_main(tiny.flags(output_dir=path, do_train="true", num_train_steps=3)) == 0
    return path


@pytest.fixture(scope="module")
def predictor(folder):
    return Predictor(folder)


@pytest.fixture(scope="module")
def client(predictor):
    limits = dict(max_body_bytes=4000, max_texts=5, max_text_characters=300, max_queued_texts=5)
    with TestClient(application(predictor, ServingConfig(predictor.folder, model_name="tiny", **limits))) as client:
        yield client


def post(client, path, body):
    return client.post(path, content=body, headers={"Content-Type": "application/json"})


def test_answers_are_the_predictors(client, predictor):
    reply = client.post("/v1/predict", json={"texts": TEXTS})
    assert reply.status_code == 200
    expected = json.loads(json.dumps(predictor.predict(TEXTS)), parse_float=lambda text: round(float(text), 6))
    assert reply.json() == {"model": "tiny", "predictions": expected}
    assert client.post("/v1/predict", json={"texts": []}).json() == {"model": "tiny", "predictions": []}
    (pair,) = client.post("/v1/predict", json={"pairs": [["good", "sad"]]}).json()["predictions"]
    assert abs(pair["score"] - predictor.predict([("good", "sad")])[0]["score"]) < 1e-6
    reply = client.post("/v1/embed", json={"texts": TEXTS, "pooling": "max", "layers": [0, -1]})
    vectors = predictor.embed(TEXTS, pooling="max", layers=[0, -1])
    np.testing.assert_allclose(reply.json()["embeddings"], vectors, atol=1e-6)


def test_kserves_shape_has_the_same_numbers(client, predictor):
    inputs = [{"name": "text", "shape": [2, 1], "datatype": "BYTES", "data": [["good alpha"], ["sad"]]}]
    reply = client.post("/v2/models/tiny/infer", json={"id": "7", "inputs": inputs}).json()
    expected = predictor.predict(["good alpha", "sad"])
    label, probabilities = reply["outputs"]
    assert (reply["id"], reply["model_name"]) == ("7", "tiny")
    assert label == {"name": "label", "datatype": "BYTES", "shape": [2], "data": [each["label"] for each in expected]}
    flat = [each["probabilities"][name] for each in expected for name in ("blame", "praise")]
    assert probabilities["shape"] == [2, 2]
    np.testing.assert_allclose(probabilities["data"], flat, atol=1e-6)
    described = client.get("/v2/models/tiny").json()
    assert [output["name"] for output in described["outputs"]] == ["label", "probabilities"]
    assert client.get("/v2/models/tiny/ready").json() == {"ready": True}


TENSORS = [
    ("regression", {"score": 2.5}, [("score", "FP32", [2.5])]),
    ("multi", dict(labels=["b", "a"], probabilities={"a": 0.6, "b": 0.7}), [("labels", "BYTES", ["b,a"])]),
    ("multi", dict(labels=[], probabilities={"a": 0.1, "b": 0.2}), [("labels", "BYTES", [""])]),
    ("bio", dict(text="x", entities=[{"score": 0.1234567}]), [("entities", "BYTES", ['[{"score": 0.123457}]'])]),
    ("plain", dict(text="x", tags=[{"tag": "a"}]), [("tags", "BYTES", ['[{"tag": "a"}]'])]),
]


@pytest.mark.parametrize("kind, answer, expected", TENSORS)
def test_answers_of_each_kind_are_kserves_tensors(kind, answer, expected):
    tensors = [{"name": n, "datatype": d, "shape": [2], "data": 2 * data} for n, d, data in expected]
    if kind == "multi":
        row = [answer["probabilities"][label] for label in "ab"]
        tensors.append({"name": "probabilities", "datatype": "FP32", "shape": [2, 2], "data": 2 * row})
    assert messages.output_tensors([answer, answer], kind, ["a", "b"]) == tensors
    described = [{**t, "shape": [-1] + t["shape"][1:]} for t in tensors]
    assert messages.described_tensors(kind, ["a", "b"]) == [
        {name: t[name] for name in ("name", "datatype", "shape")} for t in described
    ]


def test_the_card_has_the_scores_of_evaluation(predictor, tmp_path):
    (tmp_path / "eval_results.json").write_text('{"eval_accuracy": 0.5, "note": "x"}')
    served = types.SimpleNamespace(run=predictor.run._replace(folder=str(tmp_path)), encoder=predictor.encoder)
    assert model_card(served, ServingConfig("m"))["scores"] == {"eval_accuracy": 0.5}


def test_a_failure_of_tensorflow_is_answered_500_with_its_first_line(predictor, monkeypatch):
    def fails(asked):
        raise tf.errors.ResourceExhaustedError(None, None, "no memory\n[[a node]]")

    monkeypatch.setattr(predictor, "answer", fails)
    with TestClient(application(predictor, ServingConfig("m"))) as client:
        reply = client.post("/v1/predict", json={"texts": ["good"]})
    assert (reply.status_code, reply.json()) == (500, {"error": "The model failed: no memory"})


def test_the_card_health_and_numbers(client):
    card = client.get("/v1/model").json()
    assert (card["kind"], card["labels"], card["max_seq_length"]) == ("single", ["blame", "praise"], 16)
    assert card["checkpoint"] == "model.ckpt-3" and card["limits"]["max_texts"] == 5
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    before = client.get("/metrics").text
    client.post("/v1/predict", json={"texts": ["a", "b", "c"]})
    after = client.get("/metrics").text

    def number(text, name):
        return next(float(line.rsplit(" ", 1)[1]) for line in text.split("\n") if line.startswith(name + " "))

    assert number(after, "steady_bert_texts_total") == number(before, "steady_bert_texts_total") + 3
    assert number(after, "steady_bert_queued_texts") == 0
    assert 'steady_bert_requests_total{path="/v1/predict",status="200"}' in after


def test_the_documentations_requests_are_answered(predictor):
    with open(os.path.join(ROOT, "docs", "serving.md"), encoding="utf-8") as file:
        lines = [shlex.split(line) for line in file if line.startswith("curl ")]
    with TestClient(application(predictor, ServingConfig("m", model_name="reviews"))) as client:
        for _, address, _, header, _, body in lines:
            reply = client.post(address[len("http://127.0.0.1:8080") :], content=body, headers=[header.split(": ")])
            assert reply.status_code == 200, (body, reply.text)
    assert len(lines) == 4


def tensor(**changed):
    return {"inputs": [dict(dict(name="text", shape=[1], datatype="BYTES", data=["a"]), **changed)]}


REFUSED = [
    ("/v1/predict", {}, 422, "None of texts, pairs and words were given. Give one."),
    ("/v1/predict", {"texts": ["a"], "pairs": []}, 422, "2 of texts, pairs and words were given. Give one."),
    ("/v1/predict", {"texts": "a"}, 422, "texts: Input should be a valid list"),
    ("/v1/predict", {"texts": ["a", 5]}, 422, "texts.1: Input should be a valid string"),
    ("/v1/predict", {"pairs": [["a"]]}, 422, "pairs.0.1: Field required"),
    ("/v1/predict", {"text": ["a"]}, 422, "text: Extra inputs are not permitted"),
    ("/v1/predict", {"words": [["a", "b"]]}, 422, "words: are not read here. Give texts or pairs."),
    ("/v1/embed", {"words": [["a", "b"]]}, 422, "words: are not read here. Give texts or pairs."),
    ("/v1/predict", {"texts": ["a"] * 6}, 422, "texts: 6; a request may have 5. Send several."),
    ("/v1/predict", {"texts": ["a", "b" * 301]}, 422, "texts[1]: 301 characters; at most 300 are read."),
    ("/v1/predict", {"texts": ["b" * 5000]}, 413, "The body has more than 4,000 bytes."),
    ("/v1/embed", {"texts": ["a"], "pooling": "sum"}, 422, "pooling='sum': not one of mean, cls, max."),
    ("/v1/embed", {"texts": ["a"], "layers": [5]}, 422, "5 is not a layer. There are 0 (the embeddings) to 1"),
    ("/v2/models/tiny/infer", tensor(name="words"), 422, "inputs: words; give text, or text and text_pair."),
    ("/v2/models/tiny/infer", tensor(shape=[2]), 422, "inputs.text: shape [2], but 1 strings."),
    ("/v2/models/tiny/infer", tensor(datatype="FP32"), 422, "inputs.text: not BYTES"),
    ("/v2/models/other/infer", tensor(), 404, "Not Found"),
]


@pytest.mark.parametrize("path, body, status, reason", REFUSED)
def test_what_cannot_be_answered_is_refused_with_its_reason(client, path, body, status, reason):
    reply = client.post(path, json=body)
    assert (reply.status_code, reason in reply.json()["error"]) == (status, True), reply.text


def test_half_of_a_surrogate_pair_in_a_name_is_answered(client):
    reply = post(client, "/v2/models/tiny/infer", json.dumps(tensor(name="\ud800")))
    assert (reply.status_code, reply.json()["error"]) == (422, "inputs: \ud800; give text, or text and text_pair.")


@pytest.mark.parametrize(
    "path, body",
    [
        ("/v1/predict", {"texts": [1] * 900}),
        ("/v1/predict", {"pairs": [["a", "b"]] + [[1, 2]] * 300}),
        ("/v1/predict", {"words": [[1] * 900, []]}),
        ("/v1/predict", {str(n): 1 for n in range(300)}),
        ("/v1/embed", {"texts": ["a"], "layers": ["b"] * 500}),
        ("/v2/models/tiny/infer", {"inputs": [{}] * 900}),
        ("/v2/models/tiny/infer", tensor(shape=["a"] * 500)),
    ],
)
def test_the_first_mistakes_are_described_and_no_more(client, monkeypatch, path, body):
    """Pydantic describes each: 500,000 of them, for which a body of 1 MiB has room, took 10 s and 600 MB."""
    described = []
    errors = RequestValidationError.errors
    monkeypatch.setattr(
        RequestValidationError, "errors", lambda self: described.extend(errors(self)) or list(described)
    )
    assert client.post(path, json=body).status_code == 422
    assert 0 < len(described) <= 12


def test_a_tagger_reads_no_pairs():
    """As a list of words, it would answer for another text."""
    inputs = tensor()["inputs"] + tensor(name="text_pair", data=["b"])["inputs"]
    for request in (Texts(pairs=[("a", "b")]), InferenceRequest(inputs=inputs)):
        with pytest.raises(UserError, match="pair"):
            request.asked(("texts", "words"))
        assert request.asked(("texts", "pairs")) == [("a", "b")]


def test_a_body_in_chunks_has_the_same_limit(client):
    """Nothing says beforehand how long it is."""
    chunks = [b'{"texts": ["'] + [b"x" * 1000] * 5 + [b'"]}']
    reply = client.post("/v1/predict", content=iter(chunks), headers={"Content-Type": "application/json"})
    assert (reply.status_code, "more than 4,000 bytes" in reply.json()["error"]) == (413, True)


@pytest.mark.parametrize("held_bytes, waiting_requests", [(300, 3), (50, 1)])
def test_the_bodies_of_all_requests_have_a_limit_too(monkeypatch, held_bytes, waiting_requests):
    """Requests that are sent slowly wait before the queue, where no text is counted. One alone is always read."""
    monkeypatch.setattr(gates, "HELD_BYTES", held_bytes)
    gate = gates.Gate(None, [], 100, gates.Metrics(lambda: 0), ())
    scope = {"type": "http", "path": "/", "headers": []}
    statuses = []

    async def send(message):
        statuses.append(message.get("status"))

    async def scenario():
        go = asyncio.Event()
        parts = [{"body": b"x" * 100, "more_body": True}]

        def slowly():
            left = list(parts)

            async def receive():
                if left:
                    return {"type": "http.request", **left.pop()}
                await go.wait()
                return {"type": "http.disconnect"}

            return receive

        async def answering(scope, receive, send):
            await send({"type": "http.response.start", "status": 200})

        gate._app = answering
        waiting = [asyncio.ensure_future(gate(scope, slowly(), send)) for _ in range(waiting_requests)]
        await asyncio.sleep(0)
        await gate(scope, slowly(), send)
        go.set()
        await asyncio.gather(*waiting)

    asyncio.run(scenario())
    assert [status for status in statuses if status] == [503] + [200] * waiting_requests and gate._held_bytes == 0


def malformed(rng, model="tiny"):
    """(path, body) of a request that means nothing."""
    valid = json.dumps({"texts": ["good alpha", "sad"]})
    values = [None, 1, -1e999, "a", {}, [], [[]], [None], [["a"]], {"a": 1}, True, ["a", None], [1.5], [{}]]
    makers = [
        lambda: valid[: rng.randrange(len(valid))].encode(),
        lambda: bytes(rng.randrange(256) for _ in range(rng.randrange(1, 60))) + b"\xff",
        lambda: json.dumps({"texts": rng.choice(values[:5] + values[7:])}).encode(),
        lambda: json.dumps({"pairs": [rng.choice(values)]}).encode(),
        lambda: json.dumps({rng.choice(["text", "Texts", "", "texts "]): ["a"]}).encode(),
        lambda: json.dumps(rng.choice(values)).encode(),
        lambda: b"[" * rng.choice([10, 1000, 3900]),
        lambda: b'{"texts": ["\\ud800"]}',
        lambda: b'{"texts": ["a"], "texts": 1}',
        lambda: json.dumps({"texts": ["a"], "layers": rng.choice(values)}).encode(),
        lambda: json.dumps({"inputs": rng.choice(values)}).encode(),
        lambda: json.dumps({"texts": ["x" * 20000]}).encode(),
    ]
    paths = ["/v1/predict", "/v1/predict", "/v2/models/{}/infer".format(model), "/v1/nothing"]
    return rng.choice(paths), rng.choice(makers)()


def test_malformed_requests_are_answered_4xx_and_nothing_crashes(client):
    rng = random.Random(7)
    for _ in range(200):
        path, body = malformed(rng)
        reply = post(client, path, body)
        assert 400 <= reply.status_code < 500, (path, body, reply.text)
        assert reply.json()["error"]
    for method, path in (("GET", "/v1/predict"), ("DELETE", "/v1/model"), ("POST", "/healthz")):
        assert client.request(method, path).status_code == 405
    assert client.post("/v1/predict", json={"texts": ["good"]}).status_code == 200


def test_keys_are_asked_for_where_there_is_a_file_of_them(predictor, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text("first\nsecond\n")
    with TestClient(application(predictor, ServingConfig("m", api_key_file=str(keys)))) as client:
        body = {"texts": ["good"]}
        for headers in ({"Authorization": "Bearer second"}, {"X-API-Key": "first"}):
            assert client.post("/v1/predict", json=body, headers=headers).status_code == 200
        for headers in ({}, {"Authorization": "Bearer third"}, {"Authorization": "first"}, {"X-API-Key": ""}):
            reply = client.post("/v1/predict", json=body, headers=headers)
            assert (reply.status_code, reply.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert client.get("/metrics").status_code == 401
        assert client.get("/").status_code == client.get("/readyz").status_code == 200


# --- a queue ----------------------------------------------------------------------------------------------------------


def test_texts_are_prepared_if_they_may_wait_and_long_ones_beside_the_event_loop(predictor, monkeypatch):
    threads = []

    def prepare(texts):
        threads.append(threading.get_ident())
        return Predictor.prepare(predictor, texts)

    monkeypatch.setattr(predictor, "prepare", prepare)
    with TestClient(application(predictor, ServingConfig("m", max_queued_texts=2))) as client:
        for pair in (["good", "sad"], ["good " * 500, "sad " * 500]):
            assert client.post("/v1/predict", json={"pairs": [pair]}).status_code == 200
        assert client.post("/v1/predict", json={"texts": ["a"] * 3}).status_code == 503
    assert len(set(threads)) == len(threads) == 2


def test_a_full_queue_is_answered_503(predictor, monkeypatch):
    def full(self, asked, texts):
        raise QueueFullError("9 texts are waiting. Try again later.")

    monkeypatch.setattr(Batcher, "ask", full)
    monkeypatch.setattr(Batcher, "require_room", lambda self, texts: None)
    with TestClient(application(predictor, ServingConfig("m"))) as client:
        reply = client.post("/v1/predict", json={"texts": ["good"]})
    assert (reply.status_code, reply.headers["Retry-After"]) == (503, "1")
    assert reply.json() == {"error": "9 texts are waiting. Try again later."}


# --- the program ------------------------------------------------------------------------------------------------------


def test_sigterm_answers_what_was_asked_and_ends_with_0(folder):
    arguments = ["--model_dir=" + folder, "--port=0", "--max_body_bytes=9000000", "--max_queued_texts=20000"]
    process = subprocess.Popen(
        command([*arguments, "--max_texts=20000"], "serve"), stdout=subprocess.PIPE, universal_newlines=True
    )
    try:
        address = process.stdout.readline().split()[-1]
        rng = random.Random(1)
        texts = [" ".join(rng.choices(WORDS + GOOD + BAD, k=12)) for _ in range(20000)]
        replies = []

        def ask():
            body = json.dumps({"texts": texts}).encode()
            request = urllib.request.Request(address + "/v1/predict", body, {"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as reply:
                replies.append(json.load(reply))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert asking.is_alive() and not replies
        asking.join()
        assert len(replies[0]["predictions"]) == len(texts)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.stdout.close()


class Encoder:
    """A Predictor of a pre-trained model, as far as warm_up knows it."""

    run = None

    def __init__(self, *given, **flags):
        self.given, self.flags, self.embedded = given, flags, []
        Encoder.last = self

    def embed(self, texts):
        self.embedded += texts


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_server_has_the_model_that_is_asked_for_and_ends_as_its_signal_says(monkeypatch, capsys, number, status):
    monkeypatch.setattr("steady_bert.serving.predictor.Predictor", Encoder)
    monkeypatch.setattr("steady_bert.serving.application.application", lambda predictor, config: predictor)
    stub = types.SimpleNamespace(run=lambda sockets: os.kill(os.getpid(), number))
    monkeypatch.setattr("uvicorn.Server", lambda config: stub)
    monkeypatch.setattr("uvicorn.Config", lambda *_, **options: None)  # which changes the process's logging
    monkeypatch.setattr("gc.freeze", lambda: None)
    config = ServingConfig("m", checkpoint="last", precision="bfloat16", batch_tokens=7, port=0)
    assert server.serve(config) == status
    assert (Encoder.last.given, Encoder.last.flags) == (("m", "last", 7), {"precision": "bfloat16"})
    assert len(Encoder.last.embedded) == 3 and capsys.readouterr().out.startswith("Serving m at http://127.0.0.1:")


def test_a_second_signal_ends_the_server_at_once():
    stub = types.SimpleNamespace(should_exit=False, force_exit=False)
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with server._ended_by_signals(stub) as received:
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stub.should_exit, stub.force_exit) == (True, False)
        os.kill(os.getpid(), signal.SIGINT)
        assert stub.force_exit and received == {signal.SIGTERM, signal.SIGINT}
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("text_counts, asked", [((1,), str), ((2,), tuple), ((1, 2), str)])
def test_a_model_of_pairs_is_warmed_up_with_pairs(text_counts, asked):
    texts = []
    server.warm_up(types.SimpleNamespace(run=types.SimpleNamespace(text_counts=text_counts), predict=texts.extend))
    assert [type(text) for text in texts] == [asked] * 3


FLAGS = dict(
    model_dir="{folder}/..",
    checkpoint="last",
    precision="bfloat16",
    host="localhost",
    port="1",
    model_name="other",
    api_key_file="keys",
    batch_tokens="1",
    batch_wait_ms="1",
    max_body_bytes="1",
    max_texts="1",
    max_text_characters="1",
    max_queued_texts="1025",
)


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_every_flag_reaches_the_server(folder, name, monkeypatch):
    """What each is for is shown by the tests above."""
    assert set(FLAGS) == {flag.name for flag in flags.flags_of("serve")}
    given = []
    monkeypatch.setattr(server, "serve", lambda config: given.append(config))
    arguments = {"model_dir": folder}
    for changed in ({}, {name: FLAGS[name].format(folder=folder)}):
        values = dict(arguments, **changed)
        assert run_main(["--{}={}".format(*pair) for pair in values.items()], "serve") == 0
    before, after = map(dataclasses.asdict, given)
    others = {"model_name"} if name == "model_dir" else set()  # the folder's
    assert {each for each in before if before[each] != after[each]} - others == {name}


def test_mistakes_are_known_before_the_model_is_loaded(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("steady_bert.serving.predictor.Predictor", None)  # which cannot be called
    assert "--model_dir is needed" in mistake([], capsys, "serve")
    assert "no such folder" in mistake(["--model_dir=/none"], capsys, "serve")
    assert "--model_name=a/b" in mistake(["--model_dir=" + folder, "--model_name=a/b"], capsys, "serve")
    said = mistake(["--model_dir=" + folder, "--max_texts=2000"], capsys, "serve")
    assert "--max_texts=2000 is above --max_queued_texts=1024" in said
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = str(taken.getsockname()[1])
        assert "Address already in use" in mistake(["--model_dir=" + folder, "--port=" + port], capsys, "serve")
    assert "Name another port" in mistake(["--model_dir=" + folder, "--host=a..b", "--port=0"], capsys, "serve")
    assert "has no key" in mistake(
        ["--model_dir=" + folder, "--port=0", "--api_key_file=" + os.devnull], capsys, "serve"
    )
    code = "import sys, serve; assert 'tensorflow' not in sys.modules and 'fastapi' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
