"""What ``memstack hf-ask`` does: read a document of any length, and go on from a question about it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from memstack.cli import console
from memstack.cli.console import say
from memstack.plugins.registry import registry
from memstack_hf.measure.loading import document_in, load
from memstack_hf.memory.attaching import attach


@dataclass(frozen=True)
class Question:
    """What the command line asks."""

    model: str
    document: Path
    text: str
    tokens: int
    answer: int
    capacity: int
    backend: str
    dtype: str
    store: str | None = None


@torch.no_grad()
def ask(question: Question) -> None:
    """Print how the model goes on from the question, with all that it read and with the window alone."""
    registry().backend_class(question.backend)
    text = document_in(question.document)
    model, tokenizer = load(question.model, question.dtype)
    ids = tokenizer(text, return_tensors="pt").input_ids
    ids = ids[:, : question.tokens] if question.tokens else ids
    asked = tokenizer(f"\n\n{question.text}", return_tensors="pt", add_special_tokens=False).input_ids
    with attach(model, backend=question.backend, capacity=question.capacity, store=question.store) as memory:
        with console.progress_bar() as progress:
            task = progress.add_task("reading", total=ids.shape[1])
            for part in ids.to(model.device).split(memory.plan.segment, 1):
                memory.read(part)
                progress.advance(task, part.shape[1])
        read = memory.snapshot()
        say(f"read {ids.shape[1]:,} tokens of {question.document.name}; {memory.plan.window} stay in sight")
        say(f"asked: {question.text}")
        say(f"with its memory:  {_answer(model, tokenizer, asked, question.answer)}")
        memory.restore(read)
        with memory.disabled():
            say(f"the window alone: {_answer(model, tokenizer, asked, question.answer)}")


def _answer(model: Any, tokenizer: Any, asked: torch.Tensor, tokens: int) -> str:
    asked = asked.to(model.device)
    more: dict[str, Any] = {"attention_mask": torch.ones_like(asked), "do_sample": False, "max_new_tokens": tokens}
    said = model.generate(asked, pad_token_id=tokenizer.eos_token_id, **more)
    text = tokenizer.decode(said[0, asked.shape[1] :], skip_special_tokens=True)
    return " ".join(text.split())
