"""All that a saved model says about itself, beside its weights."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gzflow.errors import ModelError, RecipeMismatch
from gzflow.recipe import ImageRecipe
from gzflow.tree import DecisionTree, joint_name

FORMAT_VERSION = 1
Likelihood = Literal["dirichlet-multinomial", "multinomial"]
RANGE = (0.1, 101.0)
"""Every concentration lies strictly between.

Zoobot's heads end at 1 (Walmsley et al. 2022), which leaves one peak to every marginal. Below 1 the distribution may
have its weight at both ends: "the volunteers agree on one of these answers, and the image does not say on which". Real
populations are like that (the constant Dirichlet of a survey has concentrations of 0.1 to 0.7), and a head that cannot
say so loses to that constant until it is nearly sure of every galaxy; `benchmarks/bench_concentration_range.py`
measures by how much.
"""
JOINT = "joint"
"""The note of a model that names the surveys which its encoder learnt together."""


class SurveyTree(BaseModel):
    """A survey and the decision tree that its volunteers walked.

    Attributes
    ----------
    recipe
        How the survey's images were made, where a model learnt several surveys; None is `ModelSpec.recipe`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    survey: str
    tree: list[dict[str, Any]]
    recipe: ImageRecipe | None = None

    @model_validator(mode="after")
    def _has_a_tree(self) -> Self:
        self.decision_tree  # noqa: B018 - raises when the questions form none
        return self

    @cached_property
    def decision_tree(self) -> DecisionTree:
        """The tree as a validated value."""
        return DecisionTree.from_dict(self.tree)


