"""A corpus small enough to train on in a test: a folder as ``data.corpus`` takes it."""

from pathlib import Path


def write_corpus(folder: Path, documents: int, words: int) -> Path:
    """Write so many documents of so many words into each split; returns the folder."""
    for split in ("train", "validation", "test"):
        (folder / split).mkdir(parents=True)
        for i in range(documents):
            text = f"{split} {i} " + " ".join(str(j * j % (5 + i)) for j in range(words))
            (folder / split / f"{i}.txt").write_text(text, encoding="utf-8")
    return folder
