"""LongMemory: the memories of a model of transformers, and what is in sight beside them."""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from memstack.bank import MemoryBank
from memstack.contract.errors import OptionsError, ShapeError
from memstack.contract.shape import MemoryShape
from memstack.contract.state import select_rows
from memstack.plugins.registry import create_memory
from memstack.wrappers.common import OpenStore
from memstack_hf.config import LongMemoryConfig
from memstack_hf.memory import saving
from memstack_hf.memory.calibration import calibrate, nothing_told
from memstack_hf.memory.forward import ForwardHook
from memstack_hf.memory.joined import JoinedAttention, Terms
from memstack_hf.memory.snapshot import Snapshot
from memstack_hf.memory.window import Leaving, WindowCache
from memstack_hf.model.interface import LISTENER, name_of
from memstack_hf.model.plan import Plan
from memstack_hf.model.projections import projections


class LongMemory(Terms):
    """A long-term memory of a causal language model; made by ``attach``.

    What has been read stays in sight for a window; what leaves that is written to the memories of the layers, whose
    queries find it by key. The model is used as before: every forward, and so ``generate`` and ``Trainer``, goes on
    from what was read, and is remembered.

    Its parameters, ``scale`` and ``bias`` per layer and head and, if asked for, ``age``, are all that is learned of it.
    """

    def __init__(self, model: Any, config: LongMemoryConfig, plan: Plan, store: OpenStore | None = None) -> None:
        super().__init__(len(plan.layers), plan.heads, config, model.device)
        self.config, self.plan, self.store = config, plan, store
        self.model: Any
        self.__dict__["model"] = model  # not a submodule: the model owns itself
        base = str(model.config._attn_implementation)
        self.cache = WindowCache(plan.depth, config.sinks, plan.window, plan.segment, self.select)
        self.attention = JoinedAttention(plan, self.cache, self, base)
        self.far = torch.zeros(0, dtype=torch.bool, device="cpu")
        """Rows whose text is longer than the native context: their keys stand at the fixed distance."""
        self._always = config.position == "fixed"
        self._hook = ForwardHook(self)
        self._join()

    # What a user calls ----------------------------------------------------------------------------------------------

    @torch.no_grad()
    def read(
        self, ids: Int[Tensor, "rows n"], attention_mask: Tensor | None = None, *, logits: bool = False
    ) -> Tensor | None:
        """Read a text of any length, a segment at a time; return the logits, (rows, n, vocabulary), if asked for.

        ``attention_mask`` is 0 where a row is padding, at its left or right. Every row is read as it would be alone.

        Raises:
            ShapeError: the rows are not those read before, or a row's mask has holes.
            AttachError: the text is longer than a model can read whose positions cannot be moved.
        """
        return self._hook.read(ids, attention_mask, logits=logits)

    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        """Forget everything, or the rows that are True, which begin another document."""
        if rows is None:
            self.cache.clear(0)
            self.attention.bank = MemoryBank()
            self.far = torch.zeros(0, dtype=torch.bool, device="cpu")
            return
        starts = torch.as_tensor(rows, dtype=torch.bool, device="cpu")
        if starts.shape != (len(self.far),):
            raise ShapeError(f"reset should be told ({len(self.far)},), one per row, got {tuple(starts.shape)}")
        self.settle()
        self.bank.reset(starts)
        self.cache.forget(starts)
        self.far = self.far & ~starts

    def select(self, rows: Int[Tensor, " selected"]) -> None:
        """Have row i hold what row ``rows[i]`` held, any number of rows: beams, or one text that several ask about."""
        rows = rows.to("cpu", torch.int64)
        if len(rows) == len(self.far):
            self.bank.select(rows)
        elif self.bank:
            states = {layer: select_rows(memory.state_dict(), rows) for layer, memory in self.bank.items()}
            self.attention.bank = self._new_bank(len(rows))
            for layer, state in states.items():
                self.bank[layer].load_state_dict(state)
        self.cache.select(rows)
        self.far = self.far[rows]

    def snapshot(self) -> Snapshot:
        """Return all that is remembered and in sight, to go on from more than once: many questions about one book."""
        self.settle()
        return Snapshot(self.bank.state_dict(), self.cache.state(), self.far.clone())

    def restore(self, snapshot: Snapshot) -> None:
        """Go on from a snapshot of this memory."""
        if len(self.far) != snapshot.rows or not self.bank:
            self.attention.bank = self._new_bank(snapshot.rows) if snapshot.rows else MemoryBank()
        if self.bank:
            self.bank.load_state_dict(snapshot.remembered)
        self.cache.load(snapshot.window)
        self.far = snapshot.far.clone()

    def calibrate(self, ids: Int[Tensor, "rows n"], tell: Callable[[str], None] = nothing_told) -> tuple[int, ...]:
        """Choose by loss on a text which layers go on beyond the native context, and return them; some twenty readings.

        ``tell`` hears of each. The memory is empty afterwards. Raises ShapeError for a text that is no longer than what
        is in sight.
        """
        return calibrate(self, ids, tell)

    def projections(self) -> list[str]:
        """Name the modules that make the queries and keys of the layers that search, for peft's ``target_modules``.

        They are found out by a forward of a few tokens, which is not remembered. Under ``position="fixed"`` the layers
        are ``far_layers``.
        """
        self._hook.remove()
        try:
            return projections(self.model, self.plan.searching, self.attention.base)
        finally:
            self._hook.add()

    def save_pretrained(self, folder: str | Path, *, contents: bool = False) -> None:
        """Write settings and what was learned into a folder and, if asked to, all that is remembered and in sight."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        saving.write_settings(place, self.config, self.plan.far_layers)
        saving.write_learned(place, self.state_dict())
        if contents:
            saving.write_contents(place, self.snapshot(), saving.digest_of(self.model))

    @contextmanager
    def disabled(self) -> Generator[None]:
        """Neither search nor write for so long: the window and its sinks alone. What leaves the window is lost."""
        self.settle()
        self.attention.paused, before = True, self.attention.paused
        try:
            yield
        finally:
            self.settle()
            self.attention.paused = before

    def detach(self) -> None:
        """Give the model back as it was; once is enough."""
        self._hook.remove()
        for module in self.plan.modules.values():
            module.__dict__.pop(LISTENER, None)
        if str(self.model.config._attn_implementation) == name_of(self.attention.base):
            self.model.set_attn_implementation(self.attention.base)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()

    @property
    def bank(self) -> MemoryBank:
        """The memories by layer."""
        return self.attention.bank

    @property
    def seen(self) -> Int[Tensor, " rows"]:
        """How many tokens of each row have been read since it began."""
        return self.cache.seen + (self.cache.expected() if self.cache.new else 0)

    @property
    def remembered(self) -> Int[Tensor, " rows"]:
        """How many tokens of each row its memories hold, in the layers that go furthest back."""
        lengths = [memory.lengths - self._stored(layer) for layer, memory in self.bank.items()]
        return torch.stack(lengths).amax(0) if lengths else torch.zeros(len(self.far), dtype=torch.int64, device="cpu")

    # Choosing layers ------------------------------------------------------------------------------------------------

    def have_far_layers(self, layers: Sequence[int]) -> None:
        """Have these layers go on beyond the native context; what is remembered is forgotten."""
        self.reset()
        self.plan = self.attention.plan = self.plan.with_far(tuple(layers))

    @contextmanager
    def always_far(self) -> Generator[None]:
        """Have keys stand at the fixed distance from the beginning for so long, whatever the settings say."""
        self._always, before = True, self._always
        try:
            yield
        finally:
            self._always = before

    # Writing --------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def settle(self, *, everything: bool = False) -> None:
        """Write what the last forward has pushed out of sight, or all of it; the next forward does it by itself."""
        leaving = self.cache.settle(everything=everything or self.attention.step.uncached)
        if leaving is None:
            return
        if not self.attention.paused:
            self._write(leaving)

    def prepare(self, rows: int, longest: Int[Tensor, " rows"]) -> None:
        """Have a memory and a window for so many rows, and move those rows that will outgrow the native context."""
        if len(self.far) != rows:
            self._have_rows(rows)
        native, always = self.plan.native, self._always
        if not always and (self.config.position == "true" or native is None):
            return
        long = torch.zeros_like(self.far) if native is None else self.cache.seen + longest > native
        if bool((outgrown := ~self.far & (long | always)).any()):
            self._go_far(outgrown)

    def _write(self, leaving: Leaving) -> None:
        near = torch.where(self.far, 0, leaving.counts)
        for far, counts in ((True, leaving.counts), (False, near)):
            layers = [layer for layer in self.bank if (layer in self.plan.far_layers) == far]
            new = {layer: (leaving.pairs[layer][0].float(), leaving.pairs[layer][1].float()) for layer in layers}
            MemoryBank({layer: self.bank[layer] for layer in layers}).commit(new, counts)

    def _go_far(self, rows: Bool[Tensor, " rows"]) -> None:
        """Have what these rows remember stand at the fixed distance, in the layers where that helps."""
        if not self.plan.movable:
            raise self.plan.too_long()
        for layer, memory in self.bank.items():
            if layer not in self.plan.far_layers:
                memory.reset(rows)  # it helps no further: docs/hugging-face.md
            elif self.plan.facts[layer].rotation is not None and bool(memory.written.any()):
                memory.load_state_dict(self._turned_back(layer, memory.state_dict(), rows))
        self.cache.turn_back(rows, self.plan.turned)
        self.far = self.far | rows

    def _turned_back(self, layer: int, state: dict[str, Tensor], rows: Bool[Tensor, " rows"]) -> dict[str, Tensor]:
        keys, written = state["keys"], state["written"].cpu()
        first = (written - self.plan.capacity(layer)).clamp(min=0) + self.config.sinks
        places = first[:, None] + torch.arange(keys.shape[2], dtype=torch.int64, device="cpu")
        offsets = torch.where(rows[:, None] & (keys.shape[2] > 0), -places, 0).to(keys.device)
        return state | {"keys": self.plan.turned(layer, keys, offsets)}

    def _have_rows(self, rows: int) -> None:
        held = len(self.far)
        if held and rows % held == 0:
            self.select(torch.arange(held, dtype=torch.int64, device="cpu").repeat_interleave(rows // held))
            return
        if held:
            raise ShapeError(
                f"this memory holds {held} rows, one per text read side by side, and got a batch of {rows}; "
                "reset() it, or restore() a snapshot of as many rows"
            )
        self.cache.clear(rows)
        self.attention.bank, self.far = self._new_bank(rows), torch.zeros(rows, dtype=torch.bool, device="cpu")

    def _new_bank(self, rows: int) -> MemoryBank:
        memories: dict[int, Any] = {}
        for layer in self.plan.layers:
            facts = self.plan.facts[layer]
            shape = MemoryShape(
                rows=rows,
                heads=facts.kv_heads,
                key_dim=facts.dim,
                value_dim=facts.dim,
                capacity=self.plan.capacity(layer),
            )
            own = create_memory(self.config.backend, shape, **self.plan.options_for(facts.device))
            memories[layer] = self.store.beside(layer, own) if self.store and self._stored(layer) else own
        return MemoryBank(memories)

    def _stored(self, layer: int) -> int:
        """How many entries of a store a layer searches beside its own."""
        searches = self.store is not None and layer in self.plan.searching and layer in self.store.memories
        return self.store.contents.entries if self.store is not None and searches else 0

    def _join(self) -> None:
        """Have the model ask this memory; a backend or option that is wrong is told before."""
        try:
            self._new_bank(1)
        except ShapeError as error:
            raise OptionsError(str(error)) from None
        for module in self.plan.modules.values():
            module.__dict__[LISTENER] = self.attention
        self.model.set_attn_implementation(name_of(self.attention.base))
        self._hook.add()