class ModelSpec(BaseModel):
    """The content of ``model.json``.

    Attributes
    ----------
    encoder, encoder_arguments
        What builds the architecture: see `gzflow.model.encoders.Start`.
    stem_stride
        Stride of the encoder's first convolution; None is the architecture's own.
    grey
        Whether colours are averaged before the encoder sees them.
    likelihood
        Of the votes: "multinomial" heads give fractions instead of concentrations, see `ConcentrationHead`.
    components
        Dirichlets a question whose mixture the head gives, see `gzflow.model.components`; 1 is a single one.
    dropout
        Before the head, and nowhere else.
    samples
        Dropout samples that it is meant to be used with.
    members
        Networks of that architecture, trained from as many seeds, which predict together: see
        `gzflow.model.ensemble`. 1 is a model by itself.
    concentrations
        Open range of the head's outputs.
    trees
        The surveys that the head answers for, in the order of its outputs: several after a joint training.
    recipe
        How the images were made that the model was trained on; of several surveys, the first one's.
    input_pixels
        Side of the central crop that the encoder sees.
    mean, std
        Of the training images on the scale 0-255, a number per channel (one, where colours are averaged):
        (image - mean) / std goes in.
    training
        The configuration that it was trained with, nothing left to "auto".
    unidentified
        Questions whose votes could not say how wide their intervals are, see `gzflow.model.losses.unidentified`.
    training_fingerprint
        Of the shards and the configuration; None for a model that was never trained.
    notes
        Free text that belongs to the model: the parent it was fine-tuned from, remarks.
    created_by
        The gzflow that wrote it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: int = FORMAT_VERSION
    encoder: str = "efficientnet_b0"
    encoder_arguments: dict[str, Any] = {}
    stem_stride: Annotated[int, Field(ge=1, le=8)] | None = None
    grey: bool = False
    likelihood: Likelihood = "dirichlet-multinomial"
    components: Annotated[int, Field(ge=1)] = 1
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    samples: Annotated[int, Field(ge=1)] = 20
    members: Annotated[int, Field(ge=1)] = 1
    concentrations: tuple[Annotated[float, Field(gt=0)], float] = RANGE
    trees: Annotated[tuple[SurveyTree, ...], Field(min_length=1)]
    recipe: ImageRecipe
    input_pixels: Annotated[int, Field(ge=16)]
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]
    unidentified: tuple[str, ...] = ()
    training_fingerprint: str | None = None
    training: dict[str, Any] = {}
    notes: dict[str, str] = {}
    created_by: str = ""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.input_pixels > self.recipe.pixels:
            raise ValueError(f"input_pixels {self.input_pixels} is more than the {self.recipe.pixels} px of the images")
        if not len(self.mean) == len(self.std) == self.n_channels:
            raise ValueError(f"mean and std need {self.n_channels} numbers each, one a channel")
        if unknown := set(self.unidentified) - {question.name for question in self.tree.questions}:
            raise ValueError(f"unidentified names no question: {', '.join(sorted(unknown))}")
        if len({tree.survey for tree in self.trees}) < len(self.trees):
            raise ValueError("trees names a survey twice")
        if self.components > 1 and self.likelihood == "multinomial":
            raise ValueError("bare fractions have no components: likelihood multinomial goes with components 1")
        if self.samples < self.members:
            raise ValueError(f"{self.samples} samples are fewer than the {self.members} members")
        if self.concentrations[0] >= self.concentrations[1]:
            raise ValueError(f"concentrations run from {self.concentrations[0]} down to {self.concentrations[1]}")
        return self

    @property
    def n_channels(self) -> int:
        """Channels that the encoder sees."""
        return 1 if self.grey else self.recipe.n_channels

    @property
    def surveys(self) -> tuple[str, ...]:
        """Names of the surveys that it answers for."""
        return tuple(tree.survey for tree in self.trees)

    @property
    def survey(self) -> str:
        """Name of the survey, or what several learnt together are called, see `gzflow.tree.joint_name`."""
        return joint_name(self.surveys)

    @cached_property
    def tree(self) -> DecisionTree:
        """Decision tree of the survey, or those of several side by side, see `DecisionTree.joined`."""
        return DecisionTree.joined({tree.survey: tree.decision_tree for tree in self.trees})

    def require_samples(self, asked: int | None) -> int:
        """Dropout samples to draw of a galaxy: as many as were asked for, or, of None, those it is meant for.

        Raises
        ------
        ModelError
            Fewer than its members.
        """
        return require_samples(self.samples if asked is None else asked, self.members)

    @property
    def learnt_from(self) -> tuple[str, ...]:
        """Surveys whose volunteers taught it: its own, its parent's, and those that either learnt together with it."""
        joint = tuple(filter(None, self.notes.get(JOINT, "").split(", ")))
        parent = self.notes.get("parent_survey")
        parents = [parent] if parent and parent != joint_name(joint) else []
        return tuple(dict.fromkeys([*self.surveys, *parents, *joint]))

    def answering(self, survey: str) -> ModelSpec:
        """The description of what it says of one of its surveys alone; a model of a single survey is itself.

        Raises
        ------
        ModelError
            It learnt several surveys, and not this one.
        """
        if len(self.trees) == 1:
            return self
        tree = self.trees[self._position(survey)]
        mark = DecisionTree.joined_question(survey, "")
        # Not a copy: that would keep the joined tree, which is cached.
        own: dict[str, Any] = {
            "trees": (tree.model_copy(update={"recipe": None}),),
            "recipe": tree.recipe or self.recipe,
            "unidentified": tuple(name.removeprefix(mark) for name in self.unidentified if name.startswith(mark)),
            "notes": self.notes | {JOINT: ", ".join(self.surveys)},
        }
        return ModelSpec(**{name: getattr(self, name) for name in ModelSpec.model_fields} | own)

    def outputs(self, survey: str) -> slice:
        """Where a survey's answers lie among the head's outputs."""
        sizes = [len(tree.decision_tree.answers) for tree in self.trees]
        position = self._position(survey)
        return slice(sum(sizes[:position]), sum(sizes[: position + 1]))

    def _position(self, survey: str) -> int:
        if survey not in self.surveys:
            raise ModelError(
                f"the model has no head for {survey!r}",
                expected=f"one of its surveys: {', '.join(self.surveys)}",
                fix=f"fine-tune it first: `gzflow finetune {survey} --from` this model",
            )
        return self.surveys.index(survey)

    def require_recipe(self, other: ImageRecipe, *, allow: bool = False) -> list[str]:
        """The differences between the model's images and `other` ones: none, or, if `allow`, one sentence each.

        A model of several surveys takes the images of each of them.

        Raises
        ------
        RecipeMismatch
            Naming every difference, unless `allow`.
        """
        recipes = [tree.recipe or self.recipe for tree in self.trees]
        differences = min((recipe.differences(other) for recipe in recipes), key=len)
        if differences and not allow:
            raise RecipeMismatch(
                "these images were made another way than those the model was trained on",
                where=f"model of {self.survey} against the images given",
                problems=[
                    d.replace(" here, ", " in the model, ").replace(" there", " in the images") for d in differences
                ],
                expected="the same recipe: name, bands, channel order, scale rule and pixels",
                fix="make shards with the model's recipe, or pass allow_recipe_mismatch to go on: every row is marked",
            )
        return differences


def require_samples(asked: int, members: int) -> int:
    """`asked`, if each of a model's members gets one sample or more of them.

    Raises
    ------
    ModelError
        It does not.
    """
    if asked < members:
        whom, shares = "a model", ""
        if members > 1:
            whom = f"an ensemble of {members} members"
            shares = f", a multiple of {members} at best: each member gets its share"
        raise ModelError(
            f"{asked} sample{' is' if asked == 1 else 's are'} asked of {whom}",
            expected=f"{members} or more{shares}",
            fix=f"say --samples {members * -(-20 // members)}",
        )
    return asked


def default_input_pixels(pixels: int) -> int:
    """Side of the crop that a model sees of images of `pixels`: all up to 128, then 224 of 300 in multiples of 32.

    Small images leave nothing to crop; larger ones keep a margin that rotation and zoom draw from.
    """
    return pixels if pixels <= 128 else max(128, round(pixels * 224 / 300 / 32) * 32)
