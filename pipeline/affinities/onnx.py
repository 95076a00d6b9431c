"""An affinity network's checkpoint as an ONNX file, for other programs to run, and back.

The graph takes normalised grey values (N, 1, Z, Y, X), any number of patches of the checkpoint's shape, and gives
affinities from 0 to 1, (N, C, Z, Y, X), one channel an offset.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from torch import Tensor, nn

from ..networks.onnx import INPUT, LayerGraph, read_checkpoint
from .checkpoint import CheckpointConfig
from .unet import Module, ResidualSymmetricUNet

OUTPUT = "affinities"
OFFSETS_KEY = "petavox.offsets"


def write_onnx(path: Path, config: CheckpointConfig, network: ResidualSymmetricUNet, card: str) -> None:
    """Exports a checkpoint; the file appears whole or not at all.

    Raises:
        RequestError: the package onnx is not installed.
    """
    graph, offsets = LayerGraph(network), config.network.offsets
    _add_affinities(graph, network, config)
    graph.write(path, config, card, OUTPUT, len(offsets), {OFFSETS_KEY: json.dumps(offsets)})


def read_onnx(path: Path) -> tuple[CheckpointConfig, dict[str, Tensor], str]:
    """Returns config, weights and card of a checkpoint that was exported.

    Raises:
        RequestError: the package onnx is not installed.
        CheckpointError: the file is damaged, or petavox has not made it.
    """
    return read_checkpoint(path, CheckpointConfig, _names)


def _names(config: CheckpointConfig) -> Iterable[str]:
    return ResidualSymmetricUNet(config.network).state_dict().keys()


def _add_affinities(graph: LayerGraph, network: ResidualSymmetricUNet, config: CheckpointConfig) -> None:
    """The network's `forward`, and the sigmoid of its affinities."""
    pooling = config.network.pooling
    x = graph.elu(graph.normalised(INPUT, "embed", network.embed))
    skips = []
    for level, module in enumerate(network.down):
        x = x if level == 0 else graph.add("MaxPool", x, kernel_shape=pooling, strides=pooling)
        x = _add_module(graph, x, f"down.{level}", module)
        skips.append(x)
    for level in reversed(range(len(network.up))):
        x = graph.enlarge(graph.convolution(x, f"project.{level}", network.project[level]), pooling)
        x = _add_module(graph, graph.add("Add", x, skips[level]), f"up.{level}", network.up[level])
    x = graph.elu(graph.normalised(x, "unembed", network.unembed))
    graph.add("Sigmoid", _add_head(graph, x, network, config), output=OUTPUT)


def _add_head(graph: LayerGraph, x: str, network: ResidualSymmetricUNet, config: CheckpointConfig) -> str:
    """The affinities alone, and of each voxel of the head `stride` voxels: see `subvoxel_shuffle`."""
    stride, channels = config.network.stride, len(config.network.offsets)
    a, b, c = stride
    z, y, x_ = (p // s for p, s in zip(config.patch, stride, strict=True))
    x = graph.convolution(x, "head", network.head)
    if config.network.outputs > channels:
        x = graph.add("Slice", x, *(graph.constant([number]) for number in (0, channels * a * b * c, 1)))
    x = graph.add("Reshape", x, graph.constant([0, channels, a, b, c, z, y, x_]))
    x = graph.add("Transpose", x, perm=[0, 1, 5, 2, 6, 3, 7, 4])
    return graph.add("Reshape", x, graph.constant([0, channels, *config.patch]))


def _add_module(graph: LayerGraph, x: str, name: str, module: nn.Module) -> str:
    assert isinstance(module, Module)
    skip = graph.elu(graph.normalised(x, f"{name}.entry", module.entry))
    x = graph.elu(graph.normalised(skip, f"{name}.middle", module.middle))
    x = graph.add("Add", graph.convolution(x, f"{name}.last.convolution", module.last.convolution), skip)
    return graph.elu(graph.norm(x, f"{name}.last.norm", module.last.norm))
