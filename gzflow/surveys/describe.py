"""A decision tree in words, for a terminal."""

from __future__ import annotations

from gzflow.tree import DecisionTree


def tree_lines(tree: DecisionTree) -> list[str]:
    """Two lines a question, parents first: who is asked it, and its answers in the survey's order."""
    lines = []
    for q in tree.topological:
        question = tree.questions[q]
        ways = []
        for parent in dict.fromkeys(parent for parent, _ in tree.parents[q]):
            name, answers = tree.questions[parent].name, tree.questions[parent].answers
            given = [entry.partition("=")[2] for entry in question.asked_after if entry.partition("=")[0] == name]
            ways.append(f"any answer to {name}" if len(given) == len(answers) else f"{name} = {' or '.join(given)}")
        lines.append(
            f"{question.name}   (after {'; '.join(ways)})" if ways else f"{question.name}   (asked of everybody)"
        )
        boxes = "check boxes: " if question.multiple_choice else ""
        lines.append(f"    {boxes}{' | '.join(question.answers)}")
    return lines
