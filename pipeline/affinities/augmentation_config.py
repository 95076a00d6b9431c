"""Configures how training patches are varied: which changes a patch may see, how often and how much."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

Probability = Annotated[float, Field(ge=0, le=1)]


class AugmentationConfig(BaseModel):
    """Says how often and how much a training patch is changed. Probabilities are for each patch.

    Where a voxel comes from (`deformation`):

    Args:
        flips: mirror along every axis, and exchange y and x where the patch is square, each half of the time.
        exchange_z: exchange z with y and x, too, for cubic patches of a volume whose sections are no thicker than its
            voxels are wide.
        warp: probability that all sections are rotated, sheared and stretched alike, in the plane.
        rotation: the largest angle, in degrees, either way.
        shear: the largest shear, as displacement along one axis by distance along the other.
        stretch: each axis is lengthened or shortened by up to this share.
        elastic: probability that all sections are bent alike, in the plane.
        bend: standard deviation of the displacements that bend them, in voxels.
        bend_spacing: distance of the points that are displaced independently, in voxels.
        slip: probability that one section is displaced.
        step: probability that all sections from one on are displaced.
        displacement: the largest displacement along y and x by a slip or a step, in voxels.

    What is seen of it (`appearance`):

    Args:
        defocus: probability that sections are blurred.
        defocus_sections: the most sections that are, in one patch.
        defocus_deviation: the largest standard deviation of the blur, in voxels.
        grey: probability that contrast, brightness and gamma change, of each section alone or of the patch.
        grey_sections: how often it is each section alone. In images of a block's face, which have no sections of their
            own to be stained or taken differently, 0.
        contrast: contrast lies within 1 ± this.
        brightness: brightness is moved by up to this, in standard deviations of the volume's grey values.
        gamma: log2 of gamma lies within ± this.
        shading: probability that contrast and brightness vary smoothly within the patch, by up to as much.
        shading_spacing: distance of the points where they vary independently, in voxels.
        noise: the largest standard deviation of added Gaussian noise, in the same unit as brightness.
        missing: probability that sections lack their image.
        missing_sections: the most sections that lack it, in one patch; each wholly or in one quadrant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    flips: bool = True
    exchange_z: bool = False
    warp: Probability = 0.0
    rotation: float = Field(default=45.0, ge=0, le=180)
    shear: float = Field(default=0.2, ge=0, lt=1)
    stretch: float = Field(default=0.2, ge=0, lt=1)
    elastic: Probability = 0.0
    bend: NonNegativeFloat = 3.0
    bend_spacing: PositiveInt = 32
    slip: Probability = 0.15
    step: Probability = 0.15
    displacement: NonNegativeInt = 16
    defocus: Probability = 0.15
    defocus_sections: PositiveInt = 1
    defocus_deviation: NonNegativeFloat = 3.0
    grey: Probability = 0.8
    grey_sections: Probability = 0.5
    contrast: float = Field(default=0.3, ge=0, lt=1)
    brightness: NonNegativeFloat = 0.6
    gamma: NonNegativeFloat = 0.7
    shading: Probability = 0.0
    shading_spacing: PositiveInt = 32
    noise: NonNegativeFloat = 0.15
    missing: Probability = 0.2
    missing_sections: NonNegativeInt = 2

    @property
    def margin(self) -> int:
        """Returns how far two sections of a patch may be displaced along y and x, in voxels."""
        return self.displacement if self.slip > 0 or self.step > 0 else 0
