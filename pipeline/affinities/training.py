"""Training: from labelled volumes in memory to a checkpoint, resumable to the step."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import RequestError
from ..networks.batch_maker import BatchMaker
from ..networks.checkpoint import save_checkpoint
from ..networks.device import usable_device
from ..networks.log import TrainingLog
from ..networks.processes import current_processes
from .augmentation_config import AugmentationConfig
from .checkpoint import CheckpointConfig, starting_point
from .losses import balanced_loss, descriptor_loss, maximin_loss
from .network_config import NetworkConfig, check_patch
from .offsets import NEAREST, check_offsets
from .sampling import Example, PatchSampler, TrainingVolume, validation_examples
from .training_clock import TrainingClock
from .training_config import TrainingConfig, learning_rate
from .training_settings import check_unchanged, settings_of
from .training_state import TrainingState
from .unet import ResidualSymmetricUNet
from .validation import Best, Judge, ScoringConfig, SegmentationValidation
from .widening import widen

STATE = "state.safetensors"
CHECKPOINT = "checkpoint"
LAST = "last"
LONGER = "longer"
PAUSE = 1.0
"""Seconds between two looks whether a pause is over."""


class Trainer:
    """Trains a network: it holds the weights, their moving average, the optimiser and the next step.

    Where processes have been joined (`processes`), every one has a trainer, and the first one writes.

    Args:
        network: network that is trained.
        augmentation: changes that patches see.
        training: schedule of the training.
        volumes: volumes that the network is trained and validated on.
        directory: where state, log and checkpoint lie, from `begin` on; a state in it is continued. `checkpoint/` holds
            the weights that are kept, and if these are the best ones, `last/` the last. A constant schedule that does
            not end has only `last/` and `longer/`, the two averages of the weights.
        voxel_size: voxel size of the volumes, in nm (z, y, x), for the checkpoint.
        provenance: origin of the network, for the checkpoint.
        start: folder of the checkpoint whose weights are the first ones; those of feature maps that it lacks, or all
            unless it is given, are drawn from the seed.
        scoring, judge: how validation boxes are segmented and scored, and by whom; without a judge the last weights
            are kept.
        card: writes the card of a checkpoint.
        report: is given every line of the log.

    Raises:
        CheckpointError: the start is no checkpoint of such a network.
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
        check_trainable(network, training)
        self.config, self.directory, self.card = training, directory, card
        self.processes = current_processes()
        self.share = self.processes.share(training.batch)
        scoring = scoring or ScoringConfig()
        source = None if start is None else starting_point(start, network)
        start_weights = None if source is None else source[0].weights_sha256
        self.settings = settings_of(network, augmentation, training, scoring, volumes, start_weights)
        self.sampler = _sampler(volumes, network, augmentation, training)
        self.validation = validation_examples(volumes, training.patch, network.offsets, training.validation_patches)
        self.judged: SegmentationValidation | None = None
        if training.keep == "best" and self.validation and judge is not None and self.processes.first:
            device, precision = training.device, training.precision
            self.judged = SegmentationValidation(volumes, scoring, judge, training.patch, device, precision)
        self.checkpoint = CheckpointConfig(
            network=network,
            patch=training.patch,
            voxel_size=voxel_size,
            normalisation=volumes[0].normalisation if len(volumes) == 1 else None,
            provenance=provenance,
        )

        def first() -> ResidualSymmetricUNet:
            return ResidualSymmetricUNet(network) if source is None else widen(source[1], network)

        self.state = TrainingState(network, training, first, self.processes)
        self._report = report
        self.log: TrainingLog | None = None
        self._begun = self._stopping = False

    def begin(self) -> None:
        """Goes on where the directory's state ends, if there is one, and opens the log; nothing is written before.

        Raises:
            CheckpointError: the directory holds a damaged state, or that of a training with other settings.
        """
        self._begun = True
        self.directory.mkdir(parents=True, exist_ok=True)
        if (self.directory / STATE).exists():
            check = partial(check_unchanged, self.settings, directory=self.directory)
            self.state.load(self.directory / STATE, check, with_best=self.judged is not None)
        done = self.state.next_step
        if self.processes.first:
            self.log = TrainingLog(self.directory, done, self._report)
        self._log(event="resume" if done else "start", next_step=done, **self.settings)

    def stop(self) -> None:
        """Ends `run` after the current step, with its state saved; for handlers of signals and other threads."""
        self._stopping = True

    def run(self, pause: Callable[[], bool] = lambda: False) -> Path:
        """Trains to the last step, to the end of the minutes, or until `stop` is called.

        Args:
            pause: tells before each step whether to wait.

        Returns:
            The folder of the checkpoint.
        """
        if not self._begun:
            self.begin()
        clock = TrainingClock(self.state.seconds)
        losses: list[Tensor] = []
        adopted = self.state.next_step == 0 and self.settings["start"]["weights_sha256"] is not None
        if self.judged is not None and adopted:
            self._log(step=0, **self.consider())  # what it started from may stay the best
        for step, examples in () if self._out_of_time() else self._batches():
            if pause() and not self._goes_on_after(pause, clock):
                break
            rate = learning_rate(step, self.config, self.state.seconds)
            losses.append(self._step(step, examples))
            done = step + 1
            self.state.seconds = self._agreed(clock.seconds())
            last = done == self.config.steps or self._stopping or self._out_of_time()
            if last or done <= 10 or done % self.config.log_every == 0:
                self._log_losses(losses, rate, clock)
                losses = []
            if self.validation and self.processes.first and (last or done % self.config.validate_every == 0):
                self._log(step=done, **self.validate(), **self.consider())
            if last:
                break
            if done % self.config.save_every == 0 or clock.is_due(self.config.save_minutes):
                self.save()
                clock.saved()
        self.save()  # even where no step was left: it may have stopped between the state and the checkpoint
        return self.directory / (CHECKPOINT if self.config.ends else LAST)

    def _goes_on_after(self, pause: Callable[[], bool], clock: TrainingClock) -> bool:
        """Waits, with the state saved, until a pause is over; tells whether the training was not stopped meanwhile."""
        began = time.perf_counter()
        self.save()
        self._log(event="pause", next_step=self.state.next_step)
        while not self._stopping and pause():
            time.sleep(PAUSE)
        self._log(event="go on", next_step=self.state.next_step)
        clock.waited(time.perf_counter() - began)
        return not self._stopping

    def _log_losses(self, losses: list[Tensor], rate: float, clock: TrainingClock) -> None:
        """Logs the steps since the last line."""
        loss = float(torch.stack(losses).mean())  # waits for a GPU, which each step by itself does not
        pace, total = round(clock.lap() / len(losses), 4), round(self.state.seconds, 1)
        self._log(step=self.state.next_step, loss=loss, learning_rate=rate, seconds_per_step=pace, seconds=total)

    def _agreed(self, seconds: float) -> float:
        """The first process's seconds, so that all of them end with the same step."""
        if self.config.minutes is None or self.processes.count == 1:
            return seconds
        mine = torch.tensor(seconds if self.processes.first else 0.0, device=self.config.device, dtype=torch.float64)
        return float(self.processes.total(mine))

    def _out_of_time(self) -> bool:
        return self.config.minutes is not None and self.state.seconds >= 60 * self.config.minutes

    def _batches(self) -> Iterator[tuple[int, list[Example]]]:
        """The batches of the steps that are left; the next two are being made in another thread."""
        batch, ahead = self.config.batch, 2
        maker = BatchMaker(self.config.device)

        def make(step: int) -> list[Example]:
            return maker.make(lambda: [self.sampler.draw(step * batch + i) for i in self.share])

        with ThreadPoolExecutor(1) as pool:
            first, last = self.state.next_step, self.config.steps
            waiting: deque[Future[list[Example]]] = deque()
            for step in range(first, last + ahead):
                if step < last:
                    waiting.append(pool.submit(make, step))
                if step >= first + ahead:
                    yield step - ahead, maker.take(waiting.popleft().result())

    def _step(self, step: int, examples: list[Example]) -> Tensor:
        for group in self.state.optimiser.param_groups:
            group["lr"] = learning_rate(step, self.config, self.state.seconds)
        self.state.optimiser.zero_grad()
        loss = self._loss(examples)
        # The gradients of the processes are averaged, where their sum is wanted.
        (loss * self.processes.count).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.state.model.parameters(), self.config.clip)
        self.state.optimiser.step()
        self.state.finish_step()
        return self.processes.total(loss.detach())

    def _loss(self, examples: list[Example]) -> Tensor:
        """The loss of a batch; of several processes, what this one's patches add to it."""
        logits, targets = self._logits_and_targets(self.state.forward, examples)
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
                logits, targets = self._logits_and_targets(self.state.average, [example])
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
        weights = {name: value.cpu().clone() for name, value in self.state.average.state_dict().items()}
        scores = self.judged(self.checkpoint.network, weights)
        if self.state.best is None or scores["validation_score"] < self.state.best.score:
            self.state.best = Best(scores["validation_score"], self.state.next_step, weights)
        return {**scores, "best_step": self.state.best.step}

    def save(self) -> None:
        """Writes the state to resume from, and the checkpoint of the averaged weights: the best, or the last ones."""
        if not self.processes.first:
            return
        self.state.save(self.directory / STATE, self.settings)
        last, longer, best = self.state.average.state_dict(), self.state.longer, self.state.best
        if longer is not None and not self.config.ends:
            self._keep(LAST, last, self.state.next_step)
            self._keep(LONGER, longer.state_dict(), self.state.next_step)
        elif best is None:
            self._keep(CHECKPOINT, last, self.state.next_step)
        else:
            self._keep(CHECKPOINT, best.weights, best.step, validation_score=best.score)
            self._keep(LAST, last, self.state.next_step)

    def _keep(self, name: str, weights: Mapping[str, Tensor], step: int, **found: float) -> None:
        provenance = {**self.checkpoint.provenance, "steps": step, **found}
        config = self.checkpoint.model_copy(update={"provenance": provenance})
        save_checkpoint(self.directory / name, config, weights, None if self.card is None else self.card(config))

    def _log(self, **line: Any) -> None:
        if self.log is not None:
            self.log.add(**line)


def check_trainable(network: NetworkConfig, training: TrainingConfig) -> None:
    """Makes sure that the network takes the patches, and that there is a device to train on.

    Raises:
        RequestError: one of them does not fit.
        AffinityError: edges are to decide, and the first offsets are not those of the nearest neighbours.
    """
    check_patch(training.patch, network)
    if training.maximin_weight > 0:
        check_offsets(network.offsets, NEAREST)
    if training.device == "cuda" and usable_device() != "cuda":
        raise RequestError(
            f"To train on a GPU, torch must be able to compute on one: torch {torch.__version__} finds none here. "
            'Use device = "cpu", or a build of torch for this GPU.'
        )


def _sampler(
    volumes: Sequence[TrainingVolume],
    network: NetworkConfig,
    augmentation: AugmentationConfig,
    training: TrainingConfig,
) -> PatchSampler:
    """The source of the training's patches."""
    return PatchSampler(
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
