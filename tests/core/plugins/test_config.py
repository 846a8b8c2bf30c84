"""TOML to frozen configuration: overrides, nearest keys, one line for every mistake."""

from pathlib import Path

import pytest
from memstack_models.training import run_folder
from memstack_models.training.config import RunConfig
from pydantic import ValidationError

from memstack import ConfigError
from memstack.plugins.config import apply, dump, load


def write(folder: Path, text: str) -> Path:
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_one_override_swaps_the_backend(tmp_path: Path) -> None:
    path = write(tmp_path, '[model]\npreset = "tiny"\n[memory]\nbackend = "exact"\n')
    assert load(RunConfig, path).memory.backend == "exact"
    assert load(RunConfig, path, ["memory.backend=hnsw"]).memory.backend == "hnsw"


def test_override_values_are_toml_and_bare_words_are_strings() -> None:
    given = ["a.n=3", "a.x=1e-3", "a.on=true", "a.list=[1, 2]", "a.word=hnsw", "a.path=runs/x=1", "b=7"]
    expected = {"n": 3, "x": 1e-3, "on": True, "list": [1, 2], "word": "hnsw", "path": "runs/x=1"}
    assert apply({}, given) == {"a": expected, "b": 7}


def test_overrides_do_not_touch_what_they_are_applied_to() -> None:
    tree = {"memory": {"capacity": 1}}
    apply(tree, ["memory.capacity=2"])
    assert tree == {"memory": {"capacity": 1}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("memory.neighbors=3", r"memory\.neighbors is not a known key; did you mean 'neighbours'"),
        ("memry.capacity=3", r"memry is not a known key; did you mean 'memory'"),
        ("memory.capacity=0", r"memory\.capacity: .*greater than 0, got 0"),
        ("memory.neighbours=0", r"memory\.neighbours: .*greater than 0, got 0"),
        ("model.preset=huge", r"model\.preset: .*'tiny', 'small'.*got 'huge'"),
        ("model.memory_layers=[9]", r"memory_layers \(9,\) should lie within 1 to layers \(2\)"),
        ("train.rows=3", r"rows \(3\) should be a multiple of accumulation \(2\)"),
        ("memory.capacity", r"a setting is key=value, such as memory\.backend=hnsw; got 'memory\.capacity'"),
        ("model.preset.x=1", r"preset is a value, not a section"),
    ],
)
def test_every_mistake_is_one_line_that_names_the_mend(tmp_path: Path, override: str, message: str) -> None:
    path = write(tmp_path, '[model]\npreset = "tiny"\n[train]\naccumulation = 2\n')
    with pytest.raises(ConfigError, match=message) as caught:
        load(RunConfig, path, [override])
    assert "\n" not in str(caught.value)


def test_files_that_are_missing_or_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no configuration file"):
        load(RunConfig, tmp_path / "none.toml")
    with pytest.raises(ConfigError, match=r"run\.toml is not valid TOML: .*line 1"):
        load(RunConfig, write(tmp_path, "[model\n"))


def test_the_resolved_configuration_makes_the_same_run_again(tmp_path: Path) -> None:
    """Presets are written out, so that a later change of a preset changes no old run."""
    run = load(RunConfig, write(tmp_path, '[model]\npreset = "paper-1b"\n'), ["memory.options.dtype=bfloat16"])
    text = dump(run)
    assert load(RunConfig, write(tmp_path, text)) == run
    assert "ffn_dim = 16384" in text


def test_configuration_is_frozen() -> None:
    run = RunConfig.model_validate({"model": {"preset": "tiny"}})
    with pytest.raises(ValidationError, match="frozen"):
        run.memory.capacity = 3  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", ["tiny", "stdlib-small", "paper-200m"])
def test_bundled_recipes_are_valid(name: str) -> None:
    assert run_folder.recipe(name, []).model.layers >= 2


def test_options_are_checked_against_the_backend_they_are_for(tmp_path: Path) -> None:
    path = str(
        write(tmp_path, '[model]\npreset = "tiny"\n[memory]\nbackend = "hnsw"\n[memory.options]\nef_search = 99\n')
    )
    assert run_folder.recipe(path, []).memory.options == {"ef_search": 99}
    with pytest.raises(Exception, match=r"backend 'exact': ef_search is not a known key"):
        run_folder.recipe(path, ["memory.backend=exact"])
