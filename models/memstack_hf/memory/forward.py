"""ForwardHook: what happens before every forward of a model with a memory, and reading as many forwards."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from transformers.cache_utils import DynamicCache

from memstack.contract.errors import ShapeError
from memstack_hf.memory.joined import JoinedAttention, Places, Step
from memstack_hf.memory.window import WindowCache
from memstack_hf.model.plan import Plan
from memstack_hf.model.probe import AttachError, cache_argument, names_of


class Reader(Protocol):
    """What a forward is told by, and what it tells."""

    model: Any
    plan: Plan
    cache: WindowCache
    attention: JoinedAttention
    far: Bool[Tensor, " rows"]

    def settle(self) -> None:
        """Write what the last forward has pushed out of sight."""
        ...

    def prepare(self, rows: int, longest: Int[Tensor, " rows"]) -> None:
        """Have room for so many rows and new tokens."""
        ...

    def reset(self, rows: Bool[Tensor, " rows"] | None = None) -> None:
        """Forget rows."""
        ...


class _Before:
    """What stands before a forward; a copy of the model has no part in its memory, and nothing before it."""

    def __init__(self, do: Callable[..., Any]) -> None:
        self._do: Any = torch.compiler.disable(do)  # bookkeeping on the CPU

    def __call__(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        return self._do(module, args, kwargs)

    def __deepcopy__(self, memo: object) -> "_Before":
        return _Before(_leave_as_it_is)


def _leave_as_it_is(module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return args, kwargs


class ForwardHook:
    """Settles what the last forward left behind, and tells the next one its positions, mask and cache."""

    def __init__(self, memory: Reader) -> None:
        self._memory = memory
        self._handles: list[Any] = []
        self._told: Tensor | None = None
        self._cache_name = cache_argument(memory.model)

    def add(self) -> None:
        """Stand before the model, and before its inner one, which some call by itself."""
        model = self._memory.model
        for module in {model, model.base_model}:
            self._handles.append(module.register_forward_pre_hook(_Before(self._before), with_kwargs=True))

    def remove(self) -> None:
        """Stand aside; the second time there is nothing to do."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _before(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[()], dict[str, Any]]:
        given = dict(zip(names_of(module.forward), args, strict=False)) | kwargs
        if self._told is not None and given.get("position_ids") is self._told:
            return (), given  # the inner model, which the outer one tells the same
        inputs = given.get("input_ids")
        inputs = given.get("inputs_embeds") if inputs is None else inputs
        if inputs is None:
            return (), given  # which the model refuses in words of its own
        rows, n = inputs.shape[:2]
        given[self._cache_name] = self._cache(given)
        given.pop("cache_position", None)  # which older versions count themselves, if they are not told
        valid = self._valid(given.get("attention_mask"), rows, n)
        self._check_places(given.get("position_ids"), valid)
        uncached = self._is_uncached(given)
        self._memory.settle()
        if (starts := given.pop("starts", None)) is not None and len(self._memory.far):
            self._memory.reset(starts)
        counts = _counts(rows, n, valid)
        if n > self._memory.plan.segment and given.get("logits_to_keep") == 1 and "input_ids" in given and not uncached:
            inputs, valid = self._read_ahead(inputs, valid)
            given["input_ids"], n = inputs, inputs.shape[1]
            counts = _counts(rows, n, valid)
            self._memory.settle()
        self._check_length(counts)
        self._memory.prepare(rows, counts)
        positions, mask = self._memory.cache.begin(n, valid)
        self._memory.attention.step = self._step(n, valid, mask is not None, uncached)
        # Position 0 is no rotation: what is to stand elsewhere is turned in attention, in float32.
        given["position_ids"] = positions.masked_fill(self._memory.far[:, None], 0).to(inputs.device)
        self._told = given["position_ids"]
        given["attention_mask"] = None if mask is None else mask.to(inputs.device, torch.int64)
        if uncached:
            given[self._cache_name], given["use_cache"] = None, False
        return (), given

    def _step(self, n: int, valid: Tensor | None, masked: bool, uncached: bool) -> Step:
        memory, far = self._memory, self._memory.far
        remembering = frozenset(layer for layer, each in memory.attention.bank.items() if bool(each.lengths.any()))
        step = Step(uncached=uncached, masked=masked, remembering=remembering)
        if not bool(far.any()):
            return step
        new = torch.arange(n, dtype=torch.int64, device="cpu").expand(len(far), n)
        new = new if valid is None else (valid.cumsum(1) - 1).clamp(min=0)
        places = memory.cache.rank(), new + memory.cache.kept[:, None], torch.full_like(new, memory.plan.distance)
        return replace(step, places=Places(*(torch.where(far[:, None], each, 0) for each in places)))

    def _cache(self, given: dict[str, Any]) -> Any:
        """Our window, in place of nothing or of the empty cache that ``generate`` makes; any other is refused."""
        cache = given.pop("cache", None)
        other = given.pop("past_key_values", None)
        cache = other if cache is None else cache
        if cache is None or cache is self._memory.cache:
            return self._memory.cache
        if type(cache) is DynamicCache and not cache.get_seq_length() and not getattr(cache, "offloading", False):
            return self._memory.cache
        raise AttachError(
            f"the model got a {type(cache).__name__} of {cache.get_seq_length()} tokens, of which its memory knows "
            "nothing; pass no cache: the memory keeps what is in sight, in memory.cache"
        )

    def _valid(self, mask: Any, rows: int, n: int) -> Bool[Tensor, "rows n"] | None:
        """Which of the new tokens are no padding; None if all are."""
        if mask is None:
            return None
        if not isinstance(mask, Tensor) or mask.ndim != 2 or mask.shape[0] != rows or mask.shape[1] < n:
            came = tuple(mask.shape) if isinstance(mask, Tensor) else type(mask).__name__
            raise ShapeError(f"attention_mask should be ({rows}, {n} or more), 0 where a token is padding, got {came}")
        valid = mask[:, mask.shape[1] - n :].to("cpu", torch.bool)
        return None if bool(valid.all()) else valid

    def _check_places(self, places: Any, valid: Tensor | None) -> None:
        """A memory counts positions by itself; others than one after the other mean another text than it would read."""
        if places is None:
            return
        steps = places.to("cpu").diff(dim=-1)
        counted = steps == 1 if valid is None else (steps == 1) | ~(valid[:, 1:] & valid[:, :-1])
        if places.ndim != 2 or not bool(counted.all()):
            raise ShapeError(
                "position_ids should count on by one in every row: a memory reads one text per row; give each text of "
                "a packed sequence a row of its own, or read one after the other with starts"
            )

    def _is_uncached(self, given: Mapping[str, Any]) -> bool:
        model, plan = self._memory.model, self._memory.plan
        wanted = given.get("use_cache")
        wanted = getattr(model.config.get_text_config(), "use_cache", True) if wanted is None else wanted
        recomputing = model.training and _recomputes(model)
        if wanted is not False and not recomputing:
            return False
        if plan.window or plan.config.sinks:
            why = "gradient checkpointing keeps no cache" if recomputing else "use_cache=False"
            raise AttachError(
                f"{why}, where this memory has its {plan.window} tokens in sight and {plan.config.sinks} sinks; "
                "attach with window=0, sinks=0 to have each segment see itself and the memory alone"
                + (
                    ""
                    if recomputing
                    else ", or leave use_cache as it is: Trainer does with TrainingArguments(use_cache=True)"
                )
            )
        return True

    def _check_length(self, counts: Int[Tensor, " rows"]) -> None:
        """Refuse more new tokens than positions are left beside what is in sight, before anything is moved for them."""
        plan, cache = self._memory.plan, self._memory.cache
        if plan.native is None or (plan.config.position == "true" and plan.movable):
            return
        before = cache.kept if plan.movable else cache.seen
        longest = int((before + counts if len(before) == len(counts) else counts).max())
        if longest <= plan.native:
            return
        if not plan.movable:
            raise plan.too_long()
        raise AttachError(
            f"a forward of {int(counts.max())} tokens, beside {cache.columns} in sight, does not fit the {plan.native} "
            f"positions that {plan.name} was trained with: memory.read() takes a text of any length"
        )

    def _read_ahead(self, ids: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Read all but the last segment of each row of a prompt; return the rest, its padding at the left.

        Whoever asks for the last token's logits alone does not need the prompt in one piece.
        """
        rows, n = ids.shape
        order = None if valid is None else _aligned(valid)
        if order is not None:
            ids = ids.gather(1, order.to(ids.device))
        counts = _counts(rows, n, valid)
        segment = self._memory.plan.segment
        ahead = ((counts - 1).clamp(min=0) // segment) * segment
        places = torch.arange(n, dtype=torch.int64, device="cpu")
        for start in range(0, int(ahead.max()), segment):
            here = slice(start, start + segment)
            part = (places[here] < ahead[:, None]).to(ids.device, torch.int64)
            self._memory.model(input_ids=ids[:, here], attention_mask=part, use_cache=True, logits_to_keep=1)
        rest = counts - ahead
        width = int(rest.max())
        columns = places[:width] - width + counts[:, None]
        valid = places[:width] >= width - rest[:, None]
        last = ids.gather(1, columns.clamp(min=0).to(ids.device))
        return last, None if bool(valid.all()) else valid

    # Reading --------------------------------------------------------------------------------------------------------

    def read(self, ids: Tensor, mask: Tensor | None, *, logits: bool) -> Tensor | None:
        """Read segment by segment, every row from its first token that is no padding."""
        memory = self._memory
        if ids.ndim != 2 or not ids.numel():
            raise ShapeError(f"ids should be (rows, n), a text per row, got {tuple(ids.shape)}")
        valid = self._valid(mask, *ids.shape)
        order = None if valid is None else _aligned(valid)
        if order is not None:
            valid = valid.gather(1, order)  # type: ignore[union-attr] - with an order there is one
            ids = ids.gather(1, order.to(ids.device))
        got: list[Tensor] = []
        for start in range(0, ids.shape[1], memory.plan.segment):
            here = slice(start, start + memory.plan.segment)
            part = None if valid is None else valid[:, here].to(ids.device, torch.int64)
            more = {} if logits else {"logits_to_keep": 1}
            output = memory.model(input_ids=ids[:, here], attention_mask=part, use_cache=True, **more)
            if logits:
                got.append(output.logits)
        if not logits:
            return None
        read = torch.cat(got, 1)
        return read if order is None else read.gather(1, order.argsort(1).to(read.device)[..., None].expand_as(read))


def _counts(rows: int, n: int, valid: Bool[Tensor, "rows n"] | None) -> Int[Tensor, " rows"]:
    """How many of n tokens of each row are no padding."""
    return torch.full((rows,), n, dtype=torch.int64, device="cpu") if valid is None else valid.sum(1)


def _recomputes(model: Any) -> bool:
    """Whether activations are checkpointed, as later versions call what was gradient checkpointing."""
    name = (
        "is_activation_checkpointing" if hasattr(model, "is_activation_checkpointing") else "is_gradient_checkpointing"
    )
    return bool(getattr(model, name, False))


def _aligned(valid: Bool[Tensor, "rows n"]) -> Int[Tensor, "rows n"]:
    """The columns of each row with its tokens first and its padding last; ShapeError if there is padding inside."""
    changes = (valid[:, 1:] != valid[:, :-1]).sum(1)
    if bool(((changes > 2) | ((changes == 2) & valid[:, 0])).any()):
        raise ShapeError("attention_mask has padding between the tokens of a row; it should be at one side")
    return (~valid).int().argsort(dim=1, stable=True)
