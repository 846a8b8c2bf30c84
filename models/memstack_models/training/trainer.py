"""The training step: forward reads, the step writes. A killed run resumes to the bit."""

import math
import time
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from memstack.contract.errors import MemstackError
from memstack.plugins.config import MemoryConfig
from memstack_models.data.reader import Segment
from memstack_models.training import run_folder
from memstack_models.training.common_store import refuse_store
from memstack_models.training.config import RunConfig
from memstack_models.training.curves import check_curves, curves
from memstack_models.training.device import pick_device
from memstack_models.training.errors import (
    DivergedError,
    RunFolderError,
    RunFolderWarning,
    TrainingStopped,
    going_on,
)
from memstack_models.training.lock import locked
from memstack_models.training.model import checkpointed_layers, new_model
from memstack_models.training.monitoring import MemoryMonitor, mean_ages, probed_entry
from memstack_models.training.optimizers import create_optimizer, learning_rate, set_learning_rate
from memstack_models.training.parallel import SharedModel, refuse_no_room, way_of
from memstack_models.training.perplexity import evaluate
from memstack_models.training.ranks import ALONE, OtherRankError, Ranks
from memstack_models.training.records import LogEntry, Perplexity, ValidationEntry
from memstack_models.training.signals import Signals, tell_at_once
from memstack_models.training.state import RunState
from memstack_models.training.step import Step, loss_of
from memstack_models.training.stream import Stream
from memstack_models.training.streams import check_documents, evaluation_stream, grouped, training_streams
from memstack_models.transformer.transformer import SegmentOutput

Report = Callable[[LogEntry], object]
GAIN = 0.01
"""The part of the perplexity that the memory must save for its gain to have appeared."""
AGES_EVERY = 10
"""Searches of a memory from one look at how old what it found is to the next, at the most."""


def warn(text: str) -> None:
    """Tell what is out of order where nobody else does."""
    warnings.warn(text, RunFolderWarning, stacklevel=3)


def check_run(run: RunConfig, vocab_size: int, memory: MemoryConfig | None, ranks: Ranks) -> torch.device:
    """Where to compute; refused is what is known to go wrong."""
    check_curves(run.train.curves)
    refuse_store(memory)
    device = pick_device(run.train.device)
    refuse_no_room(run, vocab_size, device, memory, grouped(ranks, run, memory))
    return device


