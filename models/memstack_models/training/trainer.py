"""The training step: forward reads, the step writes. A killed run resumes to the bit."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from memstack.plugins.config import MemoryConfig
from memstack_models.data.errors import CheckpointError
from memstack_models.data.reader import IGNORED, Segment
from memstack_models.training import checkpoint, run_folder
from memstack_models.training.config import RunConfig
from memstack_models.training.device import pick_device
from memstack_models.training.errors import DivergedError
from memstack_models.training.monitoring import MemoryMonitor, probed_entry
from memstack_models.training.optimizers import (
    create_optimizer,
    learning_rate,
    load_optimizer_state,
    optimizer_state,
    set_learning_rate,
)
from memstack_models.training.perplexity import evaluate
from memstack_models.training.records import LogEntry, Perplexity, Recall, StepEntry, ValidationEntry
from memstack_models.training.stream import Stream, sub_state
from memstack_models.training.streams import evaluation_stream, training_streams
from memstack_models.transformer.transformer import SegmentOutput, Transformer

Report = Callable[[LogEntry], None]
GAIN = 0.01
"""The part of the perplexity that the memory must save for its gain to have appeared."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """What one training step measured."""

    step: int
    loss: float
    rate: float
    tokens_per_s: int
    memory_share: Tensor
    """(memory_layers, heads), on the model's device: reading it waits for that."""
    search_ms: float
    add_ms: float

    def logged(self, probed: Recall) -> StepEntry:
        """Return the step as the log keeps it."""
        shares = tuple(tuple(round(share, 4) for share in heads) for heads in self.memory_share.tolist())
        return StepEntry.model_validate(vars(self) | dict(probed) | {"memory_share": shares})


