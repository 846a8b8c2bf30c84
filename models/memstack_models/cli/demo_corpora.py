"""The demo's second table: the shipped checkpoint on the paper's five kinds of text, with and without its memory."""

from collections.abc import Iterable, Mapping
from math import nan

from rich.table import Table

from memstack import CorpusError
from memstack.cli import console
from memstack.cli.console import say
from memstack.plugins.config import MemoryConfig
from memstack_models.cli.work import compare_with_progress
from memstack_models.evaluation.comparison import Comparison, memory_of
from memstack_models.evaluation.records import Compared
from memstack_models.report.reproduce.corpora import settings_of, sources
from memstack_models.training import run_folder
from memstack_models.training.bundled import CHECKPOINT

MEMORY = "exact/8192"
READ = ["eval.documents=2", "eval.tokens=12288", "eval.rows=2"]


def read_corpora() -> dict[str, dict[str, Compared]]:
    """Read two documents of each kind with and without a memory; a note tells of those that are not at hand."""
    results: dict[str, dict[str, Compared]] = {}
    for name in sources():
        try:
            comparison = Comparison(run_folder.find(CHECKPOINT), [*READ, *settings_of(name, {})])
        except CorpusError as error:
            say(f"note: {error}")
            continue
        say(f"reading {name}")
        results[name] = compare_with_progress(comparison, memories([MEMORY], comparison))
    return results


def memories(names: Iterable[str], comparison: Comparison) -> dict[str, MemoryConfig | None]:
    """Return no memory, and those of the names, such as ``exact/8192``, with the checkpoint's neighbours."""
    found: dict[str, MemoryConfig | None] = {"none": None}
    for name in names:
        backend, _, entries = name.partition("/")
        found[name] = memory_of(backend, int(entries), comparison.run.memory.neighbours)
    return found


def corpora_table(results: Mapping[str, Mapping[str, Compared]]) -> Table:
    """One line per corpus; perplexities are beyond the first 4k tokens of documents, bits per byte of all."""
    known = sources()
    rows = console.table("corpus", "is", right=["memory off", MEMORY, "change", "bits/byte, off", MEMORY])
    for name, read in results.items():
        off, on = read["none"], read[MEMORY]
        before, after = (each.perplexity_beyond_4k or nan for each in (off, on))
        change = f"{100 * (after / before - 1):+.1f} %"
        figures = f"{before:.2f}", f"{after:.2f}", change, f"{off.bits_per_byte:.3f}", f"{on.bits_per_byte:.3f}"
        rows.add_row(name, known[name].says, *figures)
    return rows
