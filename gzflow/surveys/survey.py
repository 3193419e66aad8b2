"""A survey as its TOML describes it: catalog columns, cutouts, images, and the decision tree."""

from __future__ import annotations

import hashlib
import json
import re
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gzflow.recipe import MANNERS, CutoutSpec, ImageRecipe, RecipeName
from gzflow.surveys.mosaic import Mosaic
from gzflow.tree import DecisionTree, Question

PLACEHOLDER = re.compile(r"\{([A-Za-z_][\w-]*)(?:\[(-?\d*):(-?\d*)\])?\}")


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class About(_Section):
    """The ``[survey]`` table."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$", max_length=40)]
    title: str = ""
    citation: str = ""
    licence: str = ""
    acknowledgement: str = ""
    keywords: tuple[str, ...] = ()
    """For the citation file of a release, beside "galaxies" and "morphology"."""
    image_rights: Literal["open", "restricted"] = "open"


class Join(_Section):
    """A second table that brings more columns; rows without a partner keep NULL."""

    table: str
    on: str
    id: str | None = None
    """Column of the main table to match `on` with; None is the survey's id."""


class VoteColumns(_Section):
    """How votes are written in the catalog.

    Patterns may use ``{question}``, ``{answer}``, ``{column}`` (the question's `columns`, parallel to its answers) and
    ``{task}`` (the question's `task`).
    """

    count: str | None = None
    fraction: str | None = None
    total: str | None = None
    cumulative: str | None = None
    """Probability of the whole way to an answer, as the Galaxy Challenge publishes instead of votes."""
    volunteers: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """How many volunteers a galaxy such probabilities are taken to stand for."""

    @property
    def pattern(self) -> str:
        """The pattern of an answer's column."""
        return self.count or self.fraction or self.cumulative or ""

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if [self.count, self.fraction, self.cumulative].count(None) != 2:
            raise ValueError("give either count or fraction (or cumulative): one of them, and only one")
        if self.fraction is not None and self.total is None:
            raise ValueError("fraction needs total: votes = round(fraction x total)")
        if (self.cumulative is None) != (self.volunteers is None):
            raise ValueError("cumulative and volunteers go together: votes = round(probability x volunteers)")
        if self.cumulative is not None and self.total is not None:
            raise ValueError("cumulative has no total: its answers must add up to those that lead to them")
        return self


class Catalog(_Section):
    """The ``[catalog]`` table: which columns mean what."""

    id: str
    ra: str | None = None
    dec: str | None = None
    image: str | None = None
    where: str | None = None
    carry: tuple[str, ...] = ()
    """Columns to keep; a pattern as of votes, ``{question}_{answer}_debiased``, stands for a column of each answer."""
    carry_if_present: tuple[str, ...] = ()
    """The same for columns that not all releases of the table have, or under one of these names; NULL where absent."""
    missing: dict[str, float | str | tuple[float | str, ...]] = {}
    """Column (or ``*``, every column but the id) -> its value or values that mean "no value", as Hubble's redshift of
    999.0. Empty cells, NaN and the infinities need no entry."""
    join: tuple[Join, ...] = ()
    votes: VoteColumns | None = None

    @property
    def missing_values(self) -> dict[str, tuple[float | str, ...]]:
        """`missing` with a tuple for each column."""
        return {name: v if isinstance(v, tuple) else (v,) for name, v in self.missing.items()}


class FileMapping(_Section):
    """A table from ids to file names, as ``gz2_filename_mapping.csv``."""

    id: str
    also: tuple[str, ...] = ()
    """Further columns, of the same name in both tables, that must agree."""


class Archive(_Section):
    """Where an image lies in a published folder or ZIP."""

    member: str
    mapping: FileMapping | None = None


class Image(_Section):
    """How the pixels were or are made."""

    recipe: RecipeName = "as-delivered"
    bands: tuple[str, ...] = ()
    channels: Literal["RGB", "L"] = "RGB"


class QuestionEntry(_Section):
    """One ``[[question]]``."""

    name: str
    answers: tuple[str, ...]
    asked_after: tuple[str, ...] = ()
    multiple_choice: bool = False
    task: str | None = None
    columns: tuple[str, ...] | None = None
    off_total: Literal["fail", "drop"] = "fail"
    """A galaxy whose answers do not add up to the published total: it fails, or only this question's votes are
    dropped, as when some galaxies were shown other answers or check boxes."""
    rescaled: bool = False
    """Of cumulative probabilities: this question's add up to 1 whoever was asked it."""


