"""gzflow turns a sky survey into a probabilistic morphology catalogue learnt from Galaxy Zoo votes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gzflow.recipe import ImageRecipe
    from gzflow.settings import Settings
    from gzflow.surveys import Survey, load_survey, survey_names
    from gzflow.tree import DecisionTree, Question

__version__ = "0.1.0"

# Looked up on first use: `import gzflow` stays under 0.3 s and loads no polars, torch or astropy.
_HOMES = {
    "DecisionTree": "gzflow.tree",
    "ImageRecipe": "gzflow.recipe",
    "Question": "gzflow.tree",
    "Settings": "gzflow.settings",
    "Survey": "gzflow.surveys",
    "load_survey": "gzflow.surveys",
    "survey_names": "gzflow.surveys",
}
__all__ = [
    "DecisionTree",
    "ImageRecipe",
    "Question",
    "Settings",
    "Survey",
    "__version__",
    "load_survey",
    "survey_names",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'gzflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