def untold(entry: LogEntry) -> None:
    """Tell nobody: what a rank logs, the first one tells."""


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
        ranks: Ranks = ALONE,
    ) -> None:
        torch.manual_seed(run.train.seed)
        memory = None if memory_off else run.memory
        self.run, self.folder, given = run, folder, ranks
        self.ranks = ranks = ranks.together(lambda: grouped(given, run, memory))
        self.device = ranks.together(lambda: check_run(run, vocab_size, memory, ranks))
        self.model = new_model(run, vocab_size).to(self.device)
        self.model.checkpointed = checkpointed_layers(run)
        if run.train.compile:
            # Sizes are few: training's and evaluation's.
            self.model.compile(fullgraph=True, dynamic=False)
        self.shared = SharedModel(self.model, ranks, way_of(run.train, ranks), self.device)
        self.optimizer = create_optimizer(self.model, run.train)
        if ranks.group:  # rows on other ranks drop out other activations
            torch.manual_seed((run.train.seed + ranks.group) % (1 << 64))
        streams = ranks.together(lambda: training_streams(run, documents, self.device, memory, ranks))
        check_documents(streams, ranks)
        every = min(AGES_EVERY, run.train.log_every)
        self.monitors = [MemoryMonitor(each.bank, self.model, run.memory.probe, "cpu", every) for each in streams]
        pairs = zip(streams, self.monitors, strict=True)
        self.streams = [replace(stream, bank=monitor.bank) for stream, monitor in pairs]
        self._state = RunState(run, self.model, self.optimizer, self.streams, self.device, ranks)
        self.validation, self.token_bytes = validation, token_bytes
        self.step = 0
        self._saved: int | None = None
        self._gained = False

    def train(
        self,
        report: Report = lambda entry: None,
        *,
        held: bool = False,
        tick: Callable[[int], None] = lambda step: None,
        tell: Callable[[str], None] = warn,
    ) -> None:
        """Run the remaining steps; ``report`` is told what is logged, ``tick`` each step, ``tell`` what is amiss.

        One process at a time trains in a folder: RunFolderError if another does; ``held`` says that the caller has the
        lock. Ctrl-C, SIGTERM and SIGHUP, in the main thread, have the step finished and saved, and raise
        TrainingStopped, a KeyboardInterrupt, with the command to go on; a second one raises it at once. What cannot be
        written is a RunFolderError or a CheckpointError with that command.
        """
        signals = Signals(self.folder, tell_at_once if self.ranks.first else lambda text: None)
        try:
            lock = nullcontext() if held or not self.ranks.first else locked(self.folder)
            with lock as notice, signals, self._ended(signals):
                rewound = self.ranks.by_first(lambda: run_folder.rewind_log(self.folder, self.step))
                for line in filter(None, (notice, rewound)):
                    tell(line)
                with curves(self.run, self.folder) if self.ranks.first else nullcontext(untold) as draw:
                    self._advance_to_the_end(lambda entry: (draw(entry), report(entry)), tick, signals)
        except TrainingStopped:
            signals.hand_on()
            raise

    def _advance_to_the_end(self, report: Report, tick: Callable[[int], None], signals: Signals) -> None:
        config = self.run.train
        logged = [entry for entry in run_folder.read_log(self.folder) if entry.kind == "validation"]
        self._gained = any(entry.gain_appears for entry in logged)
        if self.step and not any(entry.step == self.step for entry in logged):
            self._log_validation(report, signals)  # it was stopped, or killed, before that was done
        while self.step < config.steps:
            self._stop_if_asked(signals)
            step = self.advance()
            tick(self.step)
            if self.step % config.log_every == 0 or self.step == config.steps:
                self._log(self._entry(step), report)
            if self.step % config.checkpoint_every == 0 or self.step == config.steps:
                self.save()
            self._log_validation(report, signals)

    def _log_validation(self, report: Report, signals: Signals) -> None:
        """Validate if it is time to; a signal ends that, and it is done anew when the run goes on."""
        every = self.run.train.validate_every
        if every and self.step % every == 0:
            self._log(self.validate(lambda tokens: self._stop_if_asked(signals)), report)

    def _log(self, entry: LogEntry, report: Report) -> None:
        self.ranks.by_first(lambda: run_folder.append_log(self.folder, entry))
        if self.ranks.first:
            report(entry)

    def _stop_if_asked(self, signals: Signals) -> None:
        """End if any rank was asked to: all of them at the same place."""
        if asked := self.ranks.most(signals.asked or 0):
            signals.asked = asked
            if self._saved != self.step:
                self.save()
            raise signals.stopped(self.step, self.step)

    @contextmanager
    def _ended(self, signals: Signals) -> Generator[None, None, None]:
        """What a signal broke in passing, such as a compiler that had it too, ends as if asked."""
        try:
            yield
        except MemstackError:
            raise
        except Exception as error:
            if signals.asked is not None:
                raise signals.stopped(self.step, self._saved) from error
            if isinstance(error, OSError):
                raise RunFolderError(f"{error}: mend that, then go on with: {going_on(self.folder)}") from error
            raise

    def advance(self) -> Step:
        """One step over all parts: forward and backward, then the optimiser, then the memories are written."""
        start = time.perf_counter()
        rate = learning_rate(self.run.train, self.step)
        set_learning_rate(self.optimizer, rate)
        segments = [next(stream) for stream in self.streams]
        tokens = sum(segment.predicted for segment in segments)
        parts = [self._backward(*part, tokens) for part in zip(self.streams, segments, strict=True)]
        norm = self.shared.clip(self.run.train.clip)
        loss = self.ranks.sum(sum(loss for loss, _ in parts))
        if not math.isfinite(loss) or not bool(norm.isfinite()):
            raise (DivergedError if self.ranks.first else OtherRankError)(
                f"training diverged at step {self.step + 1} (loss {loss}): lower train.learning_rate or train.clip; "
                f"the last checkpoint in {self.folder} is from before"
            )
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        for stream, (_, new) in zip(self.streams, parts, strict=True):
            stream.commit(new)
        self.step += 1
        return self._measured(loss, rate, parts[0][1], tokens, start)

    def validate(self, advance: Callable[[int], None] = lambda tokens: None) -> ValidationEntry:
        """Perplexity of the validation documents with the memory and with it switched off, and what the memory gains.

        The first validation in which it gains ``GAIN`` or more is marked. ``advance`` is told of the tokens read.
        """
        # Training's random numbers are as if nothing had been validated: then it can be done before or after a resume.
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            with_memory = self._evaluated(self.run.memory, advance) if self.run.model.memory_layers else None
            without = self._evaluated(None, advance)
        if with_memory is None:
            return ValidationEntry(step=self.step, without=without)
        gain = 1 - with_memory.perplexity / without.perplexity
        appears = not self._gained and gain >= GAIN
        self._gained |= appears
        return ValidationEntry(
            step=self.step, without=without, with_memory=with_memory, gain=gain, gain_appears=appears
        )

    def save(self) -> None:
        """Write everything a resumed run needs to continue with the same losses."""
        self._state.save(self.folder, self.step)
        self._saved = self.step

    def resume(self) -> None:
        """Continue from the folder's checkpoint; a run killed before its first one starts again.

        The losses that follow are those of an uninterrupted run: to the bit on a CPU if the memory's search is exact
        and as many ranks go on as have saved it. An approximate index is built again from the same data and may find
        other neighbours.

        CheckpointError, or RunFolderError where the configuration has changed since then; nothing was taken over.
        """
        if (step := self._state.load(self.folder)) is not None:
            self.step = self._saved = step

    def _backward(self, stream: Stream, segment: Segment, tokens: int) -> tuple[float, SegmentOutput]:
        """Forward and backward of one part; its share of the step's mean loss, and what it adds."""
        inputs = segment.tokens.to(self.device), segment.targets.to(self.device)
        half = self.run.train.precision == "bfloat16"
        with self.shared.exchanging(stream is self.streams[-1]):
            loss, new = loss_of(self.shared.forward, inputs, stream.bank, stream.cache, tokens, half=half)
            # What is exchanged is the mean over ranks of this, and all of a group have the same.
            (loss * self.ranks.groups).backward()
        return float(loss.detach()), new

    def _evaluated(self, memory: MemoryConfig | None, advance: Callable[[int], None]) -> Perplexity:
        stream = evaluation_stream(self.run, self.validation, self.device, memory, self.ranks)
        return evaluate(self.model, stream, self.token_bytes, advance).over(self.ranks).result()

    def _entry(self, step: Step) -> LogEntry:
        """What is logged of a step: shares of all ranks' rows; times, recall and ages of the rows that are here."""
        share = self.ranks.total(step.memory_share) / self.ranks.groups
        return replace(step, memory_share=share).logged(
            probed_entry([probed for watch in self.monitors for probed in watch.take_probed()]),
            mean_ages(watch.take_ages() for watch in self.monitors),
        )

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
