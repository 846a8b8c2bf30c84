"""write_page(): a table as Markdown, the published figures beside ours, with its pictures."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from memstack.cli import console
from memstack.plugins.writing import write_whole
from memstack_models.evaluation.formats import Format, formatted
from memstack_models.report.layout import NARROW, WIDE
from memstack_models.report.reproduce.curves import closed
from memstack_models.report.reproduce.figures import draw
from memstack_models.report.reproduce.records import ReproduceRecord
from memstack_models.report.reproduce.summary import (
    change,
    labels,
    left_out,
    named,
    outcomes,
    percent,
    percent_of,
    perplexity,
    published,
    published_change,
    read,
)


def write_page(record: ReproduceRecord, stem: Path) -> Path:
    """Draw the pictures and write the page, beside one another; returns its path."""
    pictures: list[str] = []
    for layout, suffix in ((WIDE, ""), (NARROW, "-narrow")):
        if content := draw(record, layout):
            path = stem.with_name(f"{stem.name}{suffix}.png")
            write_whole(path, content)
            pictures.append(path.name)
    page = stem.with_suffix(".md")
    write_whole(page, page_text(record, pictures))
    return page


def page_text(record: ReproduceRecord, pictures: Sequence[str]) -> str:
    """Return the page; ``pictures`` are its files, the wide one first."""
    parts = [f"# {record.grid.title}", f"**{record.grid.asks}** Made at the scale `{record.scale}`: {record.says}."]
    parts += ["\n".join(f"- {each}" for each in record.conclusions)] if record.conclusions else []
    parts += [_picture(record, pictures)] if pictures else []
    parts += ["## Against the fair opponent", record.grid.how, as_markdown(changes_table(record))]
    parts += ["## Perplexity", as_markdown(perplexity_table(record))]
    if any(closed(record, corpus, cell.name) for corpus in record.corpora for cell in record.grid.cells):
        parts += ["## The gap, by steps", as_markdown(steps_table(record))]
    parts += ["## What was published", "\n".join(f"- {each}" for each in _published(record))]
    parts += ["## How it was made", *_how(record)]
    return "\n\n".join(parts) + "\n"


def changes_table(record: ReproduceRecord) -> Table:
    """Change of perplexity against the fair opponent, by model and memory: ours, and the paper's beside it."""
    right = [title for corpus in record.corpora for title in (corpus, f"paper, {corpus}")]
    searched = any(cell.searches for cell in record.grid.cells)
    lines = console.table("model", "read with", right=[*right, *(["recall"] if searched else [])])
    for cell in record.grid.cells:
        for label in labels(record, cell.name) if cell.against else []:
            cells: list[str] = []
            for corpus in record.corpora:
                paper = published_change(record.grid, corpus, cell.name, label)
                cells += [percent_of(change(record, corpus, cell.name, label)), "" if paper is None else percent(paper)]
            if any(cells):
                lines.add_row(
                    cell.name, named(label), *cells, *([_recall(record, cell.name, label)] if searched else [])
                )
    return lines


def perplexity_table(record: ReproduceRecord) -> Table:
    """Perplexity per token, by model and memory: ours, and the paper's beside it."""
    right = [title for corpus in record.corpora for title in (corpus, f"paper, {corpus}")]
    lines = console.table("model", "read with", right=right)
    for cell in record.grid.cells:
        for label in labels(record, cell.name):
            cells: list[str] = []
            for corpus in record.corpora:
                found, paper = (
                    perplexity(record, corpus, cell.name, label),
                    published(record.grid, corpus, cell.name, label),
                )
                spread = f" ± {found.spread:.3f}" if found and found.spread else ""
                cells += [f"{found.value:.3f}{spread}" if found else "", "" if paper is None else f"{paper:.2f}"]
            if any(cells):
                lines.add_row(cell.name, named(label), *cells)
    return lines


def steps_table(record: ReproduceRecord) -> Table:
    """The part of the gap that is closed, by steps in per cent of the first training's."""
    found = {
        (corpus, cell.name): dict(points)
        for corpus in record.corpora
        for cell in record.grid.cells
        if (points := closed(record, corpus, cell.name))
    }
    lines = console.table("steps", right=[f"{corpus}, {cell}" for corpus, cell in found])
    for steps in sorted({steps for each in found.values() for steps in each}):
        cells = (f"{100 * each[steps]:.0f} %" if steps in each else "" for each in found.values())
        lines.add_row(f"{steps:.3g} %", *cells)
    return lines


def models_table(record: ReproduceRecord) -> Table:
    """What each model is."""
    lines = console.table("model", "what", "trained on", right=["parameters", "tokens", "time"])
    for cell in record.grid.cells:
        found = [each for corpus in record.corpora for each in outcomes(record, corpus, cell.name)]
        if found:
            seconds = sum(each.seconds for each in found) / len(found)
            one = found[0]
            devices = ", ".join(sorted({each.device for each in found if each.device}))
            sizes = f"{one.parameters:,}", f"{one.trained_tokens:,}", f"{seconds / 60:.1f} min"
            lines.add_row(cell.name, cell.says, devices, *sizes)
    return lines


def as_markdown(table: Table) -> str:
    """Return a table of the console's as Markdown, without a line's end after it."""
    return formatted(table, Format.MARKDOWN).rstrip("\n")


def _picture(record: ReproduceRecord, pictures: Sequence[str]) -> str:
    """The wide picture, and the narrow one where the screen is."""
    wide, *narrow = pictures
    source = "".join(f'<source media="(max-width: 700px)" srcset="{name}">' for name in narrow)
    return f'<picture>{source}<img src="{wide}" alt="{record.grid.title}" style="max-width: 100%"></picture>'


def _recall(record: ReproduceRecord, cell: str, label: str) -> str:
    found = [each.recall for corpus in record.corpora for each in read(record, corpus, cell, label)]
    there = [each for each in found if each is not None]
    return f"{sum(there) / len(there):.3f}" if there else ""


def _published(record: ReproduceRecord) -> Iterator[str]:
    yield f"Source: {record.grid.source}. Its models are larger and were trained on far more: only changes compare."
    yield from record.grid.published


def _how(record: ReproduceRecord) -> Iterator[str]:
    yield f"    {record.command}"
    yield as_markdown(models_table(record))
    seeds = "one seed; ± is half the range of nineteen of twenty draws of the text (bootstrap over its segments)"
    if record.seeds > 1:
        seeds = f"{record.seeds} seeds; ± is one standard deviation over them"
    yield f"Of {seeds}. Everything read is held-out text."
    if record.shrink > 1:
        yield f"Sizes of memories are the paper's; here each has {record.shrink} times fewer entries."
    notes = [*_unfair(record), *(f"{what}: {why}" for what, why in left_out(record))]
    notes += [f"{name}: {reason}" for name, reason in record.failures.items()]
    if notes:
        yield "\n".join(f"- {each}" for each in notes)
    yield "\n".join(f"- {name}: {text}" for name, text in record.machine.items()) + f"\n- date: {record.date}"


def _unfair(record: ReproduceRecord) -> Iterator[str]:
    """Where an opponent differs in more than the memory."""
    for cell in record.grid.cells:
        found = [each.differs for corpus in record.corpora for each in outcomes(record, corpus, cell.name)]
        for line in dict.fromkeys(line for each in found for line in each):
            yield f"{cell.name} and its opponent differ in more than the memory: {line}"
