from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

import pytest
import torch
from helpers.sample_data import read_sample
from hypothesis import given, settings
from hypothesis import strategies as st
from memstack_models.data.errors import CheckpointError
from memstack_models.data.reader import IGNORED, Reader, Segment
from memstack_models.data.tokenizer import ByteTokenizer

from memstack import CorpusError

lengths = st.lists(st.integers(2, 40), min_size=1, max_size=8)
sizes = {"lengths": lengths, "rows": st.integers(1, 5), "segment": st.integers(1, 12)}


def documents_of(lengths: list[int], dtype: torch.dtype = torch.int32) -> list[torch.Tensor]:
    """Documents in which every token is a different one: 100 * document + position."""
    return [(100 * i + torch.arange(length)).to(dtype) for i, length in enumerate(lengths)]


def predicted(segments: Iterable[Segment]) -> Counter[int]:
    """How often each token was a target."""
    targets = torch.cat([segment.targets.flatten() for segment in segments])
    return Counter(targets[targets != IGNORED].tolist())


def all_but_first(documents: Sequence[torch.Tensor]) -> Counter[int]:
    return Counter(token for document in documents for token in document[1:].tolist())


def same(one: Segment, other: Segment) -> bool:
    pairs = [(getattr(one, name), getattr(other, name)) for name in vars(one)]
    return all(a is b is None or torch.equal(a, b) for a, b in pairs)


@given(**sizes)
@settings(deadline=None)
def test_once_predicts_every_token_after_the_first_exactly_once(lengths: list[int], rows: int, segment: int) -> None:
    documents = documents_of(lengths)
    assert predicted(Reader(documents, rows, segment, once=True)) == all_but_first(documents)


@given(**sizes, seed=st.integers(0, 3))
@settings(deadline=None)
def test_epochs_predict_every_token_exactly_once_each(lengths: list[int], rows: int, segment: int, seed: int) -> None:
    documents = documents_of(lengths)
    reader = Reader(documents, rows, segment, seed)
    finished: Counter[int] = Counter()
    counts: Counter[int] = Counter()
    for one in islice(reader, 30):
        counts += predicted([one])
        places = zip(one.document.tolist(), one.offset.tolist(), strict=True)
        finished.update(d for d, offset in places if offset + segment >= lengths[d] - 1)
    # A document that was read to its end n times has each of its tokens n times, or more by the readings under way.
    for i, document in enumerate(documents):
        times = [counts[token] for token in document[1:].tolist()]
        assert min(times) == finished[i]
        assert sorted(times, reverse=True) == times


