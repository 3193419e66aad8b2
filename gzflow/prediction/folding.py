"""An encoder made faster for prediction, with the same answers."""

from __future__ import annotations

import copy
import logging

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

logger = logging.getLogger(__name__)


def folded(encoder: nn.Module) -> nn.Module:
    """A copy whose batch normalisations are folded into the convolutions before them.

    In evaluation a batch normalisation is one multiplication and one addition a channel, which a convolution can do on
    the side: on a CPU this saves a third of the time and more. The result differs by float32 rounding alone. An
    encoder whose graph cannot be traced is returned as it is.
    """
    try:
        traced = fx.symbolic_trace(copy.deepcopy(encoder).eval())
    except (fx.proxy.TraceError, TypeError, ValueError) as error:
        logger.info("the encoder is used as it is: its graph cannot be traced (%s)", error)
        return encoder
    for node in list(traced.graph.nodes):
        before = node.args[0] if node.args else None
        norm, convolution = _module(traced, node, nn.BatchNorm2d), _module(traced, before, nn.Conv2d)
        # A convolution that others read too must keep its own output.
        if isinstance(before, fx.Node) and norm is not None and convolution is not None and len(before.users) == 1:
            parent, _, name = str(before.target).rpartition(".")
            setattr(traced.get_submodule(parent), name, fuse_conv_bn_eval(convolution, norm))
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced.to(memory_format=torch.channels_last)


def _module(traced: fx.GraphModule, node: object, kind: type[nn.Module]) -> nn.Module | None:
    if not isinstance(node, fx.Node) or node.op != "call_module":
        return None
    module = traced.get_submodule(str(node.target))
    return module if isinstance(module, kind) else None
