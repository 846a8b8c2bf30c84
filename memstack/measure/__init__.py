"""What a memory costs and finds, measured: key sets, true neighbours, timing, and all of it for one memory."""

from memstack.measure.baselines import BASELINES, RandomEntries, Recent
from memstack.measure.ground_truth import true_neighbours
from memstack.measure.hardware import describe_hardware
from memstack.measure.keysets import KEY_SETS, KeyStream
from memstack.measure.measurement import (
    ATTENTION_SCALE,
    CHUNK,
    Measurement,
    TooSlowError,
    add_entries,
    measure_memory,
)
from memstack.measure.recorded import Recorded, Recording
from memstack.measure.sweep import Point, Workload, installed, label, pareto_front, settings
from memstack.measure.timing import Timing, time_call, timed

__all__ = [
    "ATTENTION_SCALE",
    "BASELINES",
    "CHUNK",
    "KEY_SETS",
    "KeyStream",
    "Measurement",
    "Point",
    "RandomEntries",
    "Recent",
    "Recorded",
    "Recording",
    "Timing",
    "TooSlowError",
    "Workload",
    "add_entries",
    "describe_hardware",
    "installed",
    "label",
    "measure_memory",
    "pareto_front",
    "settings",
    "time_call",
    "timed",
    "true_neighbours",
]
