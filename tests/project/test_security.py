"""The security page: every promise has a test, here or where what it is about is tested."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from memstack_exact.cpu import compiler
from memstack_models.data.errors import CheckpointError
from memstack_models.data.tokenizer import ByteTokenizer, load_tokenizer
from memstack_models.training import checkpoint, run_folder
from project.test_layout import BACKENDS, CORE, MODELS, imported

from memstack import MemoryShape, ShapeError, StateError, create_corpus, create_memory
from memstack.contract.errors import RecordError
from memstack.plugins.config import apply
from memstack.plugins.records import Record

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "security.md"
COMPILER = "backends/test_exact_compiler.py"
CACHE = "core/plugins/test_disk_cache.py"
HUB = ("datasets", "huggingface_hub", "fsspec")
SMALL = MemoryShape(rows=1, heads=1, key_dim=4, value_dim=4, capacity=8)
# How a promise begins: the file of its test, empty for this one, and the test.
PROMISES = {
    "Installed plugins": ("core/plugins/test_plugins.py", "test_a_strangers_backend_is_listed_with_its_distribution"),
    "Your configuration": (
        "core/store/test_storage.py",
        "test_a_store_in_a_folder_is_files_without_names_that_go_with_it",
    ),
    "The C++ compiler": ("", "test_the_compiler_is_that_of_the_environment_or_the_first"),
    "What you pickle": ("project/test_layout.py", "test_nothing_is_pickled"),
    "A configuration is text": ("", "test_a_configuration_is_text"),
    "A checkpoint is no pickle": ("", "test_a_checkpoint_that_is_a_pickle_is_refused"),
    "A checkpoint with a right digest": (
        "models/training/test_forged_checkpoints.py",
        "test_a_forged_checkpoint_is_refused_in_one_line_and_nothing_is_taken_over",
    ),
    "A memory's saved state": ("", "test_a_state_that_does_not_fit_changes_nothing"),
    "A tokeniser, a record and a log": ("", "test_a_tokeniser_and_a_record_are_data"),
    "A corpus is text": ("", "test_a_corpus_is_text"),
    "A public data set": (
        "models/data/corpora/test_hub_failures.py",
        "test_files_are_named_by_the_pinned_revision_and_read_without_a_script",
    ),
    "A damaged package": ("core/plugins/test_damaged_metadata.py", "test_damaged_metadata_end_no_command"),
    "What a plugin prints": ("core/plugins/test_damaged_metadata.py", "test_what_plugins_print_is_not_in_the_output"),
    "A cache that others": (CACHE, "test_a_planted_folder_is_not_used_and_that_is_said_once"),
    "A file of the cache": (CACHE, "test_a_planted_entry_is_made_again"),
    "The folders of the cache": (CACHE, "test_the_cache_is_for_the_user_alone"),
    "A compiled library": (COMPILER, "test_a_bad_compiler_is_one_line_and_keeps_nothing"),
    "A cached digest": (COMPILER, "test_a_planted_library_is_not_loaded"),
    "A secret is an option": ("models/training/test_secret_run.py", "test_an_export_needs_no_secret_and_holds_none"),
    "No error quotes": ("core/plugins/test_secrets.py", "test_no_error_quotes_a_secret"),
    "A secret can be given": ("core/plugins/test_secrets.py", "test_a_secret_is_taken_from_the_environment"),
    "After a fork": (
        "backends/test_processes.py",
        "test_a_forked_process_goes_on_where_its_parent_used_many_threads",
    ),
    "A compiler is stopped": (COMPILER, "test_all_that_a_compiler_has_started_is_ended"),
    "A configuration of more": ("core/plugins/test_config_text.py", "test_odd_text_in_a_file_is_one_line"),
    "A pipe, a device": ("core/plugins/test_config_text.py", "test_what_is_no_file_is_one_line"),
    "A memory that the machine": ("", "test_a_memory_that_the_machine_cannot_hold_is_refused_before_it_is_made"),
    "memstack opens no connection": ("", "test_no_connection_is_opened"),
}


def promises() -> list[str]:
    """The promises of the page, each as one line."""
    return [" ".join(each.split()) for each in re.findall(r"^- (.+(?:\n  .+)*)", PAGE.read_text("utf-8"), re.MULTILINE)]


def names_of_tests(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("promise", promises())
def test_every_promise_names_a_test_that_there_is(promise: str) -> None:
    [(file, name)] = [named for beginning, named in PROMISES.items() if promise.startswith(beginning)]
    assert name in names_of_tests(ROOT / "tests" / file if file else Path(__file__))


def test_every_named_promise_is_on_the_page() -> None:
    assert len(promises()) == len(PROMISES) > 20


def owning(path: Path) -> bytes:
    """A pickle that makes a file when it is loaded."""
    return b"cos\nsystem\n(S'touch " + str(path).encode() + b"'\ntR."


def test_the_compiler_is_that_of_the_environment_or_the_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("mine", "c++", "g++"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert compiler.find() == [str(tmp_path / "c++")]
    monkeypatch.setenv("CXX", "mine -O1")
    assert compiler.find() == [str(tmp_path / "mine"), "-O1"]


@pytest.mark.parametrize("text", ["__import__('os').getcwd()", "$(id)", "`id`", "{{7*7}}", "!!python/object:os.system"])
def test_a_configuration_is_text(text: str) -> None:
    assert apply({}, [f"data.corpus={text}"]) == {"data": {"corpus": text}}


@pytest.mark.parametrize("name", [checkpoint.FILE, "checkpoint-1/manifest.json", "checkpoint-1/rank-0.safetensors"])
def test_a_checkpoint_that_is_a_pickle_is_refused(tmp_path: Path, name: str) -> None:
    if "/" in name:
        checkpoint.save(tmp_path, {"model.a": torch.ones(1)}, {"step": 1})
    (tmp_path / name).write_bytes(owning(tmp_path / "owned"))
    with pytest.raises(CheckpointError):
        checkpoint.load(tmp_path, "model.")
    assert not (tmp_path / "owned").exists()


def test_a_state_that_does_not_fit_changes_nothing() -> None:
    memory = create_memory("exact", SMALL)
    memory.add(torch.eye(4)[None, None], torch.eye(4)[None, None])
    before = {name: tensor.clone() for name, tensor in memory.state_dict().items()}
    for name, tensor in ((name, tensor) for name, tensor in before.items() if tensor.ndim):
        with pytest.raises(StateError):
            memory.load_state_dict({**before, name: tensor[None]})
    assert all(torch.equal(tensor, before[name]) for name, tensor in memory.state_dict().items())


def test_a_tokeniser_and_a_record_are_data(tmp_path: Path) -> None:
    ByteTokenizer().save(tmp_path)
    reads: list[tuple[str, Callable[[], object], type[Exception]]] = [
        ("tokenizer.json", lambda: load_tokenizer(tmp_path), CheckpointError),
        ("record.json", lambda: Record.read(tmp_path / "record.json"), RecordError),
        (run_folder.LOG, lambda: run_folder.read_log(tmp_path), RecordError),
    ]
    for file, read, error in reads:
        (tmp_path / file).write_bytes(owning(tmp_path / "owned"))
        with pytest.raises(error) as caught:
            read()
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "owned").exists()


def test_a_corpus_is_text(tmp_path: Path) -> None:
    text = owning(tmp_path / "owned").decode() + "<|document|>"
    for split in ("train", "validation", "test"):
        (tmp_path / "corpus" / split).mkdir(parents=True)
        (tmp_path / "corpus" / split / "one.txt").write_text(text)
    [document] = create_corpus("folder", path=tmp_path / "corpus").documents("train")
    tokenizer = ByteTokenizer()
    tokens = tokenizer.encode(document.text)
    assert tokenizer.decode(tokens) == text
    assert tokenizer.document_token not in tokens
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("size", [2**40, 2**62, 2**63, 2**80])
@pytest.mark.parametrize("axis", ["rows", "heads", "capacity", "key_dim", "value_dim"])
def test_a_memory_that_the_machine_cannot_hold_is_refused_before_it_is_made(axis: str, size: int) -> None:
    shape = MemoryShape(**dict.fromkeys(("rows", "heads", "capacity", "key_dim", "value_dim"), 4) | {axis: size})
    for backend in ("exact", "hnsw", "bucketed"):
        with pytest.raises(ShapeError, match=r"more than there is|which no machine has") as caught:
            create_memory(backend, shape)
        assert "\n" not in str(caught.value)


def test_no_connection_is_opened() -> None:
    sources = [*CORE, *(path for package in (*BACKENDS, *MODELS) for path in package.rglob("*.py"))]
    clients = {
        "socket",
        "ssl",
        "http",
        "urllib",
        "ftplib",
        "smtplib",
        "asyncio",
        "requests",
        "httpx",
        "aiohttp",
        "grpc",
    }
    found = {path.name: names for path in sources if (names := {*clients, *HUB} & set(imported(path)))}
    assert found == {"hub.py": {"datasets"}, "cluster.py": {"grpc"}}
    # A model that is named comes from the Hub, or from the file of a package.
    loading = {
        path.name for path in sources if "from_pretrained(" in path.read_text() and "AutoModel" in path.read_text()
    }
    assert loading == {"loading.py", "smollm2.py"}
