"""The examples, each run at a small size. The plugin is installed and trained with in tests/core/plugins."""

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_corpus import write_corpus
from hf.families import save_tiny
from safetensors.torch import load_file

EXAMPLES = Path(__file__).parents[2] / "examples"


def example(name: str) -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLES / name))


def test_an_own_layer_trains(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.write_text("the cat sat on the mat. " * 400, encoding="utf-8")
    torch.manual_seed(0)
    with_memory, without = example("own_layer.py")["main"](text, "exact", 12)
    assert with_memory < 7.0  # bits per byte; 8 is what an untrained model needs
    assert with_memory != without
    assert "step 12" in capsys.readouterr().out


def test_a_recipe_trains_from_python(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = write_corpus(tmp_path / "corpus", documents=2, words=300)
    small = ["train.steps=9", "train.warmup=1", "train.segment=32", "train.rows=2", "train.log_every=9"]
    perplexities = example("train.py")["main"](tmp_path / "run", [*small, f"data.corpus={corpus}"])
    assert set(perplexities) == {"with its memory", "without"}
    assert all(1 < perplexity < 257 for perplexity in perplexities.values())  # guessing at random: 257
    assert '"step":9' in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoint-9" / "manifest.json").is_file()


@pytest.fixture(scope="module")
def fine_tuned(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The line that fine-tunes a small model on small documents, without form, steps and place."""
    folder = tmp_path_factory.mktemp("fine-tuned")
    model = str(save_tiny(folder / "model", num_hidden_layers=6))
    corpus = str(write_corpus(folder / "corpus", documents=3, words=150))
    sizes = {"rows": 2, "segment": 16, "window": 16, "tokens": 200, "beyond": 100, "save-every": 2, "log-every": 1}
    more = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    return [model, "--data", corpus, "--rate", "0.01", "--dtype", "float32", *more]


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing. is deprecated:FutureWarning")  # peft asks for it
@pytest.mark.parametrize("form", ["terms", "lora", "whole"])
def test_a_model_is_fine_tuned_with_its_memory_and_goes_on_where_it_was_cut_off(
    form: str,
    fine_tuned: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    scope = example("fine_tune_hf.py")
    line = [*fine_tuned, "--form", form, "--steps", "8", "--out"]
    whole = scope["main"](scope["parsed"]([*line, str(tmp_path / "whole")]))
    assert whole["before"]["memory"] != whole["after"]["memory"]
    assert whole["before"]["memory"] != whole["before"]["window alone"]
    assert (form == "terms") == (whole["before"]["window alone"] == whole["after"]["window alone"])
    assert "step 8 of 8: loss" in capsys.readouterr().out

    def cut_off(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        read = scope["Segments"].__getitem__
        patch.setattr(scope["Segments"], "__getitem__", lambda self, step: cut_off() if step == 6 else read(self, step))
        asked = scope["parsed"]([*line, str(tmp_path / "cut")])
        with pytest.raises(KeyboardInterrupt):
            scope["main"](asked)
    (tmp_path / "cut" / "checkpoint-8").mkdir()  # one that was being written
    assert scope["main"](scope["parsed"]([*line, str(tmp_path / "cut")])) == whole
    assert "goes on from" in capsys.readouterr().out
    states = [load_file(tmp_path / run / "checkpoint-8" / "contents.safetensors") for run in ("whole", "cut")]
    assert all(torch.equal(part, states[1][name]) for name, part in states[0].items())
    assert (tmp_path / "cut" / "checkpoint-8" / "model.safetensors").exists() == (form == "whole")
    # Once more changes nothing; another run needs a folder of its own.
    assert scope["main"](scope["parsed"]([*line, str(tmp_path / "cut")])) == whole
    assert json.loads((tmp_path / "cut" / "result.json").read_text()) == whole
    other = scope["parsed"]([*line, str(tmp_path / "cut"), "--steps", "9"])
    with pytest.raises(SystemExit, match=r"a run with other settings \(steps\): choose another --out"):
        scope["main"](other)
