"""Fine-tune a Hugging Face model to use its long-term memory: ``python examples/fine_tune_hf.py smollm2 --form lora``.

Documents are read as they would be used: in order, a segment a step, each row one document after the other. Before and
after, held-out documents are read with the memory and, with the same weights, by the window alone. The same line goes
on where a run was cut off.
"""

import argparse
import json
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from memstack_hf import LongMemory, attach, from_pretrained
from memstack_hf.measure.loading import documents, load
from memstack_hf.measure.ways import read
from peft import LoraConfig, get_peft_model
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments, set_seed

from memstack import create_corpus

RATES = {"terms": 1e-2, "lora": 2e-4, "whole": 2e-5}
"""What is trained, and how fast: the memory's scale, bias and age term of each head; adapters of the queries and keys
of the layers with a memory; all weights."""
SAMPLE = Path(__file__).parent / "data"


class Segments(Dataset[dict[str, Tensor]]):
    """Step by step what each row reads next; ``starts`` is True where a row begins a document.

    Documents are cut into pieces of at most ``longest`` tokens, shuffled once and laid into the rows, each into the
    shortest; what does not fill a segment is left out.
    """

    def __init__(self, texts: list[Tensor], rows: int, segment: int, longest: int, seed: int) -> None:
        pieces = [piece.split(segment) for text in texts for piece in text.split(longest)]
        order = torch.randperm(len(pieces), generator=torch.Generator().manual_seed(seed))
        self.rows: list[list[tuple[Tensor, bool]]] = [[] for _ in range(rows)]
        for index in order.tolist():
            whole = [part for part in pieces[index] if len(part) == segment]
            min(self.rows, key=len).extend((part, place == 0) for place, part in enumerate(whole))
        if not len(self):
            raise SystemExit(f"{len(texts)} documents do not fill {rows} rows: name more, or take fewer --rows")

    def __len__(self) -> int:
        return min(map(len, self.rows))

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        parts, starts = zip(*(row[step] for row in self.rows), strict=True)
        ids = torch.stack(parts)
        return {"input_ids": ids, "labels": ids, "starts": torch.tensor(starts)}


class MemoryTrainer(Trainer):
    """A Trainer whose checkpoints hold what the memory holds, so that a run goes on in the middle of its documents."""

    def __init__(self, memory: LongMemory, form: str, **more: Any) -> None:
        super().__init__(**more)
        self.memory, self.form = memory.requires_grad_(form != "lora"), form

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        self.optimizer = torch.optim.AdamW(self.trained(), lr=self.args.learning_rate, weight_decay=0.0)
        # The Trainer sets the model's own gradients to zero, of which the memory's are none.
        self.optimizer.register_step_post_hook(lambda *_: self.memory.zero_grad())
        return self.optimizer

    def trained(self) -> list[torch.nn.Parameter]:
        """What learns; the memory's own parameters are none of the model's."""
        return [each for part in (self.memory, self.model) for each in part.parameters() if each.requires_grad]

    def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, **more: Any) -> Any:
        loss, outputs = super().compute_loss(model, inputs, return_outputs=True, **more)
        # Before anything is remembered, the memory's parameters have no part in the loss, and may be all that learns.
        loss = loss + sum(0 * each.sum() for each in self.memory.parameters())
        return (loss, outputs) if return_outputs else loss

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        folder = output_dir or str(self.args.output_dir)
        if self.form != "terms":  # of which the model has no part
            super()._save(folder, state_dict)
        self.memory.save_pretrained(folder, contents=True)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.form != "terms":
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.memory.detach()
        self.memory = from_pretrained(self.model, resume_from_checkpoint).requires_grad_(self.form != "lora")


