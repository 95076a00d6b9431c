"""Holds what changes while a network is trained, and writes the file that a training is resumed from."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import CheckpointError
from ..files import write_bytes
from ..networks.moving_average import MovingAverage
from ..networks.processes import Processes
from .network_config import NetworkConfig
from .training_config import TrainingConfig
from .training_settings import Settings
from .unet import ResidualSymmetricUNet
from .validation import Best


@dataclass(frozen=True)
class Progress:
    """Says where a training stood when it wrote its state.

    Args:
        next_step: number of steps done.
        settings: settings of the training.
    """

    next_step: int
    settings: Settings


def read_progress(path: Path) -> Progress:
    """Reads where a training stood when it wrote its state, without the weights.

    Raises:
        CheckpointError: the file is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            described = file.metadata()
        return Progress(int(described["next_step"]), json.loads(described["settings"]))
    except (OSError, KeyError, ValueError, safetensors.SafetensorError) as error:
        raise _damaged(path, error) from error


class TrainingState:
    """Holds a network on its way: its weights, their moving averages, the optimiser and the step that comes next.

    The order in which it is built is part of the result: what is drawn from the seed is drawn first.

    Args:
        network: network that is trained.
        training: schedule of the training.
        first: builds the network with its first weights; they may be drawn from the seed.
        processes: processes that train it together.
    """

    def __init__(
        self,
        network: NetworkConfig,
        training: TrainingConfig,
        first: Callable[[], ResidualSymmetricUNet],
        processes: Processes,
    ) -> None:
        self._training = training
        torch.set_num_threads(training.threads)
        torch.manual_seed(training.seed)
        if training.device == "cuda":
            torch.backends.cudnn.benchmark = True  # patches have one shape, so the fastest kernels are looked for once
        self.model = self._placed(first()).train()
        self.average = self._copy(network)
        parallel = processes.parallel(self.model)
        self.forward: Callable[[Tensor], Tensor] = torch.compile(parallel) if training.compile else parallel
        fused = True if training.device == "cuda" else None
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=0.0, weight_decay=training.weight_decay, fused=fused
        )
        self.longer = self._copy(network) if training.schedule == "constant" else None
        self._averages = [(MovingAverage(self.average, self.model), training.average)]
        if self.longer is not None:
            self._averages.append((MovingAverage(self.longer, self.model), training.longer_average))
        self.best: Best | None = None
        self.next_step, self.seconds = 0, 0.0

    def _placed(self, module: ResidualSymmetricUNet) -> ResidualSymmetricUNet:
        return module.to(device=self._training.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]

    def _copy(self, network: NetworkConfig) -> ResidualSymmetricUNet:
        copy = self._placed(ResidualSymmetricUNet(network)).eval().requires_grad_(False)
        copy.load_state_dict(self.model.state_dict())
        return copy

    def finish_step(self) -> None:
        """Moves the averages by the step that the optimiser has made, and counts it."""
        young = (1 + self.next_step) / (10 + self.next_step)  # or random first weights stay for a thousand steps
        for average, decay in self._averages:
            average.update(1 - min(decay, young))
        self.next_step += 1

    def save(self, path: Path, settings: Settings) -> None:
        """Writes a file to resume from, whole or not at all.

        Raises:
            StorageError: it cannot be written.
        """
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        if self.longer is not None:
            tensors |= {f"longer.{name}": value for name, value in self.longer.state_dict().items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        described = {"next_step": str(self.next_step), "settings": json.dumps(settings), "seconds": repr(self.seconds)}
        if self.best is not None:
            tensors |= {f"best.{name}": value for name, value in self.best.weights.items()}
            described |= {"best_score": repr(self.best.score), "best_step": str(self.best.step)}
        write_bytes(path, safetensors.torch.save({k: v.cpu().contiguous() for k, v in tensors.items()}, described))

    def load(self, path: Path, check: Callable[[Settings], None], *, with_best: bool) -> None:
        """Goes on from a file.

        Args:
            path: file that `save` has written.
            check: is given the settings of the file before anything is taken from it.
            with_best: whether the best weights so far are of interest.

        Raises:
            CheckpointError: the file is damaged; or what `check` raises.
        """
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                described = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            check(json.loads(described["settings"]))
            parts = _parts(tensors)
            self.model.load_state_dict(parts["model"])
            self.average.load_state_dict(parts["average"])
            if self.longer is not None:
                self.longer.load_state_dict(parts["longer"])
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": _moments(parts["optimiser"])})
            self.next_step = int(described["next_step"])
            self.seconds = float(described.get("seconds", 0.0))
            if parts["best"] and with_best:
                self.best = Best(float(described["best_score"]), int(described["best_step"]), parts["best"])
        except (OSError, KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"The training state {path} is damaged ({error}). Remove it to start anew.")


def _parts(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Groups tensors by the first word of their names."""
    parts: dict[str, dict[str, Tensor]] = {name: {} for name in ("model", "average", "longer", "optimiser", "best")}
    for name, tensor in tensors.items():
        part, rest = name.split(".", 1)
        parts[part][rest] = tensor
    return parts


def _moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Groups the tensors of an optimiser by the number of the weights that they belong to."""
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, moment = name.split(".")
        as_weights = tensor.to(memory_format=torch.channels_last_3d) if tensor.ndim == 5 else tensor  # or it is slower
        moments.setdefault(int(number), {})[moment] = as_weights
    return moments
