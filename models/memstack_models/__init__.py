"""A Memorizing Transformer (arXiv 2203.08913) that never knows which memory backend it calls."""

from collections.abc import Sequence

import memstack

COMMANDS = (
    memstack.CommandSpec(
        name="train",
        target="memstack_models.cli.train:train_command",
        summary="Train a model by a recipe, in a run folder that can be resumed.",
        examples=(
            "memstack train tiny --set memory.backend=hnsw",
            "memstack train stdlib-small --set data.corpus=my-texts --out runs/mine",
            "memstack train --resume --out runs/mine",
            "memstack train --from runs/mine --set memory.capacity=65536 --out runs/next",
        ),
    ),
    memstack.CommandSpec(
        name="estimate",
        target="memstack_models.cli.estimate:estimate_command",
        summary="Tell what a training takes before it is made; or, on paper, a store of very many entries.",
        examples=(
            "memstack estimate stdlib-small --set memory.capacity=262144",
            "memstack estimate paper-200m --json estimate.json",
            "memstack estimate --entries 1e9 --ranks 8",
        ),
    ),
    memstack.CommandSpec(
        name="eval",
        target="memstack_models.cli.evaluate:eval_command",
        summary="Evaluate a checkpoint on held-out documents, with and without its memory.",
        examples=(
            "memstack eval stdlib-small",
            "memstack eval runs/mine --opponent runs/nothing --plot eval.png --json eval.json",
        ),
    ),
    memstack.CommandSpec(
        name="build-store",
        target="memstack_models.cli.build_store:build_store_command",
        summary="Fill a store with what a checkpoint remembers of a corpus, to be read beside any document.",
        examples=(
            "memstack build-store stdlib-small my-texts --out stores/mine",
            "memstack build-store stdlib-small my-texts --url http://localhost:6334/mine",
        ),
    ),
    memstack.CommandSpec(
        name="explain",
        target="memstack_models.cli.explain:explain_command",
        summary="Write a page of where memory helps: every token, and what was retrieved for it.",
        examples=(
            "memstack explain stdlib-small my_module.py",
            "memstack explain runs/mine chapter-1.txt chapter-2.txt --tokens 20000 --out runs/chapters.html",
        ),
    ),
    memstack.CommandSpec(
        name="definitions",
        target="memstack_models.cli.definitions:definitions_command",
        summary="Count how often the use of a name retrieves its definition, beside what chance would.",
        examples=(
            "memstack definitions stdlib-small",
            "memstack definitions runs/mine --data my-theories --language isabelle --json definitions.json",
        ),
    ),
    memstack.CommandSpec(
        name="compare",
        target="memstack_models.cli.compare:compare_command",
        summary="Compare memories of a checkpoint (perplexity, recall, times), or several runs on one text.",
        examples=(
            "memstack compare runs/mine -b hnsw -b faiss-ivf,nprobe=32 --capacity 65536 --json compare.json",
            "memstack compare runs/mine runs/nothing runs/cache --format latex",
        ),
    ),
    memstack.CommandSpec(
        name="report",
        target="memstack_models.cli.report:report_command",
        summary="Measure every backend on a checkpoint's own keys: a page of pictures, and the numbers.",
        examples=("memstack report --quick", "memstack report runs/mine --out runs/mine-report --recall 0.9"),
    ),
    memstack.CommandSpec(
        name="tune",
        target="memstack_models.cli.tune:tune_command",
        summary="Pick the fastest backend and options for this machine at a recall, and say why.",
        examples=(
            "memstack tune",
            "memstack tune runs/mine --recall 0.9 --entries 65536 -b hnsw -b scann > memory.toml",
        ),
    ),
    memstack.CommandSpec(
        name="export",
        target="memstack_models.cli.export:export_command",
        summary="Write a run's weights in bfloat16 to a folder that can be shared.",
        examples=("memstack export runs/mine shared/mine",),
    ),
    memstack.CommandSpec(
        name="demo",
        target="memstack_models.cli.demo:demo_command",
        summary="Evaluate the shipped checkpoint with several memories and on five corpora, train a tiny model.",
        examples=("memstack demo", "memstack demo --backend hnsw --out runs/hnsw-demo"),
    ),
    memstack.CommandSpec(
        name="reproduce",
        target="memstack_models.cli.reproduce:reproduce_command",
        summary="Make a table or figure of the paper again, with the published figures beside it.",
        examples=(
            "memstack reproduce table4 --scale tiny",
            "memstack reproduce figure6 --only isabelle --seeds 3",
            "memstack reproduce table4 --dry-run",
        ),
    ),
)
STREAMED = "streamed with memstack[hub], or a folder's by data.options.path"
CORPORA = (
    memstack.CorpusSpec(
        name="python-stdlib",
        target="memstack_models.data.corpora.stdlib:StdlibCorpus",
        summary="the standard library's packages, large modules and their tests, as this interpreter has them",
        source="the running interpreter",
        licence="PSF-2.0",
    ),
    memstack.CorpusSpec(
        name="folder",
        target="memstack_models.data.corpora.folder:FolderCorpus",
        summary="the text files of a folder, which data.corpus names by its path; data.pattern chooses some",
        source="a folder of yours",
        licence="yours to know",
    ),
    memstack.CorpusSpec(
        name="mixture",
        target="memstack_models.data.corpora.mixture:MixtureCorpus",
        summary="several corpora as one, which data.options.parts lists",
        source="its parts'",
        licence="its parts'",
        test_options={
            "parts": [
                {"corpus": "isabelle", "options": {"path": "examples/data/isabelle"}},
                {"corpus": "folder", "name": "pages", "options": {"path": "examples/data/web"}},
            ]
        },
    ),
    memstack.CorpusSpec(
        name="pg19",
        target="memstack_models.data.corpora.pg19:PG19Corpus",
        summary=f"books published before 1919; {STREAMED}",
        source="emozilla/pg19 on the Hugging Face Hub",
        licence="public domain in the USA",
        test_options={"path": "examples/data/books"},
    ),
    memstack.CorpusSpec(
        name="arxiv-math",
        target="memstack_models.data.corpora.arxiv_math:ArxivMathCorpus",
        summary=f"LaTeX sources of mathematics; {STREAMED}",
        source="hoskinson-center/proof-pile on the Hugging Face Hub, its arXiv",
        licence="its authors', paper by paper",
        test_options={"path": "examples/data/arxiv_math"},
    ),
    memstack.CorpusSpec(
        name="github",
        target="memstack_models.data.corpora.github:GitHubCorpus",
        summary=f"repositories of code, each a document; {STREAMED}",
        source="codeparrot/github-code-clean on the Hugging Face Hub",
        licence="its authors', file by file",
        test_options={"path": "backends", "shortest": 0},
    ),
    memstack.CorpusSpec(
        name="isabelle",
        target="memstack_models.data.corpora.isabelle:IsabelleCorpus",
        summary=f"entries of the Archive of Formal Proofs, theories in import order; {STREAMED}",
        source="hoskinson-center/proof-pile on the Hugging Face Hub, its AFP",
        licence="BSD or LGPL, entry by entry",
        test_options={"path": "examples/data/isabelle"},
    ),
    memstack.CorpusSpec(
        name="c4-long",
        target="memstack_models.data.corpora.c4_long:C4LongCorpus",
        summary=f"web pages of 4,096 tokens and more; {STREAMED}",
        source="allenai/c4 (en) on the Hugging Face Hub",
        licence="ODC-BY, and Common Crawl's terms",
        test_options={"path": "examples/data/web"},
    ),
)


@memstack.hookimpl
def memstack_commands() -> Sequence[memstack.CommandSpec]:
    """Offer training, evaluation, the paper's tables and the demo as commands."""
    return COMMANDS


@memstack.hookimpl
def memstack_corpora() -> Sequence[memstack.CorpusSpec]:
    """Offer the documents that are on every machine, those of a folder, and the paper's five corpora."""
    return CORPORA
