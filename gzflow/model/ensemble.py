"""Networks that differ by their seeds as one model, saved, loaded and used like any other."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence

import torch

from gzflow.errors import ModelError
from gzflow.model.mixture import EncoderRow, MixtureHead
from gzflow.model.morphology import Morphology

_OWN = {"training_fingerprint", "training", "notes", "created_by"}
"""What members may say differently of themselves."""


def join(members: Sequence[Morphology]) -> Morphology:
    """One model of several, each an equal part of the mixture that it predicts; its support is to be fitted anew.

    Parameters
    ----------
    members
        Two or more, alike but for their weights and for what they say of their training.

    Raises
    ------
    ModelError
        Naming all in which they differ; or one stands there twice.
    """
    first = members[0].spec if members else None
    problems = [] if len(members) > 1 else [f"{len(members)} members"]
    if first is not None:
        mine = first.model_dump(exclude=_OWN)
        for i, other in enumerate(members[1:], start=2):
            theirs = other.spec.model_dump(exclude=_OWN)
            problems += [
                f"member {i}: {name} is {theirs[name]!r}, the first one's {mine[name]!r}"
                for name in mine
                if theirs[name] != mine[name]
            ]
        if first.members > 1:
            problems.append("the first is an ensemble itself")
    trainings = [member.spec.training_fingerprint or "" for member in members]
    if repeated := {one for one in trainings if one and trainings.count(one) > 1}:
        problems.append(f"the training {', '.join(sorted(repeated))} stands there twice")
    if problems or first is None:
        raise ModelError(
            "these models make no ensemble",
            problems=problems,
            expected="two or more models of one configuration and one set of shards, trained from different seeds",
            fix="train them together: gzflow train SURVEY --members N",
        )
    n = len(members)
    spec = first.model_copy(
        update={
            "members": n,
            # Every member the same number. A sample is of one component, so that few of them show no mixture.
            "samples": n * (first.samples if first.components > 1 else -(-first.samples // n)),
            "training_fingerprint": hashlib.blake2b("\n".join(trainings).encode(), digest_size=16).hexdigest(),
            "notes": first.notes | {"members": ", ".join(trainings)},
        }
    )
    with torch.random.fork_rng(devices=[]):
        joined = Morphology(spec)
    assert isinstance(joined.encoder, EncoderRow)
    assert isinstance(joined.head, MixtureHead)
    for i, member in enumerate(members):
        joined.encoder.members[i].load_state_dict(member.encoder.state_dict())
        joined.head.members[i].load_state_dict(member.head.state_dict())
    return joined.eval()


def member(model: Morphology, number: int) -> Morphology:
    """Member `number`, from 0, as a model of its own that shares nothing; what is no ensemble is itself."""
    if model.spec.members == 1:
        return model
    alone = copy.deepcopy(model)
    assert isinstance(alone.encoder, EncoderRow)
    assert isinstance(alone.head, MixtureHead)
    alone.encoder, alone.head = alone.encoder.members[number], alone.head.heads[number]
    alone.spec = model.spec.model_copy(update={"members": 1})
    # The support is in the features of all of them.
    alone.support = None
    return alone


def without_dropout(model: Morphology) -> Morphology:
    """A copy in which nothing drops out: each member's samples are those of one pass."""
    plain = copy.deepcopy(model)
    for head in plain.head.heads if isinstance(plain.head, MixtureHead) else [plain.head]:
        head.threshold = 0
    return plain
