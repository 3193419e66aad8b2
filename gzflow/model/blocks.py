"""An encoder's blocks from stem to top: what a fine-tune freezes or lets learn, one after the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from torch import nn

_TRUNKS = frozenset({"features", "layers", "trunk_output", "blocks", "encoder", "stages"})
"""Names under which torchvision's and timm's networks keep the stages themselves: the blocks are their children."""
_POOLS = (nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True)
class Block:
    """Part of an encoder that is frozen or learns as a whole.

    Attributes
    ----------
    name
        ``stem``, or the path of its largest part, such as ``features.3`` or ``layer4``.
    modules
        Its parts.
    loose
        Parameters that belong to no part: a transformer's class token and position table.
    """

    name: str
    modules: tuple[nn.Module, ...]
    loose: tuple[nn.Parameter, ...] = ()

    def parameters(self) -> Iterator[nn.Parameter]:
        """All its weights."""
        yield from self.loose
        for module in self.modules:
            yield from module.parameters()


@dataclass
class _Group:
    """Neighbouring modules on the way to a block."""

    path: str
    modules: list[nn.Module]
    bare: bool

    @property
    def weights(self) -> int:
        """How many of its parameters are matrices or kernels: a layer has one, a normalisation none."""
        return sum(p.ndim > 1 for module in self.modules for p in module.parameters())

    @property
    def size(self) -> int:
        return sum(p.numel() for module in self.modules for p in module.parameters())


def encoder_blocks(encoder: nn.Module) -> tuple[Block, ...]:
    """The blocks of a torchvision network, in the order in which an image passes them.

    Every parameter belongs to exactly one block. A stage (EfficientNet's and ConvNeXt's ``features.i``, ResNet's
    ``layer3``, a transformer's layer) is a block. All before the first stage is the stem. A single layer between two
    stages, which makes the image smaller, belongs to the stage it feeds; at the end it is a block of its own (the last
    convolution of EfficientNet). A normalisation belongs to what stands before it. Plain chains of layers (VGG) are
    parted where they pool.
    """
    loose: list[nn.Parameter] = []
    first, *others = (group for group in _groups(_units(encoder, "", loose)) if group.size)
    stem = [first, *takewhile(lambda group: group.weights <= 1, others)]
    blocks = [_joined(stem)]
    waiting: list[_Group] = []
    for group in others[len(stem) - 1 :]:
        if group.weights > 1:
            blocks.append(_joined([*waiting, group]))
            waiting = []
        elif group.weights == 1:
            waiting.append(group)
        else:
            (waiting or blocks)[-1].modules += group.modules
    if waiting:
        blocks.append(_joined(waiting))
    return (
        Block("stem", tuple(blocks[0].modules), tuple(loose)),
        *(Block(group.path, tuple(group.modules)) for group in blocks[1:]),
    )


def _joined(groups: list[_Group]) -> _Group:
    largest = max(groups, key=lambda group: group.size)
    return _Group(largest.path, [module for group in groups for module in group.modules], bare=False)


def _units(module: nn.Module, path: str, loose: list[nn.Parameter]) -> Iterator[tuple[str, nn.Module]]:
    """The children of the network and of its trunk; parameters directly on these are added to `loose`."""
    loose += module.parameters(recurse=False)
    for name, child in module.named_children():
        own = f"{path}.{name}" if path else name
        if name in _TRUNKS:
            yield from _units(child, own, loose)
        else:
            yield own, child


def _groups(units: Iterator[tuple[str, nn.Module]]) -> Iterator[_Group]:
    """Each compound module by itself; bare layers with their bare neighbours, up to a pooling."""
    current: _Group | None = None
    for path, module in units:
        bare = not any(module.children())
        if current is not None and bare and current.bare:
            current.modules.append(module)
        else:
            if current is not None:
                yield current
            current = _Group(path, [module], bare)
        if isinstance(module, _POOLS):
            yield current
            current = None
    if current is not None:
        yield current
