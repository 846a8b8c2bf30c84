"""The programs that JAX compiles: a search of all memories, and a write into the copy of the keys."""

from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from memstack_jax.reduction import bucket_top_k

Keys = tuple[jax.Array, ...]
"""Numbers, or codes and their scales: what is stored is the product. The codes' last axis is key_dim, the scales' 1."""


class StaticArguments(NamedTuple):
    """The numbers that a search is compiled for, beside the shapes of its arrays."""

    used: int
    """Slots of the ring that are looked at."""
    k: int
    buckets: bool
    """True to reduce here, not in approx_max_k."""
    recall_target: float
    shuffled: bool
    """True to deal the keys in a fixed random order, where they are reduced: text repeats itself, and what repeats with
    a period that divides the buckets would always meet in one; the recall target assumes chance."""
    block: int
    """Scores that are held at once."""


@partial(jax.jit, static_argnames="static")
def top_slots(
    keys: Keys,
    queries: jax.Array,
    lengths: jax.Array | np.ndarray[tuple[int, ...], np.dtype[np.int32]],
    static: StaticArguments,
) -> jax.Array:
    """Return the slots (rows, heads, q, k) of the largest inner products among each row's first ``lengths`` keys.

    ``keys`` are parts of the whole (rows, heads, capacity, key_dim) ring: a slice of the store would be a copy. -1 is
    no slot.
    """
    search = partial(_search_memory, static=static)
    rows, heads, q, _ = queries.shape
    memories = tuple(map(_by_memory, keys)), _by_memory(queries), jnp.repeat(lengths, heads)
    slots = jax.lax.map(search, memories, batch_size=max(1, static.block // (static.used * q)))
    return slots.reshape(rows, heads, q, -1)


def _by_memory(part: jax.Array) -> jax.Array:
    return part.reshape(-1, *part.shape[2:])


def _search_memory(memory: tuple[Keys, jax.Array, jax.Array], static: StaticArguments) -> jax.Array:
    """Search one memory: (capacity, key_dim) keys, (q, key_dim) queries and its length give (q, k) slots."""
    keys, queries, length = memory
    order = np.random.default_rng(0).permutation(static.used) if static.shuffled else np.arange(static.used)
    slot_at = jnp.asarray(order, jnp.int32)
    parts = ((part[slot_at] if static.shuffled else part[: static.used]).astype(jnp.float32) for part in keys)
    dealt = reduce(jnp.multiply, parts)

    def search(query: jax.Array) -> jax.Array:
        # The default precision would rank by TF32 or bfloat16 scores.
        scores = jnp.matmul(query, dealt.T, precision=jax.lax.Precision.HIGHEST)
        scores = jnp.where((slot_at < length) & ~jnp.isnan(scores), scores, -jnp.inf)
        best, places = _largest(scores, static)
        return jnp.where(best > -jnp.inf, slot_at[places], -1)

    return jax.lax.map(search, queries, batch_size=max(1, static.block // static.used))


def _largest(scores: jax.Array, static: StaticArguments) -> tuple[jax.Array, jax.Array]:
    if static.buckets:
        return bucket_top_k(scores, static.k, static.recall_target)
    best, places = jax.lax.approx_max_k(scores, static.k, recall_target=static.recall_target)
    return best, places


@partial(jax.jit, donate_argnums=0)
def write_keys(copy: Keys, rows: jax.Array, slots: jax.Array, keys: Keys) -> Keys:
    """Write (rows_, heads, n, key_dim) keys in place at (rows_, n) slots of these rows; one past the ring is none."""

    def write(part: jax.Array, new: jax.Array) -> jax.Array:
        return part.at[rows[:, None], :, slots].set(new.astype(part.dtype).swapaxes(1, 2), mode="drop")

    return jax.tree.map(write, copy, keys)
