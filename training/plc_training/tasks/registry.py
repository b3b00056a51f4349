"""Registry of the tasks, by the names that recipes use."""

from plc_training.tasks.base import Task
from plc_training.tasks.bridge import BridgeTask
from plc_training.tasks.causal import CausalTask
from plc_training.tasks.damage import DamageTask
from plc_training.tasks.gacela import GacelaTask
from plc_training.tasks.heard import HeardBridgeTask, HeardTask
from plc_training.tasks.magnitude import MagnitudeTask
from plc_training.tasks.notes import NotesTask
from plc_training.tasks.paper import PaperComplexTask, PaperMagnitudeTask
from plc_training.tasks.represented import RepresentedTask
from plc_training.tasks.two_sided import TwoSidedTask

TASKS: dict[str, type[Task]] = {
    task.kind: task
    for task in (
        TwoSidedTask,
        CausalTask,
        HeardTask,
        HeardBridgeTask,
        BridgeTask,
        PaperMagnitudeTask,
        PaperComplexTask,
        DamageTask,
        MagnitudeTask,
        GacelaTask,
        NotesTask,
        RepresentedTask,
    )
}
"""One line for each task."""
