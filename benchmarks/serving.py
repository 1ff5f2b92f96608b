"""serve.py under load: closed loops of 1, 8 and 32 clients on sentences, beside transformers' pipeline behind FastAPI.

python benchmarks/serving.py --data=SST-2 --vocab=vocab.txt [--torch=PYTHON] [--soak_minutes=10]

A closed loop: each client sends a sentence, waits for the answer, and sends the next. The clients are one process
beside the server, on the same processors; its own time is not counted. Both models have MiniLM's sizes and random
weights. The output is the table of docs/serving.md. --soak_minutes: full load for so long, then memory and errors.
"""

import argparse
import asyncio
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SIZES = {"num_hidden_layers": 6, "hidden_size": 384, "num_attention_heads": 12, "intermediate_size": 1536}
LABELS = 2
CLIENTS = (1, 8, 32)
MALFORMED = 1000


def sentences_in(folder: str) -> List[str]:
    with open(os.path.join(folder, "dev.tsv"), encoding="utf-8") as file:
        return [line.split("\t")[0].strip() for line in file.read().split("\n")[1:] if line]


def make_run(folder: str, vocab: str, data: str) -> str:
    """A run of MiniLM's sizes, trained for one step from random weights."""
    with open(vocab, encoding="utf-8") as file:
        pieces = len(file.read().rstrip("\n").split("\n"))
    config = dict(SIZES, vocab_size=pieces, max_position_embeddings=512, type_vocab_size=2)
    path = os.path.join(folder, "bert_config.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(config, file)
    run = os.path.join(folder, "run")
    flags: Dict[str, Any] = dict(
        task_name="sst-2", data_dir=data, vocab_file=vocab, bert_config_file=path, output_dir=run
    )
    flags.update(num_train_steps=1, train_batch_size=8, max_train_examples=8, optimizer="sgd")
    command = [sys.executable, os.path.join(ROOT, "run_classifier.py"), "--do_train", "--from_scratch"]
    subprocess.run(command + ["--{}={}".format(*pair) for pair in flags.items()], check=True, stdout=subprocess.DEVNULL)
    return run


# --- servers ----------------------------------------------------------------------------------------------------------


class Server(NamedTuple):
    process: "subprocess.Popen[str]"
    port: int

    def cpu_secs(self) -> float:
        """Processor time of the process and its threads."""
        with open("/proc/{}/stat".format(self.process.pid), encoding="ascii") as file:
            fields = file.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def memory_mb(self) -> float:
        with open("/proc/{}/status".format(self.process.pid), encoding="ascii") as file:
            return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024.0

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


def start_ours(run: str, extra: List[str]) -> Server:
    command = [sys.executable, os.path.join(ROOT, "serve.py"), "--model_dir=" + run, "--port=0", *extra]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, universal_newlines=True)
    assert process.stdout is not None
    return Server(process, int(process.stdout.readline().rsplit(":", 1)[1]))


def start_torch(python: str, vocab: str, port: int) -> Server:
    sizes = [SIZES["num_hidden_layers"], SIZES["hidden_size"], SIZES["num_attention_heads"], LABELS]
    worker = os.path.join(ROOT, "benchmarks", "serving_worker_torch.py")
    process = subprocess.Popen([python, worker, vocab, ",".join(map(str, sizes)), str(port)], universal_newlines=True)
    server = Server(process, port)
    for _ in range(600):
        try:
            asyncio.run(_ready(port))
            return server
        except OSError:
            time.sleep(0.2)
    raise SystemExit("The other server does not start.")


async def _ready(port: int) -> None:
    client = await Client.connected(port)
    await client.ask("GET", "/readyz", b"")
    client.close()


# --- clients ----------------------------------------------------------------------------------------------------------


