"""Registry of the tasks, by the names that recipes use."""

from pkgutil import resolve_name

from plc_training.tasks.base import Task
from plc_training.tasks.bridge import BridgeTask
from plc_training.tasks.causal import CausalTask
from plc_training.tasks.context_encoder import ContextEncoderTask
from plc_training.tasks.heard import HeardBridgeTask, HeardTask
from plc_training.tasks.inpaint import InpaintTask

_OF_PAPERS = (
    "restore:RestoreTask",
    "stroke:StrokeTask",
    "gacela:GacelaTask",
    "notes:NotesTask",
    "represented:RepresentedTask",
)

TASKS: dict[str, type[Task]] = {
    task.kind: task
    for task in (
        InpaintTask,
        CausalTask,
        HeardTask,
        HeardBridgeTask,
        BridgeTask,
        ContextEncoderTask,
        *(resolve_name(f"plc_training.papers.{place}") for place in _OF_PAPERS),
    )
}
"""One line for each task."""
