"""kvpress's side of ``hf_peers.py``, in an environment of its own: it needs an older transformers than memstack_hf.

It imports no more at its top than both environments have. A line in is one text, read by one group of ways; a line out
is what came of it. What both sides are told and answer is here: ``Text``, ``Outcome`` and how an outcome is counted.
"""

import copy
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

SEGMENT = 512
"""Tokens read at once by whatever reads a text in segments."""
FULL = "full attention"
EAGER, BY_SEGMENTS = "whole, eager", "by segments"
"""Groups of ways: ObservedAttention needs the weights that only eager attention returns."""


@dataclass(frozen=True)
class Text:
    """One text, read up to each of ``contexts`` and gone on from there for ``after`` tokens; the last of them count."""

    name: str
    ids: tuple[int, ...]
    contexts: tuple[int, ...]
    after: int
    counted: int
    budget: int
    """Tokens per layer that attention may read of a context."""

    def parts(self, context: int) -> tuple[Tensor, Tensor, Tensor]:
        """The context, (1, context); what is read after it, (1, after); what should be predicted there, (after,)."""
        ids = torch.tensor(self.ids, dtype=torch.int64)
        last = context + self.after
        return ids[None, :context], ids[None, context:last], ids[context + 1 : last + 1]


@dataclass(frozen=True)
class Outcome:
    """How well a text went on after one context, and what was held of that when it did; bytes of keys and values."""

    way: str
    budget: int
    """Tokens per layer that attention may read; 0 is no limit."""
    text: str
    context: int
    nats: float
    """Per counted token."""
    right: bool
    """Every counted token was the likeliest."""
    read_bytes: int
    """What a query attends to."""
    kept_bytes: int
    """All that is kept of the context."""
    peak_bytes: int
    """The most that was held at once while the context was read."""


def judged(logits: Tensor, wanted: Tensor, counted: int) -> tuple[float, bool]:
    """Nats per token and whether all are right, of the last so many of (after, vocabulary) logits."""
    logits, wanted = logits[-counted:].float(), wanted[-counted:]
    return cross_entropy(logits, wanted).item(), bool((logits.argmax(-1) == wanted).all())


def bytes_per_token(model: Any) -> int:
    """What keys and values of one token take in all layers."""
    config = model.config
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * dim * model.dtype.itemsize


