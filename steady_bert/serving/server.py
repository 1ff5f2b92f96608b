"""serve.py's work: load the model, listen, answer until a signal comes, and answer what was asked before it."""

import contextlib
import gc
import signal
import socket
from typing import Any, Iterator

from ..base import tensorflow_setup
from ..base.errors import UserError
from .settings import ServingConfig

_BACKLOG = 2048  # connections that wait to be accepted, as many as uvicorn lets
_LENGTHS = (1, 8, 24)  # words of the texts that the model answers before it serves


def serve(config: ServingConfig) -> int:
    """Serves until SIGTERM, which is a normal end (0), or SIGINT (130). Raises UserError for what cannot be served."""
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError(
            "{}. Install what serve.py needs: pip install -r requirements-serve.txt".format(error)
        ) from None
    from .gate import read_keys

    # Before the model is loaded, so that mistakes are known at once.
    read_keys(config.api_key_file)
    listening = _listen(config)
    tensorflow_setup.import_tensorflow()
    from . import application as applications
    from .predictor import Predictor

    flags = {} if config.precision == "float32" else {"precision": config.precision}
    predictor = Predictor(config.model_dir, config.checkpoint, config.batch_tokens, **flags)
    application = applications.application(predictor, config)
    warm_up(predictor)
    gc.collect()
    gc.freeze()  # what lives as long as the server is not looked at again
    options: Any = dict(log_level="warning", access_log=False, timeout_keep_alive=60, server_header=False)
    server = uvicorn.Server(uvicorn.Config(application, **options))
    with _refusing(config, listening):  # another process may have taken the port meanwhile
        listening.listen(_BACKLOG)  # who reads the line below may connect at once
    print("Serving {} at http://{}:{}".format(config.model_dir, *listening.getsockname()[:2]), flush=True)
    with _ended_by_signals(server) as received:
        server.run(sockets=[listening])
    return 130 if signal.SIGINT in received else 0


def warm_up(predictor: Any) -> None:
    """Answers a few texts: TensorFlow prepares a graph when it is first run, and a kernel for each shape."""
    if predictor.run is None:
        predictor.embed(["a " * words for words in _LENGTHS])
        return
    for words in _LENGTHS:
        text = "a " * words
        predictor.predict([text if 1 in predictor.run.text_counts else (text, text)])


def _listen(config: ServingConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with _refusing(config, listening):
        listening.bind((config.host, config.port))
    return listening


@contextlib.contextmanager
def _refusing(config: ServingConfig, listening: socket.socket) -> Iterator[None]:
    """Within it, an address that cannot be had is a UserError, and the socket is closed."""
    try:
        yield
    except (OSError, UnicodeError) as error:  # the latter for a name that is none
        listening.close()
        raise UserError(
            "--host={} --port={}: {}. Name another port, or an address of this machine.".format(
                config.host, config.port, getattr(error, "strerror", None) or error
            )
        ) from None


@contextlib.contextmanager
def _ended_by_signals(server: Any) -> Iterator[set]:
    """Within it, SIGTERM and SIGINT end the server once it has answered; a second one ends it at once.

    The set holds the signals that came. uvicorn's own handlers differ between its versions, and end the process with
    the signal in some.
    """
    received: set = set()

    def handle(number: int, frame: Any) -> None:
        server.force_exit = bool(received)
        server.should_exit = True
        received.add(number)

    server.install_signal_handlers = lambda: None  # until 0.28
    server.capture_signals = contextlib.nullcontext  # from 0.29 on
    before = {number: signal.signal(number, handle) for number in tensorflow_setup.SIGNALS}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