class Survey(_Section):
    """A validated survey.

    Attributes
    ----------
    about, catalog, cutout, mosaic, archive, image, question
        The TOML's tables. `cutout` is None where no service has the images, `mosaic` where no folder of tiles has.
    """

    about: Annotated[About, Field(alias="survey")]
    catalog: Catalog
    cutout: CutoutSpec | None = None
    mosaic: Mosaic | None = None
    archive: Archive | None = None
    image: Image = Image()
    question: tuple[QuestionEntry, ...]

    @property
    def name(self) -> str:
        """Short name, used in paths, tables and registered models."""
        return self.about.name

    @property
    def pixels(self) -> int | None:
        """Side of a picture as it is asked for or cut; None where images come as files alone."""
        part = self.cutout or self.mosaic
        return part.pixels if part else None

    @property
    def pixscale(self) -> str | float | None:
        """Arcsec per pixel at `pixels`: a number or an SQL expression; None where images come as files alone."""
        part = self.cutout or self.mosaic
        return part.pixscale if part else None

    @cached_property
    def described(self) -> DecisionTree:
        """The questions as the TOML has them and as volunteers saw them."""
        return DecisionTree(tuple(Question(q.name, q.answers, q.asked_after, q.multiple_choice) for q in self.question))

    @cached_property
    def tree(self) -> DecisionTree:
        """The decision tree of votes, models and catalogues, in the TOML's order: every check box is a question."""
        return self.described.parted

    def image_recipe(self, pixels: int) -> ImageRecipe:
        """The recipe that shards of `pixels` a side are stamped with."""
        return ImageRecipe(
            name=self.image.recipe,
            bands=self.image.bands,
            channels=self.image.channels,
            scale_rule="file" if self.pixscale is None else str(self.pixscale),
            pixels=pixels,
        )

    def vote_columns(self) -> tuple[tuple[str, str | None], ...]:
        """For each entry of ``described.answers``: (votes or fraction column, total column or None) of the catalog."""
        votes = self.catalog.votes
        if votes is None:
            return ()
        return tuple(
            (column, _fill(votes.total, question=q.name, task=q.task) if votes.total else None)
            for q in self.question
            for column in _of_answers(votes.pattern, q)
        )

    @property
    def carried_entries(self) -> tuple[str, ...]:
        """`carry` and `carry_if_present` together."""
        return (*self.catalog.carry, *self.catalog.carry_if_present)

    def carried_columns(self) -> dict[str, tuple[str, ...]]:
        """What `carry` and `carry_if_present` stand for: each entry, and its columns.

        A plain name stands for itself; a pattern for one column an answer, in the order of ``tree.answers``, or one a
        question where it names no answer.
        """
        carried: dict[str, tuple[str, ...]] = {}
        for entry in self.carried_entries:
            if "{" not in entry:
                carried[entry] = (entry,)
            elif "{answer}" in entry or "{column}" in entry:
                carried[entry] = tuple(column for q in self.question for column in _of_answers(entry, q))
            else:
                carried[entry] = tuple(_fill(entry, question=q.name, task=q.task) for q in self.question)
        return carried

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits of everything in the TOML that decides the data."""
        data: dict[str, Any] = self.model_dump(mode="json", exclude={"about": True, "cutout": set(MANNERS)})
        # Keys that came later count once they say something: data of before them keep their fingerprint.
        catalog, votes = data["catalog"], data["catalog"]["votes"] or {}
        later = [(data, "mosaic"), (catalog, "missing"), (catalog, "carry_if_present")]
        later += [(votes, "cumulative"), (votes, "volunteers"), *((entry, "rescaled") for entry in data["question"])]
        for section, key in later:
            if not section.get(key):
                section.pop(key, None)
        text = json.dumps(data, sort_keys=True)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def _of_answers(pattern: str, q: QuestionEntry) -> list[str]:
    return [
        _fill(pattern, question=q.name, answer=answer, column=column, task=q.task)
        for answer, column in zip(q.answers, q.columns or q.answers, strict=True)
    ]


def _fill(pattern: str, **values: str | None) -> str:
    return PLACEHOLDER.sub(lambda match: str(values[match[1]]), pattern)
