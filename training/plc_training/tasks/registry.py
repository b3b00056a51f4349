"""Registry of the tasks, by the names that recipes use."""

from pkgutil import resolve_name

from plc_training.tasks.base import Task
from plc_training.tasks.bridge import BridgeTask
from plc_training.tasks.causal import CausalTask
from plc_training.tasks.heard import HeardBridgeTask, HeardTask
from plc_training.tasks.paper import PaperComplexTask, PaperMagnitudeTask
from plc_training.tasks.two_sided import TwoSidedTask

_OF_PAPERS = (
    "damage:DamageTask",
    "magnitude:MagnitudeTask",
    "gacela:GacelaTask",
    "notes:NotesTask",
    "represented:RepresentedTask",
)

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
        *(resolve_name(f"plc_training.papers.{place}") for place in _OF_PAPERS),
    )
}
"""One line for each task."""
