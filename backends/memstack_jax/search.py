"""JAX's approximate top-k: brute force with an approximate selection (TPU-KNN, arXiv 2206.14286)."""

from functools import partial
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor
from torch.nn.functional import pad

from memstack import IndexedMemory, MemoryShape, Quantised
from memstack.store import next_power_of_2
from memstack_jax.processes import check_process
from memstack_jax.programs import Keys, StaticArguments, top_slots, write_keys
from memstack_jax.reduction import TILE

BLOCK = 1 << 28  # scores held at once: 1 GB of them
CPU_BLOCK = 1 << 20  # about a core's cache


class JaxMemory(IndexedMemory):
    """Scores every key and keeps the best of each bucket, on the device that JAX finds.

    There is no index. Where the store is on that device, JAX reads it in place; otherwise (a TPU, say, and a store on
    the CPU) JAX holds a copy of the keys. Sizes are rounded up to powers of two, so that a growing memory compiles a
    handful of programs. JAX takes 75 % of a GPU's memory at its first use: where torch shares the GPU, set
    ``XLA_PYTHON_CLIENT_PREALLOCATE=false`` in the environment.
    """

    class Options(IndexedMemory.Options):
        recall_target: Annotated[float, Field(ge=1e-6, lt=1)] = 0.95
        """The least share of the neighbours to expect: it sets how many buckets there are, and fewer are faster."""
        reduction: Literal["native", "buckets"] = "native"
        """``native`` is jax.lax.approx_max_k, which reduces on TPUs and is exact elsewhere, whatever the target;
        ``buckets`` does the same reduction everywhere, so that a TPU's recall can be seen without one."""

    options: Options

    def __init__(self, shape: MemoryShape, options: Options | None = None) -> None:
        super().__init__(shape, options)
        self._find_device()

    def _find_device(self) -> None:
        check_process()
        self._jax_device = _device_beside(self.stored_keys.device)
        self._shared = self._shares_memory()
        self._copy: Keys | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What another memory takes over: what is JAX's it finds for itself, beside its own store."""
        attributes = dict(super().__getstate__())
        for name in ("_jax_device", "_shared", "_copy"):
            del attributes[name]
        return attributes

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        super().__setstate__(attributes)
        self._find_device()

    def index_add(
        self, rows: Int[Tensor, " rows_"], slots: Int[Tensor, "rows_ n"], keys: Float[Tensor, "rows_ heads n key_dim"]
    ) -> None:
        check_process()
        # A write that fails leaves no copy behind, and the next search copies the store anew.
        copy, self._copy = self._copy, None
        if copy is not None:
            stored = Quantised.of(keys) if isinstance(self.stored_keys, Quantised) else keys
            self._copy = self._write_copy(copy, rows, slots, _parts(stored))

    def index_search(
        self, queries: Float[Tensor, "rows heads q key_dim"], k: int
    ) -> Int[Tensor, "rows heads q candidates"]:
        check_process()
        q = queries.shape[2]
        slots = top_slots(
            self._keys(),
            self._to_jax(pad(queries, (0, 0, 0, next_power_of_2(q) - q))),
            self.lengths.int().numpy(),
            self._static_arguments(k),
        ).block_until_ready()  # torch writes to the shared store as soon as this returns
        found = torch.from_dlpack(slots) if self._shared else torch.from_numpy(np.array(slots))
        return found[:, :, :q].to(self.device, torch.int64)

    def index_forget(self, rows: Bool[Tensor, " rows"]) -> None:
        pass  # only slots within a row's length are searched

    def _shares_memory(self) -> bool:
        """Return whether JAX's device and the store's are one."""
        return {"gpu": "cuda"}.get(self._jax_device.platform, self._jax_device.platform) == self.device.type

    def _static_arguments(self, k: int) -> StaticArguments:
        platform, buckets = self._jax_device.platform, self.options.reduction == "buckets"
        used = min(self.shape.capacity, max(TILE, next_power_of_2(int(self.lengths.max()))))
        return StaticArguments(
            used=used,
            k=min(used, next_power_of_2(k)),
            buckets=buckets,
            recall_target=self.options.recall_target,
            shuffled=buckets or platform == "tpu",
            block=CPU_BLOCK if platform == "cpu" else BLOCK,
        )

    def _keys(self) -> Keys:
        """The whole ring on JAX's device: the store itself or the copy of it."""
        parts = _parts(self.stored_keys)
        if self._shared:
            return tuple(map(self._to_jax, parts))
        if self._copy is None:
            dtypes = ("int8", "bfloat16") if len(parts) == 2 else (self.options.dtype,)
            empty = tuple(map(partial(jnp.zeros, device=self._jax_device), (part.shape for part in parts), dtypes))
            every_slot = torch.arange(self.shape.capacity, dtype=torch.int64, device="cpu").expand(self.shape.rows, -1)
            self._copy = self._write_copy(
                empty, torch.arange(self.shape.rows, dtype=torch.int64, device="cpu"), every_slot, parts
            )
        return self._copy

    def _write_copy(self, copy: Keys, rows: Tensor, slots: Tensor, keys: tuple[Tensor, ...]) -> Keys:
        gap = next_power_of_2(slots.shape[1]) - slots.shape[1]
        slots = pad(slots, (0, gap), value=self.shape.capacity)
        sent = tuple(self._to_jax(pad(part, (0, 0, 0, gap))) for part in keys)
        # The caller may change its keys as soon as this returns.
        return jax.block_until_ready(write_keys(copy, rows.int().numpy(), slots.int().numpy(), sent))

    def _to_jax(self, tensor: Tensor) -> jax.Array:
        """The same memory where it is shared; otherwise sent, in float32, for numpy knows no bfloat16."""
        if self._shared:
            return jax.dlpack.from_dlpack(tensor.contiguous(), device=self._jax_device)
        return jax.device_put(tensor.to("cpu", torch.float32).numpy(), self._jax_device)


def _device_beside(store: torch.device) -> Any:
    """JAX's default device; on a machine of several GPUs, the one that the store is on."""
    default = next(iter(jnp.zeros(()).devices()))
    if store.type != "cuda" or default.platform != "gpu":
        return default
    return next(device for device in jax.local_devices() if device.local_hardware_id == store.index)


def _parts(keys: Tensor | Quantised) -> tuple[Tensor, ...]:
    return (keys.codes, keys.scale) if isinstance(keys, Quantised) else (keys,)
