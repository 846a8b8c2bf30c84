"""gather(): what is there of a plan's cells, each reading against its fair opponent's on the same text."""

import time
from collections.abc import Mapping

from memstack.measure import describe_hardware
from memstack_models.evaluation.records import Compared
from memstack_models.evaluation.runs import differences
from memstack_models.evaluation.spread import ratio_interval
from memstack_models.report.reproduce.making import (
    NONE,
    TRAINED,
    VALIDATION,
    Reading,
    is_trained,
    place,
    readings,
    unavailable,
)
from memstack_models.report.reproduce.plan import Job, Plan
from memstack_models.report.reproduce.records import CellOutcome, Outcome, ReadingRecord, ReproduceRecord, TrainedRecord


def gather(plan: Plan, failures: Mapping[str, str], command: str) -> ReproduceRecord:
    """Return the numbers of every cell that is trained; what is not is named with the reason that is known."""
    made = [job for job in plan.jobs if is_trained(job)]
    missing = {job.name: failures.get(job.name, "not made yet") for job in plan.jobs if not is_trained(job)}
    return ReproduceRecord(
        table=plan.request.table,
        scale=plan.request.scale,
        says=plan.scale.says,
        shrink=plan.scale.shrink,
        command=command,
        grid=plan.grid,
        corpora=plan.corpora,
        seeds=plan.request.seeds,
        cells=tuple(outcome_of(plan, job) for job in made),
        failures={**missing, **failures},
        machine=describe_hardware(),
        date=time.strftime("%Y-%m-%d"),
    )


def outcome_of(plan: Plan, job: Job) -> CellOutcome:
    """Return what came of a cell."""
    trained = TrainedRecord.read(job.folder / TRAINED)
    opponent = plan.find(job.cell.against, job.corpus, job.seed) if job.cell.against else None
    against = _found(opponent, NONE) if opponent else None
    found = {each.label: _outcome(job, each, against) for each in readings(job)}
    theirs = TrainedRecord.read(opponent.folder / TRAINED).tokens if opponent and is_trained(opponent) else None
    return CellOutcome(
        cell=job.cell.name,
        corpus=job.corpus,
        seed=job.seed,
        folder=str(job.folder.relative_to(plan.request.folder)),
        parameters=trained.parameters,
        trained_tokens=trained.tokens,
        seconds=trained.seconds,
        device=trained.device,
        differs=tuple(differences(job.run, opponent.run, trained.tokens, theirs)) if opponent and theirs else (),
        validation=found.pop(VALIDATION, None),
        readings=tuple(found.values()),
        curve=trained.curve,
        steps=trained.steps,
    )


def _found(job: Job, label: str) -> Compared | None:
    """What a cell made of the text with that memory, if it has read it."""
    path = next(place(job, each) for each in readings(job) if each.label == label)
    return ReadingRecord.read(path).compared if path.is_file() else None


def _outcome(job: Job, reading: Reading, against: Compared | None) -> Outcome:
    path = place(job, reading)
    if not path.is_file():
        why = unavailable(reading) or "not made yet"
        return Outcome(label=reading.label, entries=reading.entries, left_out=why)
    record = ReadingRecord.read(path)
    read = record.compared
    if read is None:
        return Outcome(label=reading.label, entries=reading.entries, left_out=record.left_out)
    outcome = Outcome(
        label=reading.label,
        entries=reading.entries,
        perplexity=read.perplexity,
        perplexity_beyond_4k=read.perplexity_beyond_4k,
        bits_per_byte=read.bits_per_byte,
        tokens=read.tokens,
        recall=1.0 if read.exact else read.recall,
    )
    return outcome if against is None else outcome.model_copy(update=_compared(read, against))


def _compared(read: Compared, against: Compared) -> dict[str, float]:
    """The change against an opponent's reading, and its interval, if both are of the same text."""
    if read.tokens != against.tokens:
        return {}
    found = {"change": read.perplexity / against.perplexity - 1}
    interval = ratio_interval(read.segments, against.segments) if read.segments and against.segments else None
    return found | ({"low": interval.low - 1, "high": interval.high - 1} if interval else {})
