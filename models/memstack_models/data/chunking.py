"""Long texts in pieces that a byte-level BPE encodes just as it would the whole."""

import re
from collections.abc import Iterator

LENGTH = 1 << 14
# White space after a visible character always begins a new word for GPT-2's pattern, which looks ahead but never back:
# cutting there changes no token. Elsewhere it might: of a run of spaces the last one goes with the word that follows.
SAFE = re.compile(r"(?<=[!-~])(?=[ \n])")


def pieces(text: str, length: int = LENGTH) -> Iterator[str]:
    """Yield the text in order, each piece of ``length`` characters or a little more; longer where it has no spaces."""
    start = 0
    while start < len(text):
        cut = SAFE.search(text, start + length)
        end = cut.start() if cut else len(text)
        yield text[start:end]
        start = end
