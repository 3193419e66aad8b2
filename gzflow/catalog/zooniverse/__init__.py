"""Zooniverse exports -> votes a galaxy: classifications, subjects, and reductions of panoptes-aggregation."""

from gzflow.catalog.zooniverse.classifications import Choice, LoggedOut, count_classifications
from gzflow.catalog.zooniverse.counted import Counted
from gzflow.catalog.zooniverse.export import ExportKind, kind_of
from gzflow.catalog.zooniverse.reductions import count_reductions
from gzflow.catalog.zooniverse.survey_table import SurveyTable, survey_table
from gzflow.catalog.zooniverse.tasks import TaskBook, read_tasks
from gzflow.catalog.zooniverse.workflow import discovered

__all__ = [
    "Choice",
    "Counted",
    "ExportKind",
    "LoggedOut",
    "SurveyTable",
    "TaskBook",
    "count_classifications",
    "count_reductions",
    "discovered",
    "kind_of",
    "read_tasks",
    "survey_table",
]
