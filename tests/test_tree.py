from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gzflow import load_survey
from gzflow.errors import SurveyError
from gzflow.tree import DecisionTree, Question, head_outputs

SHIPPED = ["gz2", "decals", "hubble", "candels"]


def tree_of(*questions: Question) -> DecisionTree:
    return DecisionTree(questions)


def random_fractions(tree: DecisionTree, n: int, rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.dirichlet(np.ones(len(q.answers)), size=n) for q in tree.questions], axis=1)


def walk(tree: DecisionTree, fractions: np.ndarray, walkers: int, rng: np.random.Generator) -> np.ndarray:
    """Shares of volunteers who reach each question when each follows the tree one answer at a time.

    A question is put to a volunteer as soon as an answer of theirs leads to it, and once only: the rule of the site,
    independent of any sum over parents.
    """
    follow = {}
    for q in tree.questions:
        for entry in q.asked_after:
            parent, _, answer = entry.partition("=")
            follow.setdefault((parent, answer), []).append(q.name)
    waiting = [(q.name, np.ones(walkers, bool)) for q in tree.questions if not q.asked_after]
    asked = {q.name: np.zeros(walkers, bool) for q in tree.questions}
    while waiting:
        name, who = waiting.pop()
        who = who & ~asked[name]
        if not who.any():
            continue
        asked[name] |= who
        q = tree.questions[tree.index(name)]
        given_answer = rng.choice(len(q.answers), size=walkers, p=fractions[tree.slices[tree.index(name)]])
        for i, answer in enumerate(q.answers):
            waiting += [(child, who & (given_answer == i)) for child in follow.get((name, answer), [])]
    return np.array([asked[q.name].mean() for q in tree.questions])


@pytest.mark.parametrize("name", SHIPPED)
def test_proportion_asked_is_the_share_of_volunteers_who_walk_there(name: str) -> None:
    tree, rng, walkers = load_survey(name).tree, np.random.default_rng(7), 20_000
    fractions = random_fractions(tree, 6, rng)
    expected = tree.proportion_asked(fractions)
    for row, shares in zip(fractions, expected, strict=True):
        sigma = np.sqrt(shares * (1 - shares) / walkers)
        assert np.all(np.abs(walk(tree, row, walkers, rng) - shares) <= 4 * sigma + 1e-9)


@pytest.mark.parametrize("name", SHIPPED)
def test_everybody_who_gives_no_artifact_reaches_the_last_question(name: str) -> None:
    tree = load_survey(name).tree
    fractions = random_fractions(tree, 50, np.random.default_rng(1))
    last = {"gz2": "something-odd", "hubble": "something-odd", "decals": "merging", "candels": "merging"}[name]
    artifact = fractions[:, tree.answers.index("smooth-or-featured_artifact")]
    assert tree.proportion_asked(fractions)[:, tree.index(last)] == pytest.approx(1 - artifact)


def test_single_parents_multiply_and_several_parents_add() -> None:
    tree = tree_of(
        Question("a", ("x", "y", "z")),
        Question("b", ("p", "q"), ("a=x",)),
        Question("c", ("u", "v"), ("b=q", "a=y")),
    )
    asked = tree.proportion_asked(np.array([[0.5, 0.3, 0.2, 0.25, 0.75, 1.0, 0.0]]))
    assert asked == pytest.approx(np.array([[1.0, 0.5, 0.5 * 0.75 + 0.3]]))


def test_overlapping_parents_are_cut_at_one_and_nan_counts_as_nobody() -> None:
    tree = tree_of(Question("a", ("x", "y")), Question("b", ("x", "y")), Question("c", ("u", "v"), ("a=x", "b=x")))
    fractions = np.array([[1, 0, 1, 0, 0.5, 0.5], [np.nan, np.nan, 0.25, 0.75, np.nan, np.nan]])
    assert tree.proportion_asked(fractions)[:, 2] == pytest.approx([1.0, 0.25])


def test_parents_may_stand_after_their_children() -> None:
    tree = tree_of(Question("child", ("p", "q"), ("root=y",)), Question("root", ("x", "y")))
    assert tree.topological == (1, 0)
    assert tree.proportion_asked(np.array([[0.5, 0.5, 0.6, 0.4]])) == pytest.approx(np.array([[0.4, 1.0]]))
    assert tree.answers == ("child_p", "child_q", "root_x", "root_y")
    assert [tree.answers[part] for part in tree.slices] == [("child_p", "child_q"), ("root_x", "root_y")]
    assert tree.question_of_answer.tolist() == [0, 0, 1, 1]


def test_fractions_of_another_shape_are_refused() -> None:
    with pytest.raises(SurveyError, match=r"\(2, 3\) do not fit the tree") as caught:
        tree_of(Question("a", ("x", "y"))).proportion_asked(np.zeros((2, 3)))
    assert "(n_galaxies, 2)" in str(caught.value)


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(SurveyError) as caught:
        tree_of(
            Question("a", ("x", "x")),
            Question("a", ("x", "y")),
            Question("b_c", ("only",)),
            Question("d", ("Up", "so so", "a=b"), ("nowhere=x", "a=z", "a", "a=x", "a=x")),
        )
    text = str(caught.value)
    for part in (
        "question 'a' stands twice",
        "question 'a' has the answer 'x' twice",
        "must not contain '_'",
        "question 'b_c' has 1 answer(s)",
        "answer 'Up': must be lower case",
        "answer 'so so': must be lower case",
        "answer 'a=b': must not contain '='",
        "'nowhere=x' names an unknown question (known: a, b_c, d)",
        "'a' has no answer 'z' (it has: x, y)",
        "'a' is not of the form question=answer",
        "asked_after 'a=x' stands twice",
    ):
        assert part in text


