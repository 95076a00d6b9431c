"""Training: from labelled volumes in memory to a checkpoint, resumable to the step."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..errors import CheckpointError, RequestError
from ..files import write_bytes
from ..networks.batch_maker import BatchMaker
from ..networks.checkpoint import save_checkpoint
from ..networks.device import usable_device
from ..networks.log import TrainingLog
from ..networks.moving_average import MovingAverage
from ..networks.processes import current_processes
from .augmentation_config import AugmentationConfig
from .checkpoint import CheckpointConfig, starting_point
from .losses import balanced_loss, descriptor_loss, maximin_loss
from .network_config import NetworkConfig, check_patch
from .offsets import NEAREST, check_offsets
from .sampling import PATCHES, Example, PatchSampler, TrainingVolume, validation_examples
from .training_config import TrainingConfig, learning_rate
from .unet import ResidualSymmetricUNet
from .validation import Best, Judge, ScoringConfig, SegmentationValidation
from .widening import widen

STATE = "state.safetensors"
CHECKPOINT = "checkpoint"
LAST = "last"
MAY_CHANGE = {"steps", "minutes", "threads", "device", "compile", "log_every", "validate_every", "save_every", "keep"}
"""Settings that a resumed run may have other values of than the run that it resumes."""


class Trainer:
    """Trains a network: it holds the weights, their moving average, the optimiser and the next step.

    Where processes have been joined (`processes`), every one has a trainer, and the first one writes.

    Args:
        network: network that is trained.
        augmentation: changes that patches see.
        training: schedule of the training.
        volumes: volumes that the network is trained and validated on.
        directory: where state, log and checkpoint lie; a state in it is continued. `checkpoint/` holds the weights that
            are kept, and if these are the best ones, `last/` the last.
        voxel_size: voxel size of the volumes, in nm (z, y, x), for the checkpoint.
        provenance: origin of the network, for the checkpoint.
        start: folder of the checkpoint whose weights are the first ones; those of feature maps that it lacks, or all
            unless it is given, are drawn from the seed.
        scoring, judge: how validation boxes are segmented and scored, and by whom; without a judge the last weights
            are kept.
        card: writes the card of a checkpoint.
        report: is given every line of the log.

    Raises:
        CheckpointError: the directory holds a damaged state, or that of a run with other settings; or the start is no
            checkpoint of such a network.
        RequestError: patch, volumes and network do not fit together, or there is no such device.
    """

    def __init__(
        self,
        network: NetworkConfig,
        augmentation: AugmentationConfig,
        training: TrainingConfig,
        volumes: Sequence[TrainingVolume],
        directory: Path,
        *,
        voxel_size: tuple[float, float, float],
        provenance: dict[str, str | int | float],
        start: Path | None = None,
        scoring: ScoringConfig | None = None,
        judge: Judge | None = None,
        card: Callable[[CheckpointConfig], str] | None = None,
        report: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        check_patch(training.patch, network)
        if training.maximin_weight > 0:
            check_offsets(network.offsets, NEAREST)
        if training.device == "cuda" and usable_device() != "cuda":
            raise RequestError(
                f"To train on a GPU, torch must be able to compute on one: torch {torch.__version__} finds none here. "
                'Use device = "cpu", or a build of torch for this GPU.'
            )
        self.config, self.directory = training, directory
        self.processes = current_processes()
        self.share = self.processes.share(training.batch)
        scoring = scoring or ScoringConfig()
        tables = {"network": network, "augmentation": augmentation, "training": training, "scoring": scoring}
        first = None if start is None else starting_point(start, network)
        self.defaults = {name: type(table)().model_dump(mode="json") for name, table in tables.items()}
        self.settings: dict[str, dict[str, Any]] = {"sampling": {"patches": PATCHES}}
        self.settings |= {name: table.model_dump(mode="json") for name, table in tables.items()}
        self.settings["volumes"] = {str(number): volume.identity() for number, volume in enumerate(volumes)}
        self.settings["start"] = {"weights_sha256": None if first is None else first[0].weights_sha256}
        self.sampler = PatchSampler(
            volumes,
            shape=training.patch,
            offsets=network.offsets,
            augmentation=augmentation,
            labelled=training.labelled,
            erosion=training.erosion,
            erosion_depth=training.erosion_depth,
            seed=training.seed,
            device=training.device,
            descriptors=network.descriptors if training.descriptor_weight > 0 else None,
        )
        self.validation = validation_examples(volumes, training.patch, network.offsets, training.validation_patches)
        self.judged: SegmentationValidation | None = None
        if training.keep == "best" and self.validation and judge is not None and self.processes.first:
            device, precision = training.device, training.precision
            self.judged = SegmentationValidation(volumes, scoring, judge, training.patch, device, precision)
        self.best: Best | None = None
        self.card = card
        self.checkpoint = CheckpointConfig(
            network=network,
            patch=training.patch,
            voxel_size=voxel_size,
            normalisation=volumes[0].normalisation if len(volumes) == 1 else None,
            provenance=provenance,
        )
        torch.set_num_threads(training.threads)
        torch.manual_seed(training.seed)
        if training.device == "cuda":
            torch.backends.cudnn.benchmark = True  # patches have one shape, so the fastest kernels are looked for once
        self.model = self._place(ResidualSymmetricUNet(network) if first is None else widen(first[1], network)).train()
        self.average = self._place(ResidualSymmetricUNet(network)).eval().requires_grad_(False)
        self.average.load_state_dict(self.model.state_dict())
        parallel = self.processes.parallel(self.model)
        self.forward: Callable[[Tensor], Tensor] = torch.compile(parallel) if training.compile else parallel
        fused = True if training.device == "cuda" else None
        self.optimiser = torch.optim.AdamW(
            self.model.parameters(), lr=0.0, weight_decay=training.weight_decay, fused=fused
        )
        self.averaged = MovingAverage(self.average, self.model)
        self.next_step, self.seconds = 0, 0.0
        self._stopping = False
        directory.mkdir(parents=True, exist_ok=True)
        if (directory / STATE).exists():
            self._resume()
        self.log = TrainingLog(directory, self.next_step, report) if self.processes.first else None
        self._log(event="resume" if self.next_step else "start", next_step=self.next_step, **self.settings)

    def _place(self, module: ResidualSymmetricUNet) -> ResidualSymmetricUNet:
        return module.to(device=self.config.device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]

    def stop(self) -> None:
        """Ends `run` after the current step, with its state saved; for handlers of signals and other threads."""
        self._stopping = True

    def run(self) -> Path:
        """Trains to the last step, to the end of the minutes, or until `stop` is called.

        Returns:
            The folder of the checkpoint.
        """
        losses: list[Tensor] = []
        began, before = time.perf_counter(), time.perf_counter() - self.seconds
        if self.judged is not None and self.next_step == 0 and self.settings["start"]["weights_sha256"] is not None:
            self._log(step=0, **self.consider())  # what it started from may stay the best
        for step, examples in () if self._out_of_time() else self._batches():
            rate = learning_rate(step, self.config, self.seconds)
            losses.append(self._step(step, examples))
            done = step + 1
            self.seconds = self._agreed(time.perf_counter() - before)
            last = done == self.config.steps or self._stopping or self._out_of_time()
            if last or done <= 10 or done % self.config.log_every == 0:
                loss = float(torch.stack(losses).mean())  # waits for a GPU, which each step by itself does not
                seconds = round((time.perf_counter() - began) / len(losses), 4)
                self._log(step=done, loss=loss, learning_rate=rate, seconds_per_step=seconds)
                losses, began = [], time.perf_counter()
            if self.validation and self.processes.first and (last or done % self.config.validate_every == 0):
                self._log(step=done, **self.validate(), **self.consider())
            if last:
                break
            if done % self.config.save_every == 0:
                self.save()
        self.save()  # even where no step was left: it may have stopped between the state and the checkpoint
        return self.directory / CHECKPOINT

    def _agreed(self, seconds: float) -> float:
        """The first process's seconds, so that all of them end with the same step."""
        if self.config.minutes is None or self.processes.count == 1:
            return seconds
        mine = torch.tensor(seconds if self.processes.first else 0.0, device=self.config.device, dtype=torch.float64)
        return float(self.processes.total(mine))

    def _out_of_time(self) -> bool:
        return self.config.minutes is not None and self.seconds >= 60 * self.config.minutes

    def _batches(self) -> Iterator[tuple[int, list[Example]]]:
        """The batches of the steps that are left; the next two are being made in another thread."""
        batch, ahead = self.config.batch, 2
        maker = BatchMaker(self.config.device)

        def make(step: int) -> list[Example]:
            return maker.make(lambda: [self.sampler.draw(step * batch + i) for i in self.share])

        with ThreadPoolExecutor(1) as pool:
            first, last = self.next_step, self.config.steps
            waiting: deque[Future[list[Example]]] = deque()
            for step in range(first, last + ahead):
                if step < last:
                    waiting.append(pool.submit(make, step))
                if step >= first + ahead:
                    yield step - ahead, maker.take(waiting.popleft().result())

    def _step(self, step: int, examples: list[Example]) -> Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(step, self.config, self.seconds)
        self.optimiser.zero_grad()
        loss = self._loss(examples)
        # The gradients of the processes are averaged, where their sum is wanted.
        (loss * self.processes.count).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimiser.step()
        # A young average would remember the random first weights for a thousand steps.
        decay = min(self.config.average, (1 + step) / (10 + step))
        self.averaged.update(1 - decay)
        self.next_step = step + 1
        return self.processes.total(loss.detach())

    def _loss(self, examples: list[Example]) -> Tensor:
        """The loss of a batch; of several processes, what this one's patches add to it."""
        logits, targets = self._logits_and_targets(self.forward, examples)
        count, total = targets.shape[1], self.processes.total
        loss = balanced_loss(logits[:, :count], targets, self.config.balance_limit, total)
        if self.config.maximin_weight > 0:
            labels = [example.labels for example in examples]
            loss = loss + self.config.maximin_weight * maximin_loss(logits[:, :3], targets[:, :3], labels, total)
        shapes = [example.descriptors for example in examples if example.descriptors is not None]
        if shapes:
            loss = loss + self.config.descriptor_weight * descriptor_loss(logits[:, count:], torch.stack(shapes), total)
        return loss

    def _logits_and_targets(self, model: Callable[[Tensor], Tensor], examples: list[Example]) -> tuple[Tensor, Tensor]:
        device = self.config.device
        images = torch.stack([example.image for example in examples]).to(device)
        targets = torch.stack([example.targets for example in examples]).to(device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=self.config.precision == "bfloat16"):
            return model(images), targets

    def validate(self) -> dict[str, Any]:
        """Measures loss and balanced accuracy of each channel, at threshold 0.5, with the averaged weights."""
        losses: list[float] = []
        right = torch.zeros(2, len(self.checkpoint.network.offsets), dtype=torch.float64)
        known = torch.zeros_like(right)
        for example in self.validation:
            with torch.inference_mode():
                logits, targets = self._logits_and_targets(self.average, [example])
                logits = logits[:, : targets.shape[1]]
                losses.append(float(balanced_loss(logits, targets, self.config.balance_limit)))
                for which, truth in enumerate((targets == 1, targets == 0)):
                    right[which] += (truth & ((logits > 0) == (targets == 1))).sum((0, 2, 3, 4)).cpu()
                    known[which] += truth.sum((0, 2, 3, 4)).cpu()
        accuracy = (right / known.clamp(min=1)).mean(0)
        return {
            "validation_loss": sum(losses) / len(losses),
            "balanced_accuracy": [round(float(a), 5) for a in accuracy],
        }

    def consider(self) -> dict[str, Any]:
        """Scores the averaged weights by the segmentation of the validation boxes, and keeps the best weights."""
        if self.judged is None:
            return {}
        weights = {name: value.cpu().clone() for name, value in self.average.state_dict().items()}
        scores = self.judged(self.checkpoint.network, weights)
        if self.best is None or scores["validation_score"] < self.best.score:
            self.best = Best(scores["validation_score"], self.next_step, weights)
        return {**scores, "best_step": self.best.step}

    def save(self) -> None:
        """Writes the state to resume from, and the checkpoint of the averaged weights: the best, or the last ones."""
        if not self.processes.first:
            return
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        tensors |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": value for name, value in state.items()}
        described = {"next_step": str(self.next_step), "settings": json.dumps(self.settings)}
        described["seconds"] = repr(self.seconds)
        if self.best is not None:
            tensors |= {f"best.{name}": value for name, value in self.best.weights.items()}
            described |= {"best_score": repr(self.best.score), "best_step": str(self.best.step)}
        data = safetensors.torch.save({k: v.cpu().contiguous() for k, v in tensors.items()}, described)
        write_bytes(self.directory / STATE, data)
        last = self.average.state_dict()
        if self.best is None:
            self._keep(CHECKPOINT, last, self.next_step)
        else:
            self._keep(CHECKPOINT, self.best.weights, self.best.step, validation_score=self.best.score)
            self._keep(LAST, last, self.next_step)

    def _keep(self, name: str, weights: Mapping[str, Tensor], step: int, **found: float) -> None:
        provenance = {**self.checkpoint.provenance, "steps": step, **found}
        config = self.checkpoint.model_copy(update={"provenance": provenance})
        save_checkpoint(self.directory / name, config, weights, None if self.card is None else self.card(config))

    def _resume(self) -> None:
        path = self.directory / STATE
        try:
            with safetensors.safe_open(path, framework="pt") as file:
                described = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self._check_settings(json.loads(described["settings"]))
            parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "best": {}}
            moments: dict[int, dict[str, Tensor]] = {}
            for name, tensor in tensors.items():
                part, rest = name.split(".", 1)
                if part == "optimiser":
                    number, moment = rest.split(".")
                    if tensor.ndim == 5:  # as the weights lie, or the optimiser is slower
                        tensor = tensor.to(memory_format=torch.channels_last_3d)
                    moments.setdefault(int(number), {})[moment] = tensor
                else:
                    parts[part][rest] = tensor
            self.model.load_state_dict(parts["model"])
            self.average.load_state_dict(parts["average"])
            self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": moments})
            self.next_step = int(described["next_step"])
            self.seconds = float(described.get("seconds", 0.0))
            if parts["best"] and self.judged is not None:
                self.best = Best(float(described["best_score"]), int(described["best_step"]), parts["best"])
        except (OSError, KeyError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
            raise CheckpointError(
                f"The training state {path} is damaged ({error}). Remove it to start anew."
            ) from error

    def _check_settings(self, before: dict[str, dict[str, Any]]) -> None:
        for table, settings in self.settings.items():
            # A state may be older than a setting, which then had its default, and than what is known of volumes.
            known = self.defaults.get(table, {}) | before.get(table, settings if table == "volumes" else {})
            for name in {**known, **settings}:
                was, now = known.get(name), settings.get(name)
                if name not in MAY_CHANGE and was != now:
                    raise CheckpointError(
                        f"A resumed training must have the settings that it began with: [{table}] {name} was "
                        f"{was} in {self.directory} and is {now} now. Use another directory."
                    )

    def _log(self, **line: Any) -> None:
        if self.log is not None:
            self.log.add(**line)
