"""A checkpoint as an ONNX file, for other programs to run, and back.

The graph takes normalised grey values (N, 1, Z, Y, X), any number of patches of the checkpoint's shape, and gives
affinities from 0 to 1, (N, C, Z, Y, X), one channel an offset. It is written layer by layer rather than traced: torch's
exporter folds the normalisations, and so loses the weights that were trained. Here all of them lie in the file under
their own names, and reading it back gives the very checkpoint; runtimes fold normalisations by themselves.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import CheckpointError, RequestError
from ..networks.layers import NormalisedConvolution
from .checkpoint import CheckpointConfig, write_atomically
from .unet import Module, ResidualSymmetricUNet

INPUT, OUTPUT, BATCH = "image", "affinities", "batch"
CONFIG_KEY, CARD_KEY, COUNTS_KEY, OFFSETS_KEY = "petavox.config", "petavox.card", "petavox.counts", "petavox.offsets"
OPSET, IR_VERSION = 17, 8  # old enough for whatever runs ONNX today


def write_onnx(path: Path, config: CheckpointConfig, network: ResidualSymmetricUNet, card: str) -> None:
    """Exports a checkpoint; the file appears whole or not at all.

    Raises:
        RequestError: the package onnx is not installed.
    """
    onnx = _onnx()
    counts = {name: int(value) for name, value in network.state_dict().items() if not value.is_floating_point()}
    model = _Graph(network, onnx).model(config)
    described = {
        CONFIG_KEY: config.model_dump_json(),
        CARD_KEY: card,
        COUNTS_KEY: json.dumps(counts),  # of batches seen: the only weights that the graph does not need
        OFFSETS_KEY: json.dumps(config.network.offsets),
    }
    onnx.helper.set_model_props(model, described)
    onnx.checker.check_model(model)
    write_atomically(path, model.SerializeToString())


def read_onnx(path: Path) -> tuple[CheckpointConfig, dict[str, Tensor], str]:
    """Config, weights and card of a checkpoint that was exported.

    Raises:
        RequestError: the package onnx is not installed.
        CheckpointError: the file is damaged, or petavox has not made it.
    """
    onnx = _onnx()
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path), load_external_data=False)
        found = {entry.key: entry.value for entry in model.metadata_props}
        config = CheckpointConfig.model_validate_json(found[CONFIG_KEY])
        counts = {name: torch.tensor(count) for name, count in json.loads(found[COUNTS_KEY]).items()}
        names = ResidualSymmetricUNet(config.network).state_dict().keys()
        arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        weights = {name: counts[name] if name in counts else torch.from_numpy(arrays[name].copy()) for name in names}
    except (OSError, DecodeError, KeyError, ValueError) as error:
        raise CheckpointError(
            f"Only an ONNX file that petavox has exported can be read back; {path} is none, or is damaged: {error!r}."
        ) from error
    return config, weights, found.get(CARD_KEY, "")


def _onnx() -> ModuleType:
    try:
        import onnx
    except ImportError as error:
        raise RequestError(
            f"ONNX files need the package onnx, which cannot be imported here: {error}. Install it:"
            " pip install 'petavox[onnx]'."
        ) from error
    return onnx  # type: ignore[no-any-return]


class _Graph:
    """The nodes of a network, in the order of its `forward`; values are passed on by name."""

    def __init__(self, network: ResidualSymmetricUNet, onnx: ModuleType) -> None:
        self._network, self._onnx = network, onnx
        self._nodes: list[Any] = []
        self._arrays: dict[str, np.ndarray[Any, Any]] = {
            name: value.numpy() for name, value in network.state_dict().items() if value.is_floating_point()
        }

    def model(self, config: CheckpointConfig) -> Any:
        """The whole of it, as protobuf."""
        helper, single = self._onnx.helper, self._onnx.TensorProto.FLOAT
        self._affinities(config)
        graph = helper.make_graph(
            self._nodes,
            "petavox",
            [helper.make_tensor_value_info(INPUT, single, [BATCH, 1, *config.patch])],
            [helper.make_tensor_value_info(OUTPUT, single, [BATCH, len(config.network.offsets), *config.patch])],
            [self._onnx.numpy_helper.from_array(array, name) for name, array in self._arrays.items()],
        )
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="petavox")

    def _affinities(self, config: CheckpointConfig) -> None:
        network, pooling = self._network, config.network.pooling
        x = self._elu(self._normalised(INPUT, "embed", network.embed))
        skips = []
        for level, module in enumerate(network.down):
            x = x if level == 0 else self._add("MaxPool", x, kernel_shape=pooling, strides=pooling)
            x = self._module(x, f"down.{level}", module)
            skips.append(x)
        for level in reversed(range(len(network.up))):
            x = self._enlarge(self._convolution(x, f"project.{level}", network.project[level]), pooling)
            x = self._module(self._add("Add", x, skips[level]), f"up.{level}", network.up[level])
        x = self._elu(self._normalised(x, "unembed", network.unembed))
        self._add("Sigmoid", self._head(x, config), output=OUTPUT)

    def _head(self, x: str, config: CheckpointConfig) -> str:
        """The affinities alone, and of each voxel of the head `stride` voxels: see `subvoxel_shuffle`."""
        network, channels = config.network, len(config.network.offsets)
        a, b, c = network.stride
        z, y, x_ = (p // s for p, s in zip(config.patch, network.stride, strict=True))
        x = self._convolution(x, "head", self._network.head)
        if network.outputs > channels:
            x = self._add("Slice", x, *(self._constant([number]) for number in (0, channels * a * b * c, 1)))
        x = self._add("Reshape", x, self._constant([0, channels, a, b, c, z, y, x_]))
        x = self._add("Transpose", x, perm=[0, 1, 5, 2, 6, 3, 7, 4])
        return self._add("Reshape", x, self._constant([0, channels, *config.patch]))

    def _module(self, x: str, name: str, module: nn.Module) -> str:
        assert isinstance(module, Module)
        skip = self._elu(self._normalised(x, f"{name}.entry", module.entry))
        x = self._elu(self._normalised(skip, f"{name}.middle", module.middle))
        x = self._add("Add", self._convolution(x, f"{name}.last.convolution", module.last.convolution), skip)
        return self._elu(self._norm(x, f"{name}.last.norm", module.last.norm))

    def _normalised(self, x: str, name: str, layer: NormalisedConvolution) -> str:
        return self._norm(self._convolution(x, f"{name}.convolution", layer.convolution), f"{name}.norm", layer.norm)

    def _convolution(self, x: str, name: str, layer: nn.Module) -> str:
        assert isinstance(layer, nn.Conv3d)
        weights = [f"{name}.weight"] if layer.bias is None else [f"{name}.weight", f"{name}.bias"]
        pads = [k // 2 for k in layer.kernel_size]
        return self._add("Conv", x, *weights, kernel_shape=layer.kernel_size, strides=layer.stride, pads=pads * 2)

    def _norm(self, x: str, name: str, layer: nn.Module) -> str:
        assert isinstance(layer, nn.BatchNorm3d)
        weights = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        return self._add("BatchNormalization", x, *weights, epsilon=layer.eps)

    def _enlarge(self, x: str, by: tuple[int, int, int]) -> str:
        scales = self._constant([1.0, 1.0, *map(float, by)])
        how = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}
        return self._add("Resize", x, "", scales, **how)

    def _elu(self, x: str) -> str:
        return self._add("Elu", x)

    def _constant(self, values: list[int] | list[float]) -> str:
        name = f"constant.{len(self._arrays)}"
        self._arrays[name] = np.array(values, np.int64 if isinstance(values[0], int) else np.float32)
        return name

    def _add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """A node; returns the name of its output."""
        output = output or f"value.{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(kind, inputs, [output], **attributes))
        return output
