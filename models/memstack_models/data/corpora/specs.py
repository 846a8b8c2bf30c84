"""The records of the corpora: what a listing shows, and where each is, imported when it is read."""

from memstack import CorpusSpec

STREAMED = "streamed with memstack[hub], or a folder's by data.options.path"
CORPORA = (
    CorpusSpec(
        name="python-stdlib",
        target="memstack_models.data.corpora.stdlib:StdlibCorpus",
        summary="the standard library's packages, large modules and their tests, as this interpreter has them",
        source="the running interpreter",
        licence="PSF-2.0",
    ),
    CorpusSpec(
        name="folder",
        target="memstack_models.data.corpora.folder:FolderCorpus",
        summary="the text files of a folder, which data.corpus names by its path; data.pattern chooses some",
        source="a folder of yours",
        licence="yours to know",
    ),
    CorpusSpec(
        name="pg19",
        target="memstack_models.data.corpora.pg19:PG19Corpus",
        summary=f"books published before 1919; {STREAMED}",
        source="emozilla/pg19 on the Hugging Face Hub",
        licence="public domain in the USA",
        test_options={"path": "examples/data/books"},
    ),
    CorpusSpec(
        name="arxiv-math",
        target="memstack_models.data.corpora.arxiv_math:ArxivMathCorpus",
        summary=f"LaTeX sources of mathematics; {STREAMED}",
        source="hoskinson-center/proof-pile on the Hugging Face Hub, its arXiv",
        licence="its authors', paper by paper",
        test_options={"path": "examples/data/arxiv_math"},
    ),
    CorpusSpec(
        name="github",
        target="memstack_models.data.corpora.github:GitHubCorpus",
        summary=f"repositories of code, each a document; {STREAMED}",
        source="codeparrot/github-code-clean on the Hugging Face Hub",
        licence="its authors', file by file",
        test_options={"path": "backends", "shortest": 0},
    ),
    CorpusSpec(
        name="isabelle",
        target="memstack_models.data.corpora.isabelle:IsabelleCorpus",
        summary=f"entries of the Archive of Formal Proofs, theories in import order; {STREAMED}",
        source="hoskinson-center/proof-pile on the Hugging Face Hub, its AFP",
        licence="BSD or LGPL, entry by entry",
        test_options={"path": "examples/data/isabelle"},
    ),
    CorpusSpec(
        name="c4-long",
        target="memstack_models.data.corpora.c4_long:C4LongCorpus",
        summary=f"web pages of 4,096 tokens and more; {STREAMED}",
        source="allenai/c4 (en) on the Hugging Face Hub",
        licence="ODC-BY, and Common Crawl's terms",
        test_options={"path": "examples/data/web"},
    ),
)
