"""A tokeniser with a right digest that gives back another text, or that would end the process, is refused or tamed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import DIGEST, FILE, Tokenizer, load_tokenizer
from memstack_models.training import run_folder

TEXT = "def  Probe(x):\n\treturn '猫'\r\n" * 30


def load(folder: Path, definition: str) -> Tokenizer:
    (folder / FILE).write_text(definition, encoding="utf-8")
    (folder / DIGEST).write_text(f"{hashlib.sha256(definition.encode()).hexdigest()}  {FILE}\n", encoding="utf-8")
    return load_tokenizer(folder)


def forged(*path: str, value: Any) -> str:
    """The shipped tokeniser with one thing another."""
    tree = json.loads((run_folder.find("stdlib-small") / FILE).read_text(encoding="utf-8"))
    inside = tree
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return json.dumps(tree)


SPLIT = {"type": "Split", "pattern": {"Regex": "((("}, "behavior": "Isolated", "invert": False}
REFUSED = {
    "a list": "[]",
    "a number": "7",
    "nothing": "",
    "no model": "{}",
    "a model that is a number": '{"model": 3}',
    "nested deeply": '{"model":' + "[" * 100_000 + "]" * 100_000 + "}",
    "a long number": '{"model": {"type": ' + "9" * 5000 + "}}",
    "words": '{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}',
    "a negative token": forged("model", "vocab", "a", value=-1),
    "a token twice": forged("model", "vocab", "a", value=5),
    "a token out of reach": forged("model", "vocab", "a", value=1 << 40),
    "a gap": forged("model", "vocab", "a", value=999_999),
    "merges of nothing": forged("model", "merges", value=[["zzzz", "yyyy"]]),
    "small letters": forged("normalizer", value={"type": "Lowercase"}),
    "no spaces": forged("pre_tokenizer", value={"type": "Whitespace"}),
    "no bytes": forged("pre_tokenizer", value=None),
    "a pattern that is none": forged("pre_tokenizer", value=SPLIT),
    "an empty template": forged(
        "post_processor", value={"type": "TemplateProcessing", "single": [], "pair": [], "special_tokens": {}}
    ),
    "dropout": forged("model", "dropout", value=0.5),
}
FIXED = {"strategy": {"Fixed": 1 << 33}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0}
CUT = {"direction": "Right", "strategy": "LongestFirst"}
TAMED = {
    "padded beyond all memory": forged("padding", value=FIXED | {"pad_type_id": 0, "pad_token": "x"}),
    "cut to nothing": forged("truncation", value=CUT | {"max_length": 0, "stride": 0}),
    "cut with too long a stride": forged("truncation", value=CUT | {"max_length": 3, "stride": 9}),
}


@pytest.mark.parametrize("definition", REFUSED.values(), ids=REFUSED)
def test_a_forged_tokenizer_is_refused_in_one_line(tmp_path: Path, definition: str) -> None:
    with pytest.raises(CheckpointError, match=FILE) as caught:
        load(tmp_path, definition)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("definition", TAMED.values(), ids=TAMED)
def test_what_would_pad_or_cut_a_text_does_not(tmp_path: Path, definition: str) -> None:
    tokenizer = load(tmp_path, definition)
    assert tokenizer.decode(tokenizer.encode(TEXT)) == TEXT
