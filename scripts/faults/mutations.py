"""Ways to spoil the content of a file: its bytes, its text, its JSON."""

import json
import random
from typing import Any, Callable, Dict, List, Tuple

Mutation = Callable[[bytes, random.Random], bytes]


def pick(rng: random.Random, items: Any) -> Any:
    return items[rng.randrange(len(items))]


# --- bytes ------------------------------------------------------------------------------------------------------------


def _flipped(content: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(content))
    return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]


def _swapped(content: bytes, rng: random.Random) -> bytes:
    """Exchanges two lines."""
    lines = content.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first], lines[second] = lines[second], lines[first]
    return b"\n".join(lines)


def _doubled(content: bytes, rng: random.Random) -> bytes:
    """Repeats a piece."""
    start, end = sorted((rng.randrange(len(content)), rng.randrange(len(content))))
    return content[:end] + content[start:]


BYTES: Dict[str, Mutation] = {
    "a flipped bit": _flipped,
    "cut": lambda content, rng: content[: rng.randrange(len(content))],
    "emptied": lambda content, rng: b"",
    "zeros": lambda content, rng: bytes(len(content)),
    "lines exchanged": _swapped,
    "a piece repeated": _doubled,
}

# --- text -------------------------------------------------------------------------------------------------------------

_NOT_UTF8 = [b"\xff", b"\x80", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\xf4\x90\x80\x80"]
_ODD_CHARACTERS = "\u2028\x0b\x0c\x1c\x85\u200b\u0301\u202e\ufffd\ufeff\xa0\xad\x07\x1b\U0001f600\U000e0001\ud7ff"
_ODD_WORDS = [b"nan", b"1e999", b"-1", b"9" * 400, b"[MASK]", b"O", b"B-", b"I-X", b"-DOCSTART-", b"null", b"../../x"]


def _inserted(pieces: Callable[[random.Random], bytes]) -> Mutation:
    def mutation(content: bytes, rng: random.Random) -> bytes:
        at = rng.randint(0, len(content))
        return content[:at] + pieces(rng) + content[at:]

    return mutation


def _replaced(old: bytes, new: bytes) -> Mutation:
    """Replaces one of the places, or all of them."""

    def mutation(content: bytes, rng: random.Random) -> bytes:
        if rng.random() < 0.3:
            return content.replace(old, new)
        parts = content.split(old)
        at = rng.randrange(len(parts))
        return old.join(parts[: at + 1]) + (new + old.join(parts[at + 1 :])) * (at + 1 < len(parts))

    return mutation


def _odd_word(content: bytes, rng: random.Random) -> bytes:
    """Another word in place of one."""
    words = content.split(b" ")
    words[rng.randrange(len(words))] = pick(rng, _ODD_WORDS)
    return b" ".join(words)


def _other_encoding(content: bytes, rng: random.Random) -> bytes:
    return content.decode("utf-8", "replace").encode(pick(rng, ["utf-16", "utf-16-le", "utf-32", "utf-7", "utf-8-sig"]))


TEXT: Dict[str, Mutation] = {
    "bytes that are not UTF-8": _inserted(lambda rng: pick(rng, _NOT_UTF8)),
    "NUL": _inserted(lambda rng: b"\0" * rng.randint(1, 3)),
    "a lone quote": _inserted(lambda rng: pick(rng, [b'"', b"'", b'\t"', b'\n"'])),
    "a very long line": _inserted(lambda rng: pick(rng, [b"a", b"a ", b"\t", "\u5b57".encode()]) * (1 << 20)),
    "an odd character": _inserted(lambda rng: pick(rng, _ODD_CHARACTERS).encode()),
    "another encoding": _other_encoding,
    "a tab": _inserted(lambda rng: b"\t" * rng.randint(1, 3)),
    "fewer tabs": _replaced(b"\t", b""),
    "fewer line ends": _replaced(b"\n", b""),
    "line ends of Macintosh": _replaced(b"\n", b"\r"),
    "blank lines": _replaced(b"\n", b"\n \n\n"),
    "an odd word": _odd_word,
}

# --- JSON -------------------------------------------------------------------------------------------------------------

_DEPTH = 100000
_VALUES = ["null", "true", "-1", "0", "0.5", "1.0", "1e308", "1e999", "NaN", "-Infinity", "1000000000", "-"]
_VALUES += ["[]", "{}", "[[[]]]", "[null]", '{"": {}}', '{"a": 1, "a": 2}']
_VALUES += ['""', '"gelu"', '"1"', r'"\ud800"', r'"\u0000"', '"/etc/passwd"', '"../../x"']
_VALUES += ["9" * 400, '"{}"'.format("a" * _DEPTH), "[" * _DEPTH + "]" * _DEPTH]
_HOLE = "\ue000"


def _place(value: Any, rng: random.Random) -> Tuple[Any, Any]:
    """(a list or an object at any depth, one of its keys)."""
    while True:
        key = pick(rng, sorted(value) if isinstance(value, dict) else range(len(value)))
        if not (isinstance(value[key], (dict, list)) and value[key]) or rng.random() < 0.3:
            return value, key
        value = value[key]


def json_value(content: bytes, rng: random.Random) -> bytes:
    """One value, at any depth, made odd, removed, added, or that of another key. The content is valid JSON."""
    value = json.loads(content.decode("utf-8"))
    odd = pick(rng, _VALUES)
    if not isinstance(value, (dict, list)) or not value:
        return bytes(odd.encode())
    holder, key = _place(value, rng)
    change = rng.random()
    if change < 0.15:
        del holder[key]
    elif change < 0.25:
        odd = json.dumps(holder[key])
        other_holder, other_key = _place(value, rng)
        other_holder[other_key] = _HOLE
    elif change < 0.35 and isinstance(holder, dict):
        holder[str(key) + "x"] = _HOLE
    else:
        holder[key] = _HOLE
    return json.dumps(value).replace(json.dumps(_HOLE), odd).encode()


def mutated(content: bytes, ending: str, rng: random.Random) -> Tuple[str, bytes]:
    """(what was done, the content with one to three mutations) of a file with this ending."""
    while True:
        how, result = _mutated(content, ending, rng)
        if result != content or not content:
            return how, result


def _mutated(content: bytes, ending: str, rng: random.Random) -> Tuple[str, bytes]:
    chance = rng.random()
    if ending == ".json" and chance < 0.7:
        return "JSON", json_value(content, rng)
    if ending == ".jsonl" and chance < 0.5:
        lines = content.rstrip(b"\n").split(b"\n")
        at = rng.randrange(len(lines))
        lines[at] = json_value(lines[at], rng)
        return "JSON of a line", b"\n".join(lines) + b"\n"
    if ending == ".safetensors" and chance < 0.7:
        end = 8 + int.from_bytes(content[:8], "little")
        header = json_value(content[8:end], rng)
        return "JSON of its header", len(header).to_bytes(8, "little") + header + content[end:]
    kinds: List[Dict[str, Mutation]] = [BYTES] if ending == ".safetensors" else [TEXT, TEXT, BYTES]
    kind = pick(rng, kinds)
    how = pick(rng, sorted(kind))
    for _ in range(rng.randint(1, 3) if kind is BYTES else 1):
        content = kind[how](content, rng) if content else content
    return how, content