class Trainer:
    """A model, its optimiser and its streams, advanced step by step inside a run folder."""

    def __init__(
        self,
        run: RunConfig,
        folder: Path,
        vocab_size: int,
        documents: list[Tensor],
        validation: list[Tensor],
        token_bytes: Tensor,
        *,
        memory_off: bool = False,
    ) -> None:
        torch.manual_seed(run.train.seed)
        self.run, self.folder = run, folder
        self.device = pick_device(run.train.device)
        self.model = Transformer(run.model, vocab_size, run.memory.neighbours).to(self.device)
        self.model.checkpointed = checkpointed_layers(run)
        if run.train.compile:
            # Sizes are few: training's and evaluation's.
            self.model.compile(fullgraph=True, dynamic=False)
        self.optimizer = create_optimizer(self.model, run.train)
        streams = training_streams(run, documents, self.device, None if memory_off else run.memory)
        self.monitors = [MemoryMonitor(stream.bank, self.model, run.memory.probe) for stream in streams]
        pairs = zip(streams, self.monitors, strict=True)
        self.streams = [replace(stream, bank=monitor.bank) for stream, monitor in pairs]
        self.validation, self.token_bytes = validation, token_bytes
        self.step = 0

    def train(self, report: Report = lambda entry: None) -> None:
        """Run the remaining steps; ``report`` is told what each step measured."""
        config = self.run.train
        run_folder.rewind_log(self.folder, self.step)
        while self.step < config.steps:
            step = self.advance()
            if self.step % config.log_every == 0 or self.step == config.steps:
                entry = step.logged(probed_entry([probed for watch in self.monitors for probed in watch.take_probed()]))
                run_folder.append_log(self.folder, entry)
                report(entry)
            if config.validate_every and self.step % config.validate_every == 0:
                run_folder.append_log(self.folder, validated := self.validate())
                report(validated)
            if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                self.save()

    def advance(self) -> Step:
        """One step over all parts: forward and backward, then the optimiser, then the memories are written."""
        start = time.perf_counter()
        rate = learning_rate(self.run.train, self.step)
        set_learning_rate(self.optimizer, rate)
        segments = [next(stream) for stream in self.streams]
        tokens = sum(int((segment.targets != IGNORED).sum()) for segment in segments)
        parts = [self._backward(*part, tokens) for part in zip(self.streams, segments, strict=True)]
        norm = clip_grad_norm_(self.model.parameters(), self.run.train.clip)
        loss = sum(loss for loss, _ in parts)
        if not math.isfinite(loss) or not bool(norm.isfinite()):
            raise DivergedError(
                f"training diverged at step {self.step + 1} (loss {loss}): lower train.learning_rate or train.clip; "
                f"the last checkpoint in {self.folder} is from before"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for stream, (_, new) in zip(self.streams, parts, strict=True):
            stream.commit(new)
        self.step += 1
        return self._measured(loss, rate, parts[0][1], tokens, start)

    def validate(self) -> ValidationEntry:
        """Perplexity of the validation documents with the memory and with it switched off, and what the memory gains.

        The first validation in which it gains ``GAIN`` or more is marked.
        """
        with_memory = self._evaluated(self.run.memory) if self.run.model.memory_layers else None
        without = self._evaluated(None)
        if with_memory is None:
            return ValidationEntry(step=self.step, without=without)
        gain = 1 - with_memory.perplexity / without.perplexity
        before = any(entry.kind == "validation" and entry.gain_appears for entry in run_folder.read_log(self.folder))
        return ValidationEntry(
            step=self.step,
            without=without,
            with_memory=with_memory,
            gain=gain,
            gain_appears=not before and gain >= GAIN,
        )

    def save(self) -> None:
        """Write everything a resumed run needs to continue with the same losses."""
        parts = {"model": self.model.state_dict(), "optimizer": optimizer_state(self.optimizer)}
        parts |= {f"stream.{i}": stream.state_dict() for i, stream in enumerate(self.streams)}
        tensors = {f"{part}.{name}": tensor for part, state in parts.items() for name, tensor in state.items()}
        tensors["random"] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        checkpoint.save(self.folder, tensors, {"step": self.step})

    def resume(self) -> None:
        """Continue from the folder's checkpoint; a run killed before its first one starts again.

        The losses that follow are those of an uninterrupted run: to the bit on a CPU if the memory's search is exact.
        An approximate index is built again from the same data and may find other neighbours.
        """
        if not (self.folder / checkpoint.FILE).exists():
            return
        state, progress = checkpoint.load(self.folder)
        if "random" not in state:
            raise CheckpointError(f"{self.folder} holds exported weights only: they can be evaluated, not resumed")
        run_folder.load_weights(self.model, sub_state(state, "model"), self.folder)
        load_optimizer_state(self.optimizer, sub_state(state, "optimizer"))
        for i, stream in enumerate(self.streams):
            stream.load_state_dict(sub_state(state, f"stream.{i}"))
        torch.set_rng_state(state["random"])
        if "random.cuda" in state and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["random.cuda"], self.device)
        self.step = progress["step"]

    def _backward(self, stream: Stream, segment: Segment, tokens: int) -> tuple[float, SegmentOutput]:
        """Forward and backward of one part; its share of the step's mean loss, and what it adds."""
        half = self.run.train.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            logits, new = self.model(segment.tokens.to(self.device), stream.bank, stream.cache)
        targets = segment.targets.flatten().to(self.device)
        loss = cross_entropy(logits.flatten(0, 1).float(), targets, ignore_index=IGNORED, reduction="sum") / tokens
        loss.backward()
        return float(loss.detach()), new

    def _evaluated(self, memory: MemoryConfig | None) -> Perplexity:
        stream = evaluation_stream(self.run, self.validation, self.device, memory)
        return evaluate(self.model, stream, self.token_bytes).result()

    def _measured(self, loss: float, rate: float, new: SegmentOutput, tokens: int, start: float) -> Step:
        seconds = time.perf_counter() - start
        spent = [watch.take_seconds() for watch in self.monitors]
        return Step(
            step=self.step,
            loss=loss,
            rate=rate,
            tokens_per_s=round(tokens / seconds),
            memory_share=new.memory_share,
            search_ms=round(1e3 * sum(s["search"] for s in spent), 1),
            add_ms=round(1e3 * sum(s["add"] for s in spent), 1),
        )


def checkpointed_layers(run: RunConfig) -> frozenset[int]:
    """The layers whose activations the configuration would have computed again, counted from 1."""
    layers = {"none": (), "memory": run.model.memory_layers, "all": range(1, run.model.layers + 1)}
    return frozenset(layers[run.train.checkpoint_activations])
