"""What the members of a job say to each other over their link, and how they prove that they know the job's key.

A connection begins with the chief's {"challenge": random, "keyed": whether it asks for a key}. A worker answers with
its hello, {"name", "address", "description", "nonce": random, "proof"}; the chief welcomes it with a proof of its own,
{"welcome": proof}. A proof is an HMAC-SHA256 (RFC 2104), by the job's key, of both random values and of the hello. It
names whose proof it is, so neither side's serves as the other's, and both random values are new, so a recorded proof
does not serve again. Without a key nothing is proven. Messages after the welcome are not signed.
"""

import hashlib
import hmac
import json
from typing import Any, Dict

KEY_VARIABLE = "STEADY_BERT_CLUSTER_KEY"

# Each message after the hello has the keys of one of these.
_SHAPES: Dict[str, Dict[str, type]] = {
    "welcome": {"welcome": str},
    "start": {"start": str},  # when
    "beat": {"beat": int},
    "round": {"round": int, "member": str, "value": object},  # a member's value of one call of share()
    "over": {"over": str, "status": int},  # why the job ends, and the exit status
    "bye": {"bye": int},
}


def has_shape(message: Dict[str, Any]) -> bool:
    """Whether a message after the hello is one of those that members send."""
    shape = next((shape for key, shape in _SHAPES.items() if key in message), None)
    if shape is None or set(message) != set(shape):
        return False
    return all(kind is object or type(message[key]) is kind for key, kind in shape.items())  # True is no int here


def is_hello(message: Dict[str, Any]) -> bool:
    texts = [message.get(key) for key in ("name", "address", "nonce", "proof")]
    description = message.get("description")
    return all(isinstance(text, str) for text in texts) and is_description(description)


def is_description(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def worker_proof(key: str, challenge: str, hello: Dict[str, Any]) -> str:
    """What a worker proves its knowledge of the key with. hello: with its nonce; a proof in it is not read."""
    said = {name: hello[name] for name in ("name", "address", "description", "nonce")}
    return _proof(key, "worker", challenge, said)


def chief_proof(key: str, challenge: str, hello: Dict[str, Any]) -> str:
    """What the chief proves its knowledge of the key with, to the worker that sent `hello`."""
    return _proof(key, "chief", challenge, hello["nonce"])


def _proof(key: str, *said: Any) -> str:
    if not key:
        return ""
    return hmac.new(_bytes_of(key), json.dumps(said, sort_keys=True).encode("ascii"), hashlib.sha256).hexdigest()


def is_proof(given: str, expected: str) -> bool:
    """Compares in a time that does not tell where they differ."""
    return hmac.compare_digest(_bytes_of(given), _bytes_of(expected))


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")  # half a pair is JSON, and a key may be of any bytes
