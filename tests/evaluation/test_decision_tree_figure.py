from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gzflow import load_survey, survey_names
from gzflow.evaluation.figures.decision_tree import decision_tree
from gzflow.evaluation.figures.style import figure_png, figure_svg
from gzflow.evaluation.figures.tree_layout import lay_out
from gzflow.tree import DecisionTree, Question

TREES = sorted({load_survey(name).tree.fingerprint: name for name in sorted(survey_names(), reverse=True)}.values())


def texts(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize("name", TREES)
def test_every_question_and_answer_of_the_shipped_trees_is_drawn_inside_the_page(name: str) -> None:
    survey = load_survey(name)
    figure = decision_tree(survey.tree, title=survey.about.title, subtitle=survey.about.citation)
    drawn = texts(figure)
    for question in survey.tree.questions:
        assert f"{question.name.replace('-', ' ').capitalize()}?" in drawn
        assert all(answer.replace("-", " ") in drawn for answer in question.answers)
    (axes,) = figure.axes
    page = figure.bbox
    for text in (*axes.texts, *figure.texts):
        box = text.get_window_extent()
        assert page.x0 <= box.x0
        assert box.x1 <= page.x1
        assert page.y0 <= box.y0
        assert box.y1 <= page.y1


def test_a_picture_is_the_same_each_time_as_svg_and_png() -> None:
    tree = load_survey("decals").tree
    first, second = (figure_svg(decision_tree(tree, title="DECaLS")) for _ in range(2))
    assert first == second
    assert ElementTree.fromstring(first).tag.endswith("svg")
    assert figure_png(decision_tree(tree, title="DECaLS")).startswith(b"\x89PNG")


def test_a_single_question_is_a_tree() -> None:
    figure = decision_tree(DecisionTree((Question("ring", ("yes", "no")),)), title="Rings with a title that is long")
    assert "Ring?" in texts(figure)


@st.composite
def trees(draw: st.DrawFn) -> DecisionTree:
    n = draw(st.integers(1, 8))
    questions: list[Question] = []
    for i in range(n):
        answers = tuple(f"a{k}" for k in range(draw(st.integers(2, 4))))
        ways = [f"{q.name}={a}" for q in questions for a in q.answers]
        after = draw(st.lists(st.sampled_from(ways), unique=True, max_size=4)) if ways else []
        questions.append(Question(f"q{i}", answers, tuple(after)))
    return DecisionTree(tuple(questions))


@given(trees(), st.floats(0.1, 1.0))
@settings(max_examples=60, deadline=None)
def test_cards_never_overlap_and_children_stand_below_their_parents(tree: DecisionTree, gap: float) -> None:
    widths = [1.0 + 0.3 * len(question.answers) for question in tree.questions]
    ports = [0.2 * (k - len(q.answers) / 2) for q in tree.questions for k in range(len(q.answers))]
    layout = lay_out(tree, widths, ports, gap)
    rows = {}
    for number, row in enumerate(layout.rows):
        right = -1e9
        for q, r in row:
            assert r == number
            rows[q] = max(rows.get(q, 0), r)
            card = all(other[0] != q or other[1] <= r for other in layout.x)
            width = widths[q] if card else gap / 2
            assert layout.x[q, r] - width / 2 >= right + gap - 1e-9 or right == -1e9
            right = layout.x[q, r] + width / 2
    assert rows.keys() == set(range(len(tree.questions)))
    for q, parents in enumerate(tree.parents):
        assert all(rows[parent] < rows[q] for parent, _ in parents)
    assert all(link.stop[1] == link.start[1] + 1 for link in layout.links)
    reached = {(link.stop[0]) for link in layout.links}
    assert reached == {q for q, parents in enumerate(tree.parents) if parents}