@given(lengths=lengths, segment=st.integers(1, 12), seed=st.integers(0, 3))
@settings(deadline=None)
def test_a_single_row_reads_epoch_after_epoch(lengths: list[int], segment: int, seed: int) -> None:
    documents = documents_of(lengths)
    reader = Reader(documents, 1, segment, seed)
    steps = sum(-(-(length - 1) // segment) for length in lengths)
    for _ in range(3):
        assert predicted(islice(reader, steps)) == all_but_first(documents)


@given(**sizes, once=st.booleans())
@settings(deadline=None)
def test_rows_read_one_document_in_order_and_say_where_they_are(
    lengths: list[int], rows: int, segment: int, once: bool
) -> None:
    documents = documents_of(lengths)
    expected: list[tuple[int, int] | None] = [None] * rows
    for one in islice(Reader(documents, rows, segment, once=once), 30):
        for row in range(rows):
            document, offset = int(one.document[row]), int(one.offset[row])
            assert bool(one.starts[row]) == (offset == 0)
            if expected[row] is not None:
                assert (document, offset) == expected[row]
            if document == -1:
                assert (one.targets[row] == IGNORED).all()
                assert (one.tokens[row] == 0).all()
                expected[row] = (-1, 0)
                continue
            inputs, targets = documents[document][:-1], documents[document][1:]
            count = len(targets[offset : offset + segment])
            assert torch.equal(one.tokens[row, :count], inputs[offset : offset + segment].long())
            assert torch.equal(one.targets[row, :count], targets[offset : offset + segment].long())
            assert (one.targets[row, count:] == IGNORED).all()
            assert (one.tokens[row, count:] == 0).all()
            expected[row] = (document, offset + segment) if offset + segment < len(targets) else None


@given(**sizes, stop=st.integers(0, 20), seed=st.integers(0, 3), once=st.booleans())
@settings(deadline=None)
def test_a_resumed_reader_gives_the_same_segments(
    lengths: list[int], rows: int, segment: int, stop: int, seed: int, once: bool
) -> None:
    documents = documents_of(lengths)
    reader = Reader(documents, rows, segment, seed, once=once)
    for _ in islice(reader, stop):
        pass
    resumed = Reader(documents, rows, segment, seed, once=once)
    resumed.load_state_dict({name: tensor.clone() for name, tensor in reader.state_dict().items()})
    torch.manual_seed(stop)  # the order does not come from the global generator
    rest, again = list(islice(reader, 20)), list(islice(resumed, 20))
    assert len(rest) == len(again)
    assert all(map(same, rest, again))


def test_saving_leaves_the_reader_as_it_is() -> None:
    saved, unsaved = (Reader(documents_of([9, 5, 7]), 2, 3) for _ in range(2))
    for _ in range(10):
        saved.state_dict()
        assert same(next(saved), next(unsaved))


def test_the_seed_decides_the_order_and_epochs_differ() -> None:
    documents = documents_of([2] * 20)

    def orders(seed: int) -> tuple[list[int], list[int]]:
        read = [int(one.document) for one in islice(Reader(documents, 1, 4, seed), 40)]
        return read[:20], read[20:]

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)
    assert orders(1)[0] != orders(1)[1]
    assert sorted(orders(1)[1]) == list(range(20))


def test_once_takes_the_longest_first_and_leaves_rows_idle() -> None:
    reader = Reader(documents_of([3, 9, 5]), rows=2, segment=4, once=True)
    assert [one.document.tolist() for one in reader] == [[1, 2], [1, 0]]
    idle = list(Reader(documents_of([5]), rows=2, segment=2, once=True))
    assert [one.document.tolist() for one in idle] == [[0, -1], [0, -1]]
    assert [one.starts.tolist() for one in idle] == [[True, True], [False, True]]


def test_an_exhausted_reader_stays_so() -> None:
    reader = Reader(documents_of([3]), 1, 4, once=True)
    assert len(list(reader)) == 1
    assert list(reader) == []


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_any_integer_type_is_read_as_int64(dtype: torch.dtype) -> None:
    one = next(Reader(documents_of([6], dtype), 1, 5))
    assert one.tokens.tolist() == [[0, 1, 2, 3, 4]]
    assert one.targets.tolist() == [[1, 2, 3, 4, 5]]
    assert (one.tokens.dtype, one.targets.dtype, one.document.dtype, one.offset.dtype) == (torch.int64,) * 4
    assert one.starts.dtype == torch.bool


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([], 1, 4), "no documents to read"),
        ((documents_of([5, 1]), 1, 4), "document 1 has less than two tokens"),
        ((documents_of([5]), 0, 4), "1 or more, got 0 and 4"),
        ((documents_of([5]), 1, 0), "1 or more, got 1 and 0"),
    ],
)
def test_what_cannot_be_read_is_refused(arguments: tuple[list[torch.Tensor], int, int], message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        Reader(*arguments)


@pytest.mark.parametrize(
    "other",
    [
        Reader(documents_of([5, 6]), 3, 4),
        Reader(documents_of([5, 6]), 2, 3),
        Reader(documents_of([5, 7]), 2, 4),
        Reader(documents_of([6, 5]), 2, 4),
        Reader([document + 1 for document in documents_of([5, 6])], 2, 4),
    ],
)
def test_a_state_of_other_documents_or_rows_is_refused(other: Reader) -> None:
    reader = Reader(documents_of([5, 6]), 2, 4)
    with pytest.raises(CheckpointError, match="other documents"):
        reader.load_state_dict(other.state_dict())


def test_real_documents_are_read_whole() -> None:
    tokenizer = ByteTokenizer()
    texts = [document.text[:20_000] for document in read_sample("web", "validation")]
    documents = [torch.tensor([tokenizer.document_token, *tokenizer.encode(text)]) for text in texts]
    read = [bytearray() for _ in texts]
    for one in Reader(documents, 3, 512, once=True):
        for document, targets in zip(one.document.tolist(), one.targets, strict=True):
            read[document].extend(targets[targets != IGNORED].tolist())
    assert [part.decode() for part in read] == texts