class Tell(TrainerCallback):
    """Print the loss, and the tokens a second since the run began or went on."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.began = tokens, (0, 0.0)

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.began = state.global_step, time.perf_counter()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            steps, seconds = state.global_step - self.began[0], time.perf_counter() - self.began[1]
            speed = steps * self.tokens / seconds
            print(f"step {state.global_step} of {state.max_steps}: loss {logs['loss']:.3f}, {speed:.0f} tokens/s")


def prepared(model: Any, memory: LongMemory, given: argparse.Namespace) -> Any:
    """The model with what is not to be trained frozen: layers below the first that learns then keep no graph."""
    if given.form == "whole":
        return model
    model.requires_grad_(False)
    if given.form == "terms":
        return model
    lora = LoraConfig(r=given.rank, lora_alpha=2 * given.rank, target_modules=memory.projections())
    return get_peft_model(model, lora)  # in float32, whatever the model computes in


def only(steps: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """A step is a batch already."""
    (step,) = steps
    return step


def texts(folders: list[Path], tokenizer: Any) -> list[Tensor]:
    """The training documents of these folders, as tokens."""
    found = [document for folder in folders for document in create_corpus("folder", path=folder).documents("train")]
    return [torch.tensor(tokenizer(document.text, verbose=False).input_ids) for document in found]


def evaluate(memory: LongMemory, held_out: dict[str, Tensor], beyond: int) -> dict[str, dict[str, float]]:
    """Perplexity per token of every document from ``beyond`` on: with the memory, and by the window alone."""
    memory.model.eval()

    def perplexities() -> dict[str, float]:
        losses = {name: read(memory.model, memory, ids.to(memory.model.device))[0] for name, ids in held_out.items()}
        means = {name: each[0, beyond - 1 :].mean().item() for name, each in losses.items()}
        means["geometric mean"] = sum(means.values()) / len(means)
        return {name: math.exp(mean) for name, mean in means.items()}

    with_memory = perplexities()
    with memory.disabled():
        return {"memory": with_memory, "window alone": perplexities()}


def newest(out: Path) -> Path | None:
    """The last checkpoint that is complete: its state is written last."""
    whole = [path.parent for path in out.glob("checkpoint-*/trainer_state.json")]
    return max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def train(trainer: MemoryTrainer, out: Path, steps: int) -> None:
    """Train, or go on."""
    checkpoint = newest(out)
    if checkpoint:
        print(f"goes on from {checkpoint}")
    if checkpoint and int(checkpoint.name.rpartition("-")[2]) >= steps:
        trainer._load_from_checkpoint(str(checkpoint))
        return
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)


def arguments(given: argparse.Namespace) -> TrainingArguments:
    """Those of the Trainer; what a memory needs of them stands first."""
    return TrainingArguments(
        use_cache=True,  # Trainer switches the cache off, where the memory keeps what is in sight
        train_sampling_strategy="sequential",
        remove_unused_columns=False,  # ``starts`` is no argument of the model's forward
        per_device_train_batch_size=1,  # which is all rows
        output_dir=str(given.out),
        max_steps=given.steps,
        learning_rate=given.rate or RATES[given.form],
        lr_scheduler_type="cosine",
        warmup_steps=given.steps // 20,
        save_strategy="steps",
        save_steps=given.save_every,
        save_total_limit=2,
        logging_steps=given.log_every,
        dataloader_pin_memory=torch.cuda.is_available(),
        disable_tqdm=True,
        report_to="none",
        seed=given.seed,
    )


def report(result: dict[str, Any]) -> None:
    """Print perplexity before and after."""
    print(f"{'':40}  {'window alone':>23}  {'memory':>23}")
    for name in result["before"]["memory"]:
        cells = [
            f"{result['before'][way][name]:10.3f} -> {result['after'][way][name]:9.3f}"
            for way in ("window alone", "memory")
        ]
        print(f"{name[:40]:40}  {cells[0]:>23}  {cells[1]:>23}")


def once(path: Path, result: dict[str, Any], name: str, measure: Callable[[], Any]) -> None:
    """Have a result measured unless a run before this one did; written at once, and never half."""
    if name not in result:
        print(f"reading the held-out documents {name} training")
        result[name] = measure()
        path.with_suffix(".new").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        os.replace(path.with_suffix(".new"), path)


def begun(given: argparse.Namespace) -> dict[str, Any]:
    """The results of this run so far."""
    path = given.out / "result.json"
    told = {name: repr(value) for name, value in sorted(vars(given).items()) if name != "out"}
    result = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"settings": told}
    if other := [name for name in told if result["settings"].get(name) != told[name]]:
        raise SystemExit(f"{path} is of a run with other settings ({', '.join(other)}): choose another --out")
    return result


def main(given: argparse.Namespace) -> dict[str, Any]:
    """Measure, train, measure again; return what ``result.json`` holds."""
    set_seed(given.seed)
    given.out.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load(given.model, given.dtype or ("float32" if given.form == "whole" else "bfloat16"))
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    held_out = {
        f"{folder.name}/{name}": ids
        for folder in given.held_out or given.data
        for name, ids in documents(folder, tokenizer, given.tokens, given.documents, divided=not given.held_out)
    }
    segments = Segments(texts(given.data, tokenizer), given.rows, given.segment, given.longest, given.seed)
    settings = {"position": given.position, "backend": given.backend, "capacity": given.capacity}
    settings |= {"segment": given.segment, "age": 0.0 if given.form == "terms" else None}
    if given.window is not None:
        settings["window"] = given.window
    memory = attach(model, **settings)
    trainer = MemoryTrainer(
        memory,
        given.form,
        model=prepared(model, memory, given),
        args=arguments(given),
        train_dataset=segments,
        data_collator=only,
        callbacks=[Tell(given.rows * given.segment)],
    )
    trainer.remove_callback(PrinterCallback)
    trained, layers = sum(each.numel() for each in trainer.trained()), memory.plan.searching
    print(f"{given.form}: {trained:,} numbers learn; {len(layers)} layers have a memory, {layers[0]} to {layers[-1]}")
    print(f"{given.steps} steps of {given.rows} x {given.segment} tokens; {len(segments)} steps are all documents once")
    path, result = given.out / "result.json", begun(given)
    once(path, result, "before", lambda: evaluate(trainer.memory, held_out, given.beyond))
    trainer.memory.reset()
    train(trainer, given.out, given.steps)
    once(path, result, "after", lambda: evaluate(trainer.memory, held_out, given.beyond))
    report(result)
    trainer.memory.detach()
    return result


def parsed(line: list[str] | None = None) -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("model", help="a folder, a name on the Hugging Face Hub, or smollm2, which a package ships")
    add("--form", choices=RATES, default="lora", help="what is trained")
    add("--data", type=Path, nargs="+", default=sorted(path.parent for path in SAMPLE.glob("*/train")), help="folders")
    add("--held-out", type=Path, nargs="+", default=[], help="folders; by default the test documents of the data")
    add("--out", type=Path, default=Path("runs/fine-tuned"), help="folder of checkpoints and result.json")
    add("--steps", type=int, default=1000)
    add("--rows", type=int, default=1, help="documents read side by side")
    add("--segment", type=int, default=512, help="tokens a step reads of each row")
    add("--window", type=int, help="tokens in sight before the segment; by default what attach says")
    add("--longest", type=int, default=16384, help="tokens after which a training document is read as another")
    add("--capacity", type=int, default=16384, help="tokens a memory holds")
    add("--position", choices=["fixed", "auto", "true"], default="fixed", help="fixed: as beyond the native context")
    add("--backend", default="exact", help="as memstack backends lists them")
    add("--rank", type=int, default=8, help="of the adapters")
    add("--rate", type=float, help=f"of learning; by default {RATES}")
    add("--dtype", choices=["bfloat16", "float16", "float32"], help="of the model; by default bfloat16, whole: float32")
    add("--tokens", type=int, default=6144, help="tokens read of each held-out document")
    add("--documents", type=int, default=4, help="held-out documents read of each folder")
    add("--beyond", type=int, default=2048, help="perplexity counts from this token on")
    add("--save-every", type=int, default=100, help="steps between checkpoints")
    add("--log-every", type=int, default=10, help="steps between lines")
    add("--seed", type=int, default=0)
    return parser.parse_args(line)


if __name__ == "__main__":
    main(parsed())
