"""What is noted while documents are read agrees with what the model does, and changes nothing of it."""

from pathlib import Path

import pytest
import torch
from helpers.small_checkpoint import SEGMENT, write_checkpoint
from memstack_models.evaluation.explained import Explained, Kept
from memstack_models.evaluation.losses import TokenLosses
from memstack_models.evaluation.retrievals import Reading, RetrievalReader
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.perplexity import evaluate
from memstack_models.training.streams import evaluation_stream
from memstack_models.transformer.transformer import SegmentOutput, Transformer

from memstack import ConfigError

CPU = torch.device("cpu")
LENGTHS = (3 * SEGMENT + 5, 2 * SEGMENT, 9)
FORMS = {
    "joint": (),
    "gate": ("model.combine=gate",),
    "age, candidates, cache": ("model.age_init=0.3", "model.candidates=6", "model.cache=16"),
}


@pytest.fixture(params=FORMS)
def run(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    monkeypatch.setenv("MEMSTACK_CACHE", str(tmp_path / "cache"))
    return run_folder.read_config(write_checkpoint(tmp_path, *FORMS[request.param]))


def documents() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randint(257, (length,), generator=generator, dtype=torch.int32) for length in LENGTHS]


def read(run: RunConfig) -> tuple[list[Reading], list[SegmentOutput], TokenLosses]:
    """Read the documents and note everything."""
    torch.manual_seed(0)
    model = Transformer(run.model, 257, run.memory.neighbours)
    readings: list[Reading] = []
    outputs: list[SegmentOutput] = []
    reader = RetrievalReader(evaluation_stream(run, documents(), CPU, run.memory), readings.append)
    losses, plain = TokenLosses(), TokenLosses()

    def observe(*seen: object) -> None:
        segment, nats, new = seen
        reader.observe(segment, nats, new)  # pyright: ignore[reportArgumentType]
        losses.observe(segment, nats)  # pyright: ignore[reportArgumentType]
        outputs.append(new)  # pyright: ignore[reportArgumentType]

    size = torch.ones(257, dtype=torch.int64)
    evaluate(model, reader.stream, size, observe=observe)
    evaluate(model, evaluation_stream(run, documents(), CPU, run.memory), size, observe=plain.observe)
    assert torch.equal(losses.columns()["nats"], plain.columns()["nats"])
    return readings, outputs, losses


def test_the_weights_add_up_to_the_share_that_the_model_tells(run: RunConfig) -> None:
    readings, outputs, _ = read(run)
    for each in readings:
        found = (each.positions >= 0).any(-1)
        torch.testing.assert_close(each.weights.sum(-1), each.shares * found)
        assert (each.weights[each.positions < 0] == 0).all()
        assert int(each.positions.max()) < each.first - each.first % SEGMENT or each.first == 0
        assert found.all() == (each.first > 0)
    torch.testing.assert_close(outputs[1].memory_share, outputs[1].shares.mean((1, 3)))
    rows = [each for each in readings if each.first == SEGMENT]
    both = torch.stack([each.shares.mean(-1) for each in rows if each.tokens == SEGMENT])
    if len(both) == 2:  # then the rows of the second segment are whole
        torch.testing.assert_close(both.mean(0), outputs[1].memory_share)
    assert sum(each.tokens for each in readings) == sum(LENGTHS) - len(LENGTHS)


def test_what_is_kept_of_a_token_is_the_heaviest_of_what_was_found(run: RunConfig) -> None:
    readings, _, losses = read(run)
    explained = Explained(["a", "b", "c"], documents(), Kept(heads=4, entries=2, wide=False))
    for each in readings:
        explained.take(each)
    explained.take_losses(losses, losses)
    assert explained.starts == [0, LENGTHS[0], LENGTHS[0] + LENGTHS[1], sum(LENGTHS)]
    assert (explained.on[explained.starts[:-1]] == 0).all()
    assert (explained.on > 0).sum() == sum(LENGTHS) - 3
    for each in readings:
        for token in range(each.tokens):
            place = explained.starts[each.document] + each.first + token + 1
            shares = torch.from_numpy(explained.shares[place]) / 255
            torch.testing.assert_close(shares, each.shares[:, :, token].flatten(), atol=0.002, rtol=0)
            heaviest = each.weights[:, :, token].flatten(0, 1).amax(-1)
            kept = torch.from_numpy(explained.weights[place, :, 0]) / 255 * shares
            torch.testing.assert_close(kept, heaviest, atol=0.005, rtol=0)
            back = torch.from_numpy(explained.back[place, :, 0].astype(int))
            position = each.first + token + 1 - back
            assert (back == 0).tolist() == (each.positions[:, :, token, 0].flatten() < 0).tolist()
            at = each.positions[:, :, token].flatten(0, 1) == position[:, None]
            lies = each.weights[:, :, token].flatten(0, 1).where(at, 0.0).amax(-1)
            torch.testing.assert_close(lies, heaviest)  # of several as heavy, any may be kept


def test_a_page_of_a_hundred_thousand_tokens_is_bounded() -> None:
    run = run_folder.recipe("stdlib-small", [])
    kept = Kept.of(run, 100_000)
    size = 100_000 * (12 + kept.heads * (1 + kept.entries * 3)) * 4 / 3
    assert kept.entries >= 4
    assert size < 25e6
    assert Kept.of(run, 5000).entries == run.memory.neighbours
    with pytest.raises(ConfigError, match="5,000,000 tokens are too many for one page"):
        Kept.of(run, 5_000_000)
    assert Kept.of(run_folder.recipe("stdlib-small", ["memory.capacity=65536"]), 1000).wide
