"""MemoryBank: the memories of all layers, reset, written and saved together, or the reason why not."""

from collections.abc import Callable

import pytest
import torch
from helpers.list_memory import ListMemory
from memstack_exact.search import ExactMemory
from torch import Tensor

from memstack import (
    CommitError,
    LayerError,
    Memory,
    MemoryBank,
    MemoryShape,
    MemstackError,
    NonFiniteError,
    OptionsError,
    ShapeError,
    StateError,
    UnknownBackendError,
    create_memory,
)
from memstack.contract import finite
from memstack.contract.validation import Padded
from memstack.wrappers.timing import TimedMemory

SHAPE = MemoryShape(rows=2, heads=2, key_dim=4, value_dim=3, capacity=6)
LAYERS = (3, 1)
New = dict[int, tuple[Tensor, Tensor]]


def new(n: int = 4, seed: int = 0) -> New:
    random = torch.Generator().manual_seed(seed)
    return {
        layer: (torch.randn(2, 2, n, 4, generator=random), torch.randn(2, 2, n, 3, generator=random))
        for layer in LAYERS
    }


def bank() -> MemoryBank:
    return MemoryBank.create("exact", SHAPE, LAYERS)


def filled() -> MemoryBank:
    made = bank()
    made.commit(new())
    return made


def equal(one: MemoryBank, other: MemoryBank) -> None:
    torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)


class Broken(ListMemory):
    """Of a store that cannot be reached."""

    def add(self, *_: object, **__: object) -> None:
        raise ConnectionError("the store does not answer")


def test_it_is_a_mapping_from_layer_to_memory() -> None:
    made = bank()
    assert (made.layers, list(made), len(made), 1 in made, 2 in made) == (LAYERS, [3, 1], 2, True, False)
    assert all(memory.shape == SHAPE for memory in made.values())
    assert made[3] is not made[1]
    assert made.get(2) is None
    assert len(MemoryBank()) == 0
    with pytest.raises(LayerError, match=r"layer 2 has no memory; the bank's layers are \[3, 1\]"):
        made[2]


def test_a_bank_is_made_of_a_backends_name_and_options() -> None:
    made = MemoryBank.create("exact", SHAPE, LAYERS, dtype="bfloat16")
    memory = made[1]
    assert isinstance(memory, ExactMemory)
    assert memory.options.dtype == "bfloat16"
    with pytest.raises(UnknownBackendError, match="exakt"):
        MemoryBank.create("exakt", SHAPE, LAYERS)
    with pytest.raises(OptionsError, match="dtyp"):
        MemoryBank.create("exact", SHAPE, LAYERS, dtyp="bfloat16")


def test_memories_may_differ_in_all_but_their_rows() -> None:
    wide = MemoryShape(rows=2, heads=1, key_dim=8, value_dim=8, capacity=3)
    assert MemoryBank({1: create_memory("exact", SHAPE), 2: create_memory("exact", wide)}).layers == (1, 2)
    other = MemoryShape(**{**vars(SHAPE), "rows": 3})
    with pytest.raises(ShapeError, match=r"should have the same rows, got \{1: 2, 2: 3\} by layer"):
        MemoryBank({1: create_memory("exact", SHAPE), 2: create_memory("exact", other)})


def test_a_commit_writes_every_layer() -> None:
    made, given = bank(), new()
    made.commit(given)
    for layer in LAYERS:
        state = made[layer].state_dict()
        torch.testing.assert_close((state["keys"], state["values"]), given[layer], rtol=0, atol=0)
    MemoryBank().commit({})


@pytest.mark.parametrize("padded", ["right", "left"])
def test_rows_may_get_different_numbers(padded: Padded) -> None:
    made, given = bank(), new()
    padding = slice(1, None) if padded == "right" else slice(0, 3)
    for keys, _ in given.values():
        keys[0, :, padding] = torch.nan
    made.commit(given, torch.tensor([1, 4]), padded=padded)
    for layer, memory in made.items():
        assert memory.lengths.tolist() == [1, 4]
        kept = 0 if padded == "right" else 3
        torch.testing.assert_close(memory.state_dict()["keys"][0, :, 0], given[layer][0][0, :, kept], rtol=0, atol=0)


