"""A computed permutation of 0..n-1: any position in O(1) memory and time, at any n.

The method is the swap-or-not shuffle of Hoang, Morris and Rogaway, "An Enciphering Scheme Based on a Card Shuffle"
(CRYPTO 2012). In round r with round keys K_r and a_r, a position x has the partner x' = (K_r - x) mod n, and both swap
if a keyed bit of max(x, x') is set. A round is its own inverse, so each round is a bijection for every n, and so is
their composition. Nothing is padded to a power of two, and nothing is stored.
"""

import hashlib

import numpy as np

# The paper bounds the advantage of an adversary who sees q of n positions by about n^1.5 ((n + q) / 2n)^(rounds / 2).
# 96 rounds put that below 1e-3 for pairs of positions at n = 10^7.
ROUNDS = 96


def _round_keys(key: str) -> np.ndarray:
    """The round keys [ROUNDS, 2], uint64, hashed from the key."""
    blocks = [hashlib.blake2b("{}/{}".format(key, r).encode(), digest_size=16).digest() for r in range(ROUNDS)]
    return np.frombuffer(b"".join(blocks), dtype="<u8").reshape(ROUNDS, 2)


def _mix(x: np.ndarray) -> np.ndarray:
    """The finalizer of MurmurHash3 (public domain): every input bit reaches every output bit."""
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    x = (x ^ (x >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return x ^ (x >> np.uint64(33))


class Permutation:
    """The permutation of 0..n-1 that belongs to `key`.

    Different keys give independent orders: a key is hashed, so "seed 1, epoch 2" and "seed 2, epoch 1" share nothing.
    """

    def __init__(self, n: int, key: str) -> None:
        if n < 1:
            raise ValueError("A permutation needs n >= 1, not {}.".format(n))
        self._n = np.uint64(n)
        keys = _round_keys(key)
        self._offsets = keys[:, 0] % self._n
        self._salts = keys[:, 1]

    def __call__(self, positions: np.ndarray) -> np.ndarray:
        """Maps positions (any shape, each in 0..n-1) to int64 values in 0..n-1."""
        x = np.asarray(positions).astype(np.uint64)
        for offset, salt in zip(self._offsets, self._salts):
            partner = (offset + (self._n - x)) % self._n
            swap = _mix(np.maximum(x, partner) ^ salt) >> np.uint64(63)
            x = np.where(swap == 1, partner, x)
        return x.astype(np.int64)


def epoch_permutation(n: int, seed: int, epoch: int) -> Permutation:
    """The order of the training examples in one epoch of a run."""
    return Permutation(n, "epoch/{}/{}".format(seed, epoch))
