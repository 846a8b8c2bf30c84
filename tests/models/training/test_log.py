"""The lines of a run's log: written and read again, those of old logs too; what is no line is told."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memstack_models.training import run_folder
from memstack_models.training.perplexity import Evaluation
from memstack_models.training.records import RENAMED, LogEntry, Perplexity, StepEntry, ValidationEntry, log_entry

from memstack.contract.errors import RecordError

OLD = (
    '{"step": 10, "loss": 6.98, "rate": 0.0006, "tokens/s": 3614, "memory share": [[0.8, 0.2], [0.9, 0.1]],'
    ' "search ms": 184.6, "add ms": 2.6}\n'
    '{"step": 20, "loss": 6.6, "rate": 0.0012, "tokens/s": 2883, "memory share": [[0.7, 0.3], [0.8, 0.2]],'
    ' "search ms": 320.2, "add ms": 2.6, "recall": 0.98, "attention-mass recall": 0.99, "age": 12.5}\n'
    '{"step": 20, "with memory": {"perplexity": 6.5, "perplexity beyond 4k": 6.3, "bits per byte": 1.05, "tokens": 13,'
    ' "by position": {"0-1k": 10.1}}, "without": {"perplexity": 14.9, "perplexity beyond 4k": null,'
    ' "bits per byte": 1.5, "tokens": 13, "by position": {"0-1k": 15.1}}, "gain": 0.56, "gain appears": true}\n'
    '{"step": 30, "without": {"perplexity": 14.9, "perplexity beyond 4k": null, "bits per byte": 1.5, "tokens": 13,'
    ' "by position": {}}}\n'
)
FLOATS = st.floats(allow_nan=False)
READ = st.builds(
    Perplexity,
    perplexity=FLOATS,
    bits_per_byte=FLOATS,
    by_position=st.dictionaries(st.sampled_from(["0-1k", "256k+"]), FLOATS),
)
STEPS = st.builds(
    StepEntry,
    memory_share=st.lists(st.lists(FLOATS, max_size=2).map(tuple), max_size=2).map(tuple),
    **dict.fromkeys(("loss", "rate", "search_ms", "add_ms"), FLOATS),
    recall=st.none() | FLOATS,
)
ENTRIES = STEPS | st.builds(ValidationEntry, without=READ, with_memory=st.none() | READ, gain=st.none() | FLOATS)


def write_log(folder: Path, text: str) -> Path:
    (folder / run_folder.LOG).write_text(text, encoding="utf-8")
    return folder


def test_an_old_log_is_read(tmp_path: Path) -> None:
    first, probed, validated, without = run_folder.read_log(write_log(tmp_path, OLD))
    assert isinstance(first, StepEntry)
    assert (first.step, first.tokens_per_s, first.memory_share[1], first.recall) == (10, 3614, (0.9, 0.1), None)
    assert isinstance(probed, StepEntry)
    assert (probed.recall, probed.attention_mass_recall, probed.age) == (0.98, 0.99, 12.5)
    assert isinstance(validated, ValidationEntry)
    assert validated.with_memory is not None
    assert (validated.with_memory.perplexity_beyond_4k, validated.without.by_position) == (6.3, {"0-1k": 15.1})
    assert (validated.gain, validated.gain_appears) == (0.56, True)
    assert isinstance(without, ValidationEntry)
    assert (without.with_memory, without.gain, without.gain_appears) == (None, None, False)


def test_a_log_may_go_on_in_the_new_form(tmp_path: Path) -> None:
    """As that of a run begun by an older memstack does, once it is resumed."""
    write_log(tmp_path, OLD)
    before = run_folder.read_log(tmp_path)
    run_folder.rewind_log(tmp_path, 20)
    run_folder.append_log(tmp_path, before[0])
    assert run_folder.read_log(tmp_path) == [*before[:3], before[0]]


def test_no_key_of_a_log_line_has_a_space_or_a_slash() -> None:
    for line in OLD.splitlines():
        entry = log_entry(json.loads(line), "here")
        assert not set(" /") & set("".join(keys(json.loads(entry.as_json()))))
    assert not any(set(" /-") & set(name) for name in RENAMED.values())


def keys(tree: object) -> list[str]:
    if not isinstance(tree, dict):
        return []
    return [*tree, *(key for value in tree.values() for key in keys(value))]


@given(ENTRIES)
def test_what_is_logged_is_read_again(entry: LogEntry) -> None:
    assert log_entry(json.loads(entry.as_json()), "here") == entry
    assert "\n" not in entry.as_json()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"kind": "step", "version": 2, "step": 1}', "line 1 is a step of version 2; this memstack reads version 1"),
        ('{"kind": "dream", "version": 1, "step": 1}', "line 1 is of kind 'dream', not a step or a validation"),
        ('{"kind": "step", "version": 1, "step": 1, "loss": "low"}', "line 1 is damaged: loss: .*got 'low'"),
        ('{"step": 1}', "line 1 is damaged: loss: Field required"),
    ],
)
def test_a_line_that_is_no_entry_is_told(tmp_path: Path, line: str, told: str) -> None:
    with pytest.raises(RecordError, match=rf"{run_folder.LOG}, {told}") as caught:
        run_folder.read_log(write_log(tmp_path, f"{line}\n"))
    assert "\n" not in str(caught.value)


def test_what_was_not_read_has_no_perplexity() -> None:
    read = Evaluation()
    read.nats[0], read.tokens[0], read.text_bytes[0] = 3.0, 3, 6
    result = read.result()
    assert result.perplexity_beyond_4k is None
    assert (result.tokens, list(result.by_position)) == (3, ["0-1k"])