def test_the_device_is_waited_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every key and value is looked at in one go, and the memories need not look again."""
    looks: list[int] = []
    inspect = finite.inspect_keys
    monkeypatch.setattr("memstack.bank.inspect_keys", lambda keys: looks.append(len(keys)) or inspect(keys))
    monkeypatch.setattr("memstack.contract.validation._refuse_non_finite", lambda *_: looks.append(-1))
    bank().commit(new())
    assert looks == [4]


def nan(given: New) -> New:
    given[1][0][1, 1, 2, 3] = torch.nan
    return given


def one_row(given: New) -> New:
    keys, values = given[1]
    return given | {1: (keys[:1], values[:1])}


REFUSED: dict[str, tuple[Callable[[New], New], type[MemstackError], str]] = {
    "layer missing": (lambda given: {3: given[3]}, LayerError, r"of layers \[3, 1\], got \[3\]; nothing was written"),
    "layer unknown": (lambda given: given | {2: given[1]}, LayerError, r"of layers \[3, 1\], got \[3, 1, 2\]"),
    "keys": (lambda given: given | {1: (given[1][1], given[1][1])}, ShapeError, "layer 1: keys should be .*key_dim=4"),
    "rows": (one_row, ShapeError, "layer 1: keys should be .*rows=2"),
    "values": (lambda given: given | {1: (given[1][0], given[1][1][:, :, 1:])}, ShapeError, "layer 1: values .*n=4"),
    "no axis": (lambda given: given | {1: (torch.zeros(3), given[1][1])}, ShapeError, r"layer 1: keys .* got \(3,\)"),
    "NaN": (nan, NonFiniteError, "layer 1: keys should be finite .* nothing was written"),
}


@pytest.mark.parametrize(("change", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_commit_writes_nothing(change: Callable[[New], New], error: type[MemstackError], message: str) -> None:
    made, before = filled(), filled()
    with pytest.raises(error, match=message):
        made.commit(change(new(seed=1)))
    equal(made, before)


def test_wrong_lengths_write_nothing() -> None:
    made, before = filled(), filled()
    with pytest.raises(ShapeError, match="layer 3: lengths should be from 0 to n=4"):
        made.commit(new(), torch.tensor([1, 5]))
    equal(made, before)


def test_a_memory_that_fails_is_named_and_the_others_are_written() -> None:
    made = MemoryBank({1: Broken(SHAPE), 3: create_memory("exact", SHAPE)})
    with pytest.raises(
        CommitError, match=r"could not write layers \[1\], layers \[3\] are written .*does not answer"
    ) as e:
        made.commit(new())
    assert isinstance(e.value.__cause__, ConnectionError)
    assert made[3].lengths.tolist() == [4, 4]


@pytest.mark.parametrize("part", [0, 1], ids=["key", "value"])
@pytest.mark.parametrize("wrap", [TimedMemory, lambda memory: memory], ids=["wrapped", "plain"])
def test_what_only_one_store_cannot_hold_is_written_to_none(part: int, wrap: Callable[[Memory], Memory]) -> None:
    made = MemoryBank({3: create_memory("exact", SHAPE), 1: create_memory("exact", SHAPE, dtype="float16")}).wrapped(
        wrap
    )
    given = new()
    given[1][part][0, 0, 0, 0] = 1e6
    with pytest.raises(NonFiniteError, match=r"layer 1: .* finite in the store's torch.float16, got 1e\+06"):
        made.commit(given)
    assert [memory.lengths.tolist() for memory in made.values()] == [[0, 0], [0, 0]]


def test_rows_that_start_anew_are_forgotten_in_every_layer() -> None:
    made = filled()
    made.reset(torch.tensor([True, False]))
    assert [memory.lengths.tolist() for memory in made.values()] == [[0, 4], [0, 4]]
    with pytest.raises(ShapeError, match=r"rows should be a tensor, bool \(2,\)"):
        made.reset(torch.tensor([True]))
    made.reset()
    assert [memory.lengths.tolist() for memory in made.values()] == [[0, 0], [0, 0]]


def test_rows_are_selected_in_every_layer() -> None:
    made, before = filled(), filled()
    made.select(torch.tensor([1, 1]))
    for layer, memory in made.items():
        torch.testing.assert_close(memory.state_dict()["keys"], before[layer].state_dict()["keys"][[1, 1]])
    with pytest.raises(ShapeError, match="rows should be from 0 to 1"):
        made.select(torch.tensor([0, 2]))


def test_a_saved_bank_is_loaded_by_any_backend() -> None:
    made = filled()
    other = MemoryBank({layer: ListMemory(SHAPE) for layer in reversed(LAYERS)})
    other.load_state_dict(made.state_dict())
    again = bank()
    again.load_state_dict(other.state_dict())
    equal(again, made)
    assert "3.keys" in made.state_dict()


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    made, before = filled(), filled()
    other = MemoryBank.create("exact", SHAPE, (1, 2))
    with pytest.raises(StateError, match=r"memories of layers \['1', '2'\], this bank of \[3, 1\]"):
        made.load_state_dict(other.state_dict())
    state = made.state_dict() | {"1.written": torch.tensor([1])}
    with pytest.raises(StateError, match="layer 1: the state's written should be 2 counts"):
        made.load_state_dict(state)
    state = made.state_dict()
    state["1.keys"][0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match="layer 1: keys should be finite"):
        made.load_state_dict({name: part + 1 if name == "3.values" else part for name, part in state.items()})
    equal(made, before)


def test_wrapping_leaves_the_bank_as_it_was() -> None:
    made = filled()
    timed = made.wrapped(TimedMemory)
    timed.commit(new())
    assert timed.layers == made.layers
    assert all(isinstance(memory, TimedMemory) and memory.seconds["add"] > 0 for memory in timed.values())
    assert not any(isinstance(memory, TimedMemory) for memory in made.values())
    equal(timed, made)


def test_a_memory_is_found_in_a_compiled_graph() -> None:
    torch._dynamo.reset()
    made = filled()

    def found(queries: Tensor, memories: MemoryBank) -> Tensor:
        memory: Memory = memories[1]
        return queries * memory.shape.heads

    compiled = torch.compile(found, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(torch.ones(2), made), torch.full((2,), 2.0))
