"""How likely each answer is, for all questions of a tree, given what can be made out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gzflow.errors import SurveyError
from gzflow.simulation.perception import Perception
from gzflow.simulation.questions import QUESTIONS
from gzflow.tree import DecisionTree

LEAST = 1e-4
"""Weight of an answer that nothing speaks for, before lapses."""


def opinions(seen: Perception, tree: DecisionTree, lapse: float) -> NDArray[np.float64]:
    """(n, n_answers) probability of each answer given that the question is asked; each question's sum to 1.

    Parameters
    ----------
    lapse
        Share of answers given without looking, all answers alike.

    Raises
    ------
    SurveyError
        Naming the questions and answers of which simulated volunteers know nothing.
    """
    check_known(tree)
    columns = []
    for question in tree.questions:
        weights = QUESTIONS[question.name].weights(seen)
        chosen = np.stack([weights[answer] for answer in question.answers], axis=1) + LEAST
        shares = chosen / chosen.sum(axis=1, keepdims=True)
        columns.append((1 - lapse) * shares + lapse / len(question.answers))
    return np.concatenate(columns, axis=1)


def check_known(tree: DecisionTree) -> None:
    """Refuse a tree with questions, answers or check boxes that simulated volunteers do not know."""
    problems = []
    for question in tree.questions:
        if question.name not in QUESTIONS:
            problems.append(f"question {question.name!r} is not known")
            continue
        known = QUESTIONS[question.name].answers
        if unknown := [answer for answer in question.answers if answer not in known]:
            problems.append(f"question {question.name!r}: answers {', '.join(map(repr, unknown))} are not known")
        if question.multiple_choice:
            problems.append(f"question {question.name!r}: check boxes are not simulated")
    if problems:
        raise SurveyError(
            "simulated volunteers cannot walk this tree",
            problems=problems,
            expected="questions and answers of gz2, decals, hubble or candels: " + ", ".join(QUESTIONS),
            fix="simulate one of these surveys, or give real votes for your own questions",
        )