class Client:
    """One connection that is kept, and little else: what a client costs is taken from the server's processors."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def connected(cls, port: int) -> "Client":
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    async def ask(self, method: str, path: str, body: bytes) -> Tuple[int, bytes]:
        """(status, body) of the answer."""
        head = "{} {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
        self._writer.write(head.format(method, path, len(body)).encode("ascii") + body)
        lines = (await self._reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        headers = dict(line.lower().split(b": ", 1) for line in lines[1:] if line)
        return int(lines[0].split()[1]), await self._reader.readexactly(int(headers[b"content-length"]))

    def close(self) -> None:
        self._writer.close()


class Load(NamedTuple):
    """The outcome of a closed loop."""

    sentences: int
    secs: float
    cpu_secs: float  # of the server
    latencies: List[float]  # secs, sorted
    errors: int

    def row(self, name: str, clients: int) -> str:
        share = lambda p: 1e3 * self.latencies[min(int(p * len(self.latencies)), len(self.latencies) - 1)]  # noqa: E731
        return "| {} | {} | {:,.0f} | {:.1f} | {:.1f} | {:.2f} |".format(
            name, clients, self.sentences / self.secs, share(0.5), share(0.99), 1e3 * self.cpu_secs / self.sentences
        )


async def closed_loop(server: Server, sentences: List[str], clients: int, secs: float) -> Load:
    latencies: List[float] = []
    errors = 0
    end = time.perf_counter() + secs

    async def client(number: int) -> None:
        nonlocal errors
        rng = random.Random(number)
        connection = await Client.connected(server.port)
        while time.perf_counter() < end:
            body = json.dumps({"texts": [rng.choice(sentences)]}).encode()
            started = time.perf_counter()
            status, _ = await connection.ask("POST", "/v1/predict", body)
            latencies.append(time.perf_counter() - started)
            errors += status != 200
        connection.close()

    started, cpu = time.perf_counter(), server.cpu_secs()
    await asyncio.gather(*(client(number) for number in range(clients)))
    spent = time.perf_counter() - started
    return Load(len(latencies), spent, server.cpu_secs() - cpu, sorted(latencies), errors)


def measured(servers: Dict[str, Server], sentences: List[str], secs: float) -> Dict[str, Dict[int, Load]]:
    """Server → number of clients → its load. The servers take turns, so that each has its share of a busy machine."""
    loads: Dict[str, Dict[int, Load]] = {name: {} for name in servers}
    for clients in CLIENTS:
        for name, server in servers.items():
            asyncio.run(closed_loop(server, sentences, clients, secs / 4))  # kernels for these shapes
            loads[name][clients] = asyncio.run(closed_loop(server, sentences, clients, secs))
            print(loads[name][clients].row(name, clients), flush=True)
    return loads


# --- what must hold ---------------------------------------------------------------------------------------------------


def compare(ours: Dict[int, Load], theirs: Dict[int, Load]) -> None:
    """Says by how much serve.py is ahead, in the numbers that were aimed at."""
    rate = {name: loads[32].sentences / loads[32].secs for name, loads in (("ours", ours), ("theirs", theirs))}
    cost = {name: loads[32].cpu_secs / loads[32].sentences for name, loads in (("ours", ours), ("theirs", theirs))}
    median = {n: loads[1].latencies[len(loads[1].latencies) // 2] for n, loads in (("ours", ours), ("theirs", theirs))}
    print("32 clients: {:.1f} × the rate (3 wanted)".format(rate["ours"] / rate["theirs"]), end=", ")
    print("{:.2f} of the processor time a sentence (or 0.33)".format(cost["ours"] / cost["theirs"]), end="; ")
    print("1 client: {:.2f} of the median latency (1 wanted)".format(median["ours"] / median["theirs"]))


def soak(server: Server, sentences: List[str], minutes: float) -> int:
    """Full load for so many minutes; prints memory and errors for each. Returns the number of errors."""
    errors = total = 0
    for minute in range(max(int(minutes), 1)):
        load = asyncio.run(closed_loop(server, sentences, 32, 60.0 * min(minutes, 1)))
        errors, total = errors + load.errors, total + load.sentences
        line = "minute {}: {:,} sentences, {} errors, {:.0f} MB"
        print(line.format(minute + 1, load.sentences, load.errors, server.memory_mb()), flush=True)
    print("{:,} sentences, {} errors".format(total, errors))
    return errors


def send_malformed(server: Server, model: str, count: int) -> Dict[int, int]:
    """Sends requests that mean nothing. Returns status → how many answers had it."""
    sys.path[:0] = [ROOT, os.path.join(ROOT, "tests")]
    from serve_test import malformed

    async def scenario() -> Dict[int, int]:
        rng = random.Random(3)
        counts: Dict[int, int] = {}
        connection: Optional[Client] = None
        for _ in range(count):
            connection = connection or await Client.connected(server.port)
            path, body = malformed(rng, model)
            status, _ = await connection.ask("POST", path, body)
            counts[status] = counts.get(status, 0) + 1
        return counts

    return asyncio.run(scenario())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--data", required=True, help="folder of SST-2: train.tsv and dev.tsv")
    parser.add_argument("--vocab", required=True, help="vocab.txt of an uncased BERT")
    parser.add_argument("--torch", help="Python with torch, transformers, fastapi and uvicorn")
    parser.add_argument("--secs", type=float, default=10.0, help="length of each measurement [10]")
    parser.add_argument("--soak_minutes", type=float, default=0.0, help="full load for so long [0]")
    parser.add_argument("--port", type=int, default=8091, help="of the other server [8091]")
    parser.add_argument("--flags", default="", help="further flags of serve.py, separated by blanks")
    arguments = parser.parse_args()
    sentences = sentences_in(arguments.data)
    with tempfile.TemporaryDirectory() as folder:
        run = make_run(folder, arguments.vocab, arguments.data)
        server = start_ours(run, arguments.flags.split())
        servers = {"serve.py": server}
        try:
            if arguments.torch:
                servers["transformers"] = start_torch(arguments.torch, arguments.vocab, arguments.port)
            print("| server | clients | sentences/s | median ms | 99 % ms | processor ms a sentence |")
            print("|---|---|---|---|---|---|")
            loads = measured(servers, sentences, arguments.secs)
            if arguments.torch:
                servers.pop("transformers").stop()
                compare(loads["serve.py"], loads["transformers"])
            if arguments.soak_minutes and soak(server, sentences, arguments.soak_minutes):
                raise SystemExit("serve.py answered with errors.")
            statuses = send_malformed(server, os.path.basename(run), MALFORMED)
            print("{} malformed requests, answered {}".format(MALFORMED, statuses))
            assert all(400 <= status < 500 for status in statuses)
        finally:
            code = [each.stop() for each in servers.values()][0]
    print(
        "serve.py ended with {}; clients used {:.0f} s".format(code, resource.getrusage(resource.RUSAGE_SELF).ru_utime)
    )


if __name__ == "__main__":
    main()
