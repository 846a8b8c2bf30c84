"""``hf-eval`` and ``hf-ask`` on a small random model in a folder."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from helpers.command_line import Run
from hf.families import WORDS, save_places
from memstack_hf import attach
from memstack_hf.model.plan import shown
from transformers import AutoModelForCausalLM, AutoTokenizer


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model of letters, and a folder of texts."""
    folder = tmp_path_factory.mktemp("hf")
    found = save_places(folder)
    with gzip.open(folder / "packed [1].txt.gz", "wt") as file:
        file.write(WORDS * 9)
    return found


def test_hf_eval_reads_in_every_way_and_writes_a_record(
    places: tuple[Path, Path], tmp_path: Path, memstack: Run
) -> None:
    model, texts = places
    asked = ["hf-eval", str(model), "--data", str(texts), "--tokens", "600", "--documents", "2", "--beyond", "300"]
    more = ["--window", "64", "--capacity", "100", "--capacity", "400", "-b", "exact", "-b", "bucketed"]
    hidden = ["--passkey", "300", "--trials", "2", "--dtype", "float32", "--json", str(tmp_path / "found.json")]
    code, out, err = memstack(*asked, *more, *hidden)
    assert code == 0, err
    found = json.loads((tmp_path / "found.json").read_text())
    memories = [f"+ {name} {size}" for name in ("exact", "bucketed") for size in (100, 400)]
    assert [each["way"] for each in found["readings"]] == ["window", "window + sinks", *memories, "full attention"]
    assert all(each["perplexity"] > 1 and each["held_bytes"] > 0 for each in found["readings"])
    # A window that was read with its memory off holds less than one with it, and that less than all.
    held = {each["way"]: each["held_bytes"] for each in found["readings"]}
    assert held["window + sinks"] < held["+ exact 100"] < held["+ exact 400"]
    assert "up to its native context, 512 tokens" in out
    assert {(each["tokens"], each["trials"]) for each in found["passkeys"]} == {(300, 2)}


def test_hf_eval_takes_far_layers_by_name_or_finds_them(
    places: tuple[Path, Path], tmp_path: Path, memstack: Run
) -> None:
    model, texts = places
    asked = ["hf-eval", str(model), "--data", str(texts), "--tokens", "600", "--documents", "2", "--window", "32"]
    kept = ["--dtype", "float32", "--position", "fixed", "--json", str(tmp_path / "found.json")]
    ids = AutoTokenizer.from_pretrained(model)((WORDS * 9)[:600], return_tensors="pt").input_ids
    with attach(AutoModelForCausalLM.from_pretrained(model), window=32, position="fixed") as memory:
        calibrated = memory.calibrate(ids.expand(2, -1))
    for choice, expected in ((["--far-layers", "1"], [1]), (["--calibrate", str(texts)], [*calibrated])):
        code, out, err = memstack(*asked, *choice, *kept)
        assert code == 0, err
        assert json.loads((tmp_path / "found.json").read_text())["far_layers"] == expected
        assert (f"layers that gain at a fixed distance, by 2 documents of 600 tokens: {shown(expected)}" in out) == (
            choice[0] == "--calibrate"
        )


@pytest.mark.parametrize("name", ["texts/one.txt", "packed [1].txt.gz"])
def test_hf_ask_answers_with_its_memory_and_without(name: str, places: tuple[Path, Path], memstack: Run) -> None:
    model, texts = places
    code, out, err = memstack("hf-ask", model, texts.parent / name, "the boats", "--answer", "4", "--capacity", "300")
    assert code == 0, err
    assert f"read 729 tokens of {Path(name).name}" in out
    assert "with its memory:" in out
    assert "the window alone:" in out


@pytest.mark.parametrize(("runs", "expected"), [(True, "bfloat16"), (False, "float32")])
def test_a_model_computes_in_what_the_processor_has_products_in(
    places: tuple[Path, Path], memstack: Run, monkeypatch: pytest.MonkeyPatch, runs: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: runs)
    model, texts = places
    asked = ["hf-eval", model, "--data", texts, "--tokens", "300", "--documents", "1", "--beyond", "100"]
    code, out, err = memstack(*asked, "--json", "-")
    assert code == 0, err
    assert json.loads(out)["dtype"] == expected


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["hf-eval", "MODEL", "--data", "TEXTS", "--tokens", "9000"], "no document of 9,000 tokens"),
        (["hf-eval", "MODEL", "--data", "TEXTS", "-b", "exakt"], "exakt"),
        (["hf-eval", "TEXTS", "--data", "TEXTS"], "could not be loaded"),
        (["hf-eval", "MODEL", "--data", "TEXTS", "--far-layers", "3-1"], "as in 3,7,11-25, got '3-1'"),
        (
            ["hf-eval", "MODEL", "--data", "TEXTS", "--tokens", "600", "--far-layers", "0,2-9"],
            "far_layers 3-9 have no memory; layers with one are 0-2",
        ),
        (["hf-eval", "MODEL", "--data", "TEXTS", "--far-layers", "1", "--calibrate", "TEXTS"], "give one of them"),
        (["hf-eval", "MODEL", "--data", "TEXTS", "--tokens", "80", "--calibrate", "TEXTS"], "calibrate needs a text"),
        (["hf-ask", "MODEL", "TEXTS", "what"], "is no file"),
        (["hf-ask", "MODEL", "TEXTS/one.txt", "what", "--dtype", "int8"], "float32"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(
    places: tuple[Path, Path], words: list[str], says: str, memstack: Run
) -> None:
    model, texts = places
    code, _, err = memstack(*(word.replace("MODEL", str(model)).replace("TEXTS", str(texts)) for word in words))
    assert code in (1, 2)
    assert says in err
    assert "Traceback" not in err
