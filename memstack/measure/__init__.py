"""What a memory costs and finds, measured: key sets, true neighbours, timing, and all of it for one memory."""

from memstack.measure.baselines import BASELINES
from memstack.measure.ground_truth import true_neighbours
from memstack.measure.hardware import describe_hardware
from memstack.measure.keysets import KEY_SETS, KeyStream
from memstack.measure.measurement import Measurement, measure_memory
from memstack.measure.recorded import Recording
from memstack.measure.sweep import Point, Workload

__all__ = [
    "BASELINES",
    "KEY_SETS",
    "KeyStream",
    "Measurement",
    "Point",
    "Recording",
    "Workload",
    "describe_hardware",
    "measure_memory",
    "true_neighbours",
]
