"""Batch norm folded into the convolution before it, which PyTorch does not do by itself."""

from __future__ import annotations

from collections import Counter

from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from rankconv.nn.converting import put
from rankconv.nn.tracing import HOOKS, copy_of

PAIRS = ((nn.Conv1d, nn.BatchNorm1d), (nn.Conv2d, nn.BatchNorm2d))


def fold_batch_norm(model: nn.Module) -> fx.GraphModule:
    """A copy in eval mode in which each batch norm behind a plain convolution is part of it.

    Before `rankconv.nn.compress` it makes the original faster too; after it, what is left of
    batch norm goes into the last layer of each chain. Norms whose input is used elsewhere, and
    convolutions that run twice or have hooks, are left. The result computes the same up to
    rounding and cannot train its norms any more.

    Raises ValueError where `torch.fx` cannot trace the model.
    Equivalent: `torch.fx.experimental.optimization.fuse`; `torch.nn.utils.fusion`.

    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    >>> [type(layer).__name__ for layer in fold_batch_norm(net).children()]
    ['Conv2d', 'ReLU']
    """
    copied = copy_of(model).eval()
    try:
        traced = fx.symbolic_trace(copied)
    except Exception as error:
        raise ValueError(
            f"torch.fx cannot trace the model ({error}): fold its norms yourself with "
            "torch.nn.utils.fusion.fuse_conv_bn_eval, or leave them"
        ) from error
    modules = dict(traced.named_modules(remove_duplicate=False))
    calls = Counter(
        id(modules[str(node.target)]) for node in traced.graph.nodes if node.op == "call_module"
    )
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or not isinstance(node.args[0], fx.Node):
            continue
        before = node.args[0]
        if before.op != "call_module" or len(before.users) > 1:
            continue
        conv, norm = modules[str(before.target)], modules[str(node.target)]
        once = calls[id(conv)] == calls[id(norm)] == 1
        if once and _foldable(conv, norm):
            fused = fuse_conv_bn_eval(conv, norm)
            put(traced, str(before.target), fused)
            modules[str(before.target)] = fused
            node.replace_all_uses_with(before)
            traced.graph.erase_node(node)
    traced.delete_all_unused_submodules()
    traced.recompile()
    return traced


def _foldable(conv: nn.Module, norm: nn.Module) -> bool:
    if (type(conv), type(norm)) not in PAIRS:
        return False
    hooked = any(getattr(module, hooks) for module in (conv, norm) for hooks in HOOKS)
    return not hooked and getattr(norm, "running_var", None) is not None
