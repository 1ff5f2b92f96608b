"""The encoding of text files: which names --encoding takes, and what a file that is not UTF-8 may be in instead."""

import codecs
import functools
import re
from typing import Optional, Sequence

from ...base.errors import UserError

AUTO = "auto"  # UTF-8, with or without a byte-order mark

_MARKS = ((codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
# Short texts in these are often taken for each other.
_LATIN = re.compile(
    "cp(125[0247]|437|775|85[028]|86[0135]|1006|1125)|latin_1|hp_roman8|mac_(iceland|latin2|roman|turkish)|"
    "iso8859_(2|3|4|9|1[03456])"
)
_SAMPLE_BYTES = 1 << 16


def require_known(name: str) -> None:
    """Raises UserError for a name of which Python knows no encoding of text."""
    if name == AUTO:
        return
    try:
        known = "a\n".encode(name).decode(name) == "a\n"  # raises for hex, rot13 and "undefined"
    except (LookupError, ValueError):
        known = False
    if not known:
        raise UserError("--encoding={}: no encoding of text. Give auto, or a name like gb18030 or cp1252.".format(name))


def codec_of(encoding: str) -> str:
    """The codec of single lines."""
    return "utf-8" if encoding == AUTO or codecs.lookup(encoding).name in ("utf-8", "utf-8-sig") else encoding


def ends_lines_as_ascii(codec: str) -> bool:
    """Whether the bytes of a file can be split at line ends before they are decoded."""
    return "a\n".encode(codec) == b"a\n"


def marked(start: bytes) -> Optional[str]:
    """The encoding, other than UTF-8, that the byte-order mark at the start of a file shows."""
    return next((name for mark, name in _MARKS if start.startswith(mark)), None)


def is_cut_off(error: UnicodeDecodeError, raw: bytes) -> bool:
    """Whether the last line of a file ends within a character."""
    incomplete = error.reason in ("unexpected end of data", "incomplete multibyte sequence", "truncated data")
    return incomplete and error.end == len(raw) and not raw.endswith(b"\n")


def with_utf8(lines: Sequence[bytes]) -> int:
    """How many lines have characters beyond ASCII, in UTF-8."""
    return sum(1 for line in lines if any(byte > 127 for byte in line) and _decodes(line, "utf-8"))


def remedy(lines: Sequence[bytes], bad: bytes) -> str:
    """What to do with a file that is not UTF-8. lines: some of it from its start. bad: a line that is not UTF-8."""
    if with_utf8(lines) > sum(1 for line in lines if not _decodes(line, "utf-8")):
        return "Other lines are UTF-8: fix this one."
    beyond_ascii = [line for line in [bad, *lines] if any(byte > 127 for byte in line)]
    likely = _likely(b"".join(beyond_ascii)[:_SAMPLE_BYTES])
    if likely is not None and _LATIN.fullmatch(likely):
        return (
            "The file looks like cp1252 (Western Europe) or cp1250 (Central Europe): pass --encoding=cp1252 or "
            "--encoding=cp1250."
        )
    if likely is not None:
        return "The file looks like {0}: pass --encoding={0}.".format(likely)
    return "Is it a text file? Then name its encoding, such as --encoding=gb18030 or --encoding=cp1252."


def remedy_of_nul(raw: bytes) -> str:
    """What to do with a line that has a NUL character."""
    if raw.count(b"\0") * 4 < len(raw):
        return "Is it a text file? Remove the character."
    return "The file looks like UTF-16: pass --encoding=utf-16-{}.".format("be" if raw[:1] == b"\0" else "le")


def _decodes(line: bytes, codec: str) -> bool:
    try:
        line.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


@functools.lru_cache(maxsize=8)
def _likely(sample: bytes) -> Optional[str]:
    """The likely encoding of a sample; None if none is likely, or charset-normalizer is not installed."""
    try:
        import charset_normalizer
    except ImportError:
        return None
    matches = charset_normalizer.from_bytes(sample)
    return next((match.encoding for match in matches if not match.encoding.startswith(("utf", "ascii"))), None)
