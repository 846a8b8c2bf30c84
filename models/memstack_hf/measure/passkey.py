"""Passkeys: five digits somewhere in a long text, asked for at its end."""

import random
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from memstack.contract.errors import ShapeError
from memstack_hf.measure.records import Found
from memstack_hf.measure.ways import SEGMENT, Way

HIDDEN = "\n\nThe pass key is {key}. Remember it. {key} is the pass key.\n\n"
QUESTION = "\n\nWhat is the pass key? The pass key is"


def passkeys(model: Any, tokenizer: Any, way: Way, text: Int[Tensor, " n"], tokens: int, trials: int) -> Found:
    """Hide and ask so many times, in a text of so many tokens; the same places and keys for every way.

    Raises:
        ShapeError: the text is too short.
    """
    right, nats = 0, 0.0
    with way.opened(model) as memory:
        for seed in range(trials):
            prompt, answer = trial(tokenizer, text, tokens, seed)
            if memory is not None:
                memory.reset()
            logits = _logits_after(model, memory, prompt.to(model.device), answer.to(model.device))
            right += int(bool((logits.argmax(-1).cpu() == answer).all()))
            nats += cross_entropy(logits.float().cpu(), answer).item()
    return Found(way=way.name, tokens=tokens, trials=trials, right=right, nats=nats / trials)


def trial(tokenizer: Any, text: Tensor, tokens: int, seed: int) -> tuple[Tensor, Tensor]:
    """A prompt of so many tokens with a passkey in it, and the tokens of the key."""
    chance = random.Random(seed)
    key = str(chance.randrange(10_000, 100_000))
    hidden, question, answer = (_ids(tokenizer, each) for each in (HIDDEN.format(key=key), QUESTION, f" {key}"))
    room = tokens - len(hidden) - len(question)
    if room < 1 or len(text) < room:
        raise ShapeError(f"a passkey at {tokens} tokens needs a text of as many, got {len(text)}: name a longer one")
    start = chance.randrange(len(text) - room + 1)
    # Out of sight of the question, wherever that may be.
    place = chance.randrange(max(1, room - min(2 * SEGMENT, room // 2)))
    filler = text[start : start + room]
    return torch.cat([filler[:place], hidden, filler[place:], question]), answer


@torch.no_grad()
def _logits_after(model: Any, memory: Any, prompt: Tensor, answer: Tensor) -> Tensor:
    """The logits of every token of the answer, the ones before it given."""
    asked = torch.cat([prompt, answer[:-1]])[None]
    if memory is not None:
        memory.read(asked[:, : -len(answer)])
        return model(input_ids=asked[:, -len(answer) :]).logits[0]
    return model(input_ids=asked, use_cache=False, logits_to_keep=len(answer)).logits[0]


def _ids(tokenizer: Any, text: str) -> Tensor:
    return torch.tensor(tokenizer(text, add_special_tokens=False).input_ids, dtype=torch.int64, device="cpu")