def test_an_empty_tree_is_refused() -> None:
    with pytest.raises(SurveyError, match="do not form a decision tree") as caught:
        DecisionTree(())
    assert caught.value.problems == ("there is no question",)


def test_a_circle_is_named() -> None:
    with pytest.raises(SurveyError) as caught:
        tree_of(
            Question("start", ("x", "y")),
            Question("a", ("x", "y"), ("start=x", "c=x")),
            Question("b", ("x", "y"), ("a=x",)),
            Question("c", ("x", "y"), ("b=x",)),
        )
    assert caught.value.problems == ("questions ask for each other in a circle: a -> c -> b -> a",)


def test_a_question_that_follows_itself_is_a_circle() -> None:
    with pytest.raises(SurveyError) as caught:
        tree_of(Question("a", ("x", "y"), ("a=x",)))
    assert caught.value.problems == ("questions ask for each other in a circle: a -> a",)


def test_unknown_question_lists_the_known_ones() -> None:
    with pytest.raises(SurveyError, match="no question 'bars'") as caught:
        load_survey("decals").tree.index("bars")
    assert "disk-edge-on" in str(caught.value)


def test_head_outputs_doubles_check_boxes() -> None:
    tree = tree_of(Question("a", ("x", "y", "z")), Question("b", ("u", "v"), multiple_choice=True))
    assert head_outputs(tree) == 3 + 2 * 2
    assert head_outputs(load_survey("gz2").tree) == 37


def test_each_check_box_becomes_a_question_answered_yes_or_no() -> None:
    tree = tree_of(
        Question("odd", ("yes", "no")),
        Question("feature", ("ring", "dust_lane"), ("odd=yes",), multiple_choice=True),
        Question("ring-size", ("small", "large"), ("feature=ring", "odd=no")),
    )
    assert tree.parted == tree_of(
        Question("odd", ("yes", "no")),
        Question("feature-ring", ("yes", "no"), ("odd=yes",)),
        Question("feature-dust-lane", ("yes", "no"), ("odd=yes",)),
        Question("ring-size", ("small", "large"), ("feature-ring=yes", "odd=no")),
    )
    assert tree.questions[1].given == ("feature-ring_yes", "feature-dust-lane_yes")
    # Half are asked about features; a fifth of these ticks the ring.
    asked = tree.parted.proportion_asked(np.array([[0.5, 0.5, 0.2, 0.8, 0.1, 0.9, 1, 0]]))
    np.testing.assert_allclose(asked, [[1, 0.5, 0.5, 0.5 * 0.2 + 0.5]])


def test_a_tree_without_check_boxes_is_not_changed_by_parting() -> None:
    tree = load_survey("hubble").tree
    assert tree.parted is tree


@pytest.mark.parametrize("name", SHIPPED)
def test_round_trip_keeps_tree_and_fingerprint(name: str) -> None:
    tree = load_survey(name).tree
    again = DecisionTree.from_dict(tree.to_dict())
    assert again == tree
    assert again.fingerprint == tree.fingerprint


def test_fingerprint_changes_with_a_route() -> None:
    one = tree_of(Question("a", ("x", "y")), Question("b", ("u", "v"), ("a=x",)))
    two = tree_of(Question("a", ("x", "y")), Question("b", ("u", "v"), ("a=y",)))
    assert one.fingerprint != two.fingerprint


@st.composite
def trees(draw: st.DrawFn) -> DecisionTree:
    """Trees whose questions stand in any order; each may follow answers of those before it."""
    questions: list[Question] = []
    for i in range(draw(st.integers(1, 6))):
        answers = tuple(f"a{j}" for j in range(draw(st.integers(2, 4))))
        earlier = [f"{q.name}={answer}" for q in questions for answer in q.answers]
        after = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=3)) if earlier else []
        questions.append(Question(f"q{i}", answers, tuple(after)))
    return DecisionTree(tuple(draw(st.permutations(questions))))


@given(trees(), st.integers(0, 2**32 - 1))
def test_shares_lie_in_the_unit_interval_and_do_not_depend_on_the_order_of_questions(
    tree: DecisionTree, seed: int
) -> None:
    fractions = random_fractions(tree, 3, np.random.default_rng(seed))
    asked = tree.proportion_asked(fractions)
    assert np.all((asked >= 0) & (asked <= 1))
    turned = DecisionTree(tree.questions[::-1])
    columns = [tree.answers.index(answer) for answer in turned.answers]
    assert turned.proportion_asked(fractions[:, columns])[:, ::-1] == pytest.approx(asked)
    position = {q: i for i, q in enumerate(tree.topological)}
    assert sorted(tree.topological) == list(range(len(tree.questions)))
    assert all(position[parent] < position[q] for q, links in enumerate(tree.parents) for parent, _ in links)
