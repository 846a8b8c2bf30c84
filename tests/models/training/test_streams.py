"""What a stream forgets as its rows begin another document."""

import pytest
import torch
from helpers.small_run import config
from memstack_models.training.model import new_model
from memstack_models.training.streams import evaluation_stream, training_streams

CPU = torch.device("cpu")


@pytest.mark.parametrize("distractors", [False, True])
def test_a_row_forgets_its_document_unless_it_is_to_be_distracted(distractors: bool) -> None:
    """In training alone; the cache never shows another document."""
    run = config(distractors=distractors)
    documents = [torch.arange(1, run.train.segment + 4) for _ in range(2 * run.train.rows)]  # two segments each
    model = new_model(run, vocab_size=64)
    (training,) = training_streams(run, documents, CPU, run.memory)
    reading = evaluation_stream(
        run.model_copy(update={"eval": run.eval.model_copy(update={"rows": 1})}), documents, CPU, run.memory
    )
    for stream, kept in ((training, distractors), (reading, False)):
        held, cached = [], []
        for segment, _ in zip(stream, range(3), strict=False):
            held.append([stream.bank[layer].lengths.min().item() for layer in stream.bank])
            cached.append(stream.cache.filled.max().item())
            with torch.no_grad():
                stream.commit(model(segment.tokens, stream.bank, stream.cache)[1])
        first, second, other = held
        assert first == [0] * len(first)
        assert min(second) > 0
        assert (min(other) > 0) == kept
        assert cached[2] == 0
