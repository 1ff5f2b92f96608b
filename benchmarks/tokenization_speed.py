"""Texts a second of FullTokenizer.encode and of the reference that it equals, on a file with a text in each line.

python benchmarks/tokenization_speed.py VOCAB_FILE TEXT_FILE [--cased]

Each is timed three times, the best counts. The reference is timed with its cache of words empty, as in a first run
over a corpus, and full. Differing ids end the program with exit code 1.
"""

import argparse
import os
import sys
import time
from typing import Callable, List

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

import tokenization
from errors import UserError

Ids = List[List[int]]


def reference(tokenizer: tokenization.FullTokenizer, texts: List[str]) -> Ids:
    return [tokenizer.convert_tokens_to_ids(tokenizer.tokenize(text)) for text in texts]


def shortest_secs(call: Callable[[], Ids], expected: Ids) -> float:
    """The best of three calls. Exits where the ids are not the expected ones."""
    secs = []
    for _ in range(3):
        start = time.perf_counter()
        found = call()
        secs.append(time.perf_counter() - start)
        if found != expected:
            sys.exit("The ids differ from the reference's.")
    return min(secs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vocab_file")
    parser.add_argument("text_file")
    parser.add_argument("--cased", action="store_true", help="do not lower-case")
    arguments = parser.parse_args()

    def new() -> tokenization.FullTokenizer:
        return tokenization.FullTokenizer(arguments.vocab_file, do_lower_case=not arguments.cased)

    try:
        tokenizer = new()
        with open(arguments.text_file, encoding="utf-8") as file:
            texts = [line.rstrip("\n") for line in file if line.strip()]
    except (OSError, UnicodeDecodeError, UserError) as error:
        sys.exit("{}: {}".format(arguments.text_file, error) if isinstance(error, UnicodeDecodeError) else str(error))
    if not texts:
        sys.exit("{}: has no text. Give a file with a text in each line.".format(arguments.text_file))
    expected = reference(tokenizer, texts)
    fresh = iter([new() for _ in range(3)])  # made outside of the time taken
    cold = shortest_secs(lambda: reference(next(fresh), texts), expected)
    warm = shortest_secs(lambda: reference(tokenizer, texts), expected)
    encode = shortest_secs(lambda: tokenizer.encode(texts), expected)
    mean = sum(map(len, texts)) / len(texts)
    print("{:,} texts of {:.0f} characters, {} cores".format(len(texts), mean, os.cpu_count()))
    for name, secs in (("reference, cache empty", cold), ("reference, cache full", warm), ("encode", encode)):
        print("{:23} {:>9,.0f} texts/s  encode is {:.2f} times as fast".format(name, len(texts) / secs, secs / encode))


if __name__ == "__main__":
    main()
