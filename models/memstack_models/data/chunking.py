"""Long texts in pieces that a byte-level BPE encodes just as it would the whole."""

import re
from collections.abc import Iterator

LENGTH = 1 << 14
WAIT = 1 << 15
"""How many characters more a piece may have until it comes to a place where cutting changes no token."""
# GPT-2's pattern looks ahead but never back: cutting where a match surely begins changes no token. White space after a
# visible character begins one, and so does punctuation after a letter: ASCII, or Chinese and Japanese, whose texts have
# no spaces. Elsewhere it might not: of a run of spaces the last one goes with the word that follows.
SAFE = re.compile(
    r"(?<=[!-~])(?=[ \n])|(?<=[A-Za-z])(?=[!-/:-@\[-`{-~])"
    r"|(?<=[\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fa5])(?=[\u3001\u3002\uff01\uff0c\uff1a\uff1b\uff1f])"
)


def pieces(text: str, length: int = LENGTH, wait: int = WAIT) -> Iterator[str]:
    """Yield the text in order, each piece of ``length`` characters or a little more.

    Where the next ``wait`` characters have no place at which cutting changes no token, as in base64, it is cut there
    all the same: what is encoded at once stays bounded.
    """
    start = 0
    while start < len(text):
        longest = start + length + wait
        # An end is no place: what follows it decides.
        cut = SAFE.search(text, start + length, longest + 1)
        end = cut.start() if cut else longest
        yield text[start:end]
        start = end
