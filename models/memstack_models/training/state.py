"""All that a resumed run needs, as named tensors: saved by so many ranks, and taken over by as many or others."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from memstack.contract.errors import MemstackError
from memstack_models.data.errors import CheckpointError
from memstack_models.training import checkpoint
from memstack_models.training.checkpoint import Saved
from memstack_models.training.config import RunConfig
from memstack_models.training.identity import deciding, refuse_edits
from memstack_models.training.one_file import RANDOM, renamed
from memstack_models.training.optimizers import (
    load_optimizer_state,
    named_parameters,
    optimizer_state,
    state_shapes,
)
from memstack_models.training.parallel import here, is_piece, like, span
from memstack_models.training.ranks import Ranks
from memstack_models.training.rows import row_name
from memstack_models.training.saved import SavedState, random_name
from memstack_models.training.stream import Stream
from memstack_models.transformer.transformer import Transformer

OF_MEMORY = "memory_bias", "memory_age", "memory_gate"
"""Parameters that nothing is learned of where a model remembers nothing."""


@dataclass(frozen=True)
class RunState:
    """A run's model, optimiser and streams, which are saved and resumed together."""

    run: RunConfig
    model: Transformer
    optimizer: torch.optim.Optimizer
    streams: Sequence[Stream]
    device: torch.device
    ranks: Ranks

    def save(self, folder: Path, step: int) -> None:
        """Write the checkpoint of a step, each rank its rows and its part of the model, or the first one all of it."""
        shared = dict(self._shared())
        pieces = {name: tuple(tensor.shape) for name, tensor in shared.items() if is_piece(tensor)}
        tensors = {name: here(tensor) for name, tensor in shared.items() if self.ranks.first or name in pieces}
        for stream in self.streams:
            for name, tensor in stream.state_dict().items():
                of_reader = name.startswith(stream.name_of_reader)
                if self.ranks.first if of_reader else self.ranks.speaks:
                    tensors[name] = tensor
        tensors[random_name(self.ranks.rank)] = torch.get_rng_state()
        if self.device.type == "cuda":
            tensors[random_name(self.ranks.rank, "cuda")] = torch.cuda.get_rng_state(self.device)
        progress = {"step": step, "run": deciding(self.run)}
        checkpoint.save(folder, tensors, progress, ranks=self.ranks, pieces=pieces)

    def load(self, folder: Path) -> int | None:
        """Continue from the folder's checkpoint, and return its step; None where there is none.

        CheckpointError, or RunFolderError where the configuration has changed since then; nothing was taken over.
        """
        if self.ranks.together(lambda: checkpoint.newest(folder)) is None:
            return None
        saved, step = self.ranks.together(lambda: self._read(folder))
        self.ranks.together(lambda: self._take_over(saved))
        random = saved.random(self.ranks)
        if random is None:  # of another number of ranks: none has these rows' numbers
            torch.manual_seed((self.run.train.seed + step * self.ranks.groups + self.ranks.group) % (1 << 64))
        else:
            torch.set_rng_state(random[0])
            if random[1] is not None and self.device.type == "cuda":
                torch.cuda.set_rng_state(random[1], self.device)
        return step

    def _shared(self) -> Iterator[tuple[str, Tensor]]:
        """What all ranks have alike, or in pieces: weights, and what the optimiser keeps."""
        for name, tensor in self.model.state_dict().items():
            yield f"model.{name}", tensor
        for name, tensor in optimizer_state(self.optimizer, self.model).items():
            yield f"optimizer.{name}", tensor

    def _read(self, folder: Path) -> tuple[SavedState, int]:
        """Look at all of a checkpoint before any of it is taken over."""
        rows = [row_name(row, "") for stream in self.streams for row in stream.rows]
        prefixes = "model.", "optimizer.", "stream.", random_name(self.ranks.speaker), *rows
        spans = dict(self._spans())
        found = checkpoint.read(folder, prefixes, self.ranks, spans)
        refuse_edits(folder, found.progress.get("run"), self.run)
        step: int = found.progress["step"]
        if step > self.run.train.steps and self.run.train.schedule == "cosine":
            raise CheckpointError(f"{found.path} is of step {step}, beyond train.steps")
        if found.path.name == checkpoint.FILE:
            found = self._renamed(found, spans)
        saved = SavedState(found.path, found.tensors, found.shapes)
        self._check(saved, step)
        return saved, step

    def _renamed(self, found: Saved, spans: Mapping[str, tuple[int, int]]) -> Saved:
        """What was read of a checkpoint of one file, as if of a folder; exported weights are called as they are now."""
        tensors = found.tensors
        if RANDOM.keys() & tensors.keys():
            names = list(named_parameters(self.optimizer, self.model))
            tensors = renamed(tensors, names, self.streams, found.path)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        cut = {name: tensors[name][slice(*of)] for name, of in spans.items() if name in tensors and tensors[name].ndim}
        return replace(found, tensors=tensors | cut, shapes=shapes)

    def _spans(self) -> Iterator[tuple[str, tuple[int, int]]]:
        """Of what is in pieces, which part is here."""
        for name, parameter in named_parameters(self.optimizer, self.model).items():
            if is_piece(parameter):
                yield f"model.{name}", span(parameter, self.ranks)
                for kept, shape in state_shapes(self.optimizer, parameter).items():
                    if shape:
                        yield f"optimizer.{name}.{kept}", span(parameter, self.ranks)

    def _check(self, saved: SavedState, step: int) -> None:
        saved.check_names(self.streams)
        saved.check_model(self.model)
        remembering = any(stream.bank for stream in self.streams)
        parameters = named_parameters(self.optimizer, self.model)
        idle = [name for name in parameters if name.endswith(OF_MEMORY) and not remembering]
        saved.check_optimizer(self.optimizer, parameters, step, idle)
        for stream in self.streams:
            saved.check_stream(stream)
        saved.check_random(self.ranks, self.device)

    def _take_over(self, saved: SavedState) -> None:
        try:
            weights = saved.of("model")
            with torch.no_grad():
                for name, tensor in self.model.state_dict().items():
                    here(tensor).copy_(weights[name])
            parameters = named_parameters(self.optimizer, self.model)
            state = saved.of("optimizer")
            state = {name: like(parameters[name.rpartition(".")[0]], part) for name, part in state.items()}
            load_optimizer_state(self.optimizer, self.model, state)
            for stream in self.streams:
                stream.load_state_dict(saved.tensors)
        except MemstackError as error:
            raise CheckpointError(f"{saved.path} does not fit this run: {error}; use another copy") from error