class Kvpress:
    """Presses at equal budgets: on a context that was read whole, or after each segment of it."""

    def __init__(self, folder: str) -> None:
        import kvpress  # pyright: ignore[reportMissingImports]
        from transformers import AutoModelForCausalLM
        from transformers.utils import logging

        logging.disable_progress_bar()
        self._kvpress = kvpress
        self._model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").eval()
        self.groups: dict[str, tuple[str, ...]] = {
            "whole": ("StreamingLLM", "Knorm", "KeyDiff", "SnapKV", "TOVA", "ExpectedAttention", "Random"),
            EAGER: ("ObservedAttention",),
        }
        # Not StreamingLLM: what a press has kept stands in no order, and it goes by order; nor ExpectedAttention, whose
        # queries would stand where the segment would if it were all there is.
        self.groups |= {f"{BY_SEGMENTS} {name}": (name,) for name in ("Knorm", "KeyDiff", "SnapKV", "TOVA")}

    @torch.no_grad()
    def outcomes(self, group: str, text: Text) -> Iterator[Outcome]:
        """Read a text by all ways of a group, at all budgets."""
        self._model.set_attn_implementation("eager" if group == EAGER else "sdpa")
        torch.manual_seed(0)  # of RandomPress, whatever was read before
        names = self.groups[group]
        if group.startswith(BY_SEGMENTS):
            for name in names:
                yield from self._in_segments(name, text)
            return
        for context in text.contexts:
            yield from self._whole(names, text, context, with_full=group != EAGER)

    def _whole(self, names: tuple[str, ...], text: Text, context: int, *, with_full: bool) -> Iterator[Outcome]:
        """One prefill serves all presses: a press changes a layer's cache when that layer has attended."""
        caches = {name: self._cache() for name in names}
        whole = self._cache()
        with all_of(self._kvpress, caches, text.budget)(self._model):
            self._model.model(input_ids=text.parts(context)[0], past_key_values=whole)
        for name, cache in caches.items():
            yield self._outcome(f"kvpress {name}", text.budget, cache, text, context, peak=context)
        if with_full:
            yield self._outcome(f"{FULL}, kvpress's side", 0, whole, text, context, peak=context)

    def _in_segments(self, name: str, text: Text) -> Iterator[Outcome]:
        """Its DecodingPress, told to compress after every forward."""
        press = self._kvpress.DecodingPress(
            base_press=_press(self._kvpress, name),
            compression_interval=1,
            target_size=text.budget,
            hidden_states_buffer_size=0,
        )
        cache, read, peak = self._cache(), 0, 0
        for context in text.contexts:
            with press(self._model):
                for part in text.parts(context)[0][:, read:].split(SEGMENT, 1):
                    peak = max(peak, cache.get_seq_length() + part.shape[1])
                    self._model.model(input_ids=part, past_key_values=cache, position_ids=_places(read, part))
                    read += part.shape[1]
            yield self._outcome(
                f"kvpress {name}, {BY_SEGMENTS}", text.budget, copy.deepcopy(cache), text, context, peak=peak
            )

    def _outcome(self, way: str, budget: int, cache: Any, text: Text, context: int, *, peak: int) -> Outcome:
        held = [layer.keys.shape[2] for layer in cache.layers]
        if budget and set(held) != {budget}:
            raise RuntimeError(f"{way} should have left {budget} tokens in every layer, and left {sorted(set(held))}")
        per_token = bytes_per_token(self._model)
        _, after, wanted = text.parts(context)
        # The cache is shorter than what was read: the mask goes by its length, the rotation by these places.
        output = self._model(input_ids=after, past_key_values=cache, position_ids=_places(context, after))
        nats, right = judged(output.logits[0], wanted, text.counted)
        kept = held[0] * per_token
        return Outcome(way, budget, text.name, context, nats, right, kept, kept, peak * per_token)

    def _cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self._model.config)


def all_of(kvpress: Any, caches: dict[str, Any], budget: int) -> Any:
    """A press that leaves the cache as it is, and fills one for each press with what that would keep."""
    presses = {name: _press(kvpress, name) for name in caches}

    class All(kvpress.BasePress):
        def post_init_from_model(self, model: Any) -> None:
            for press in presses.values():
                press.post_init_from_model(model)

        def compress(
            self, module: Any, hidden_states: Tensor, keys: Tensor, values: Tensor, attentions: Any, kwargs: Any
        ) -> tuple[Tensor, Tensor]:
            for name, cache in caches.items():
                press = presses[name]
                press.compression_ratio = 1 - (budget + 0.5) / keys.shape[2]  # a press keeps the whole part
                kept = press.compress(module, hidden_states, keys, values, attentions, kwargs)
                cache.update(*kept, module.layer_idx)
            return keys, values

    return All()


def _press(kvpress: Any, name: str) -> Any:
    return getattr(kvpress, f"{name}Press")()


def _places(first: int, part: Tensor) -> Tensor:
    return torch.arange(first, first + part.shape[1], dtype=torch.int64)[None]


def main(_: str, request: str) -> None:
    """Load the model, say which groups there are, and answer every line of the standard input."""
    asked = json.loads(request)
    torch.set_num_threads(asked["threads"])
    side = Kvpress(asked["model"])
    _say({"groups": [*side.groups], "versions": {name: version(name) for name in ("kvpress", "transformers", "torch")}})
    for line in sys.stdin:
        given = json.loads(line)
        text = Text(**given["text"])
        _say({"outcomes": [asdict(one) for one in side.outcomes(given["group"], text)]})


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
