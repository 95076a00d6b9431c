"""Configures how training patches are varied: which changes a patch may see, how often and how much."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

Probability = Annotated[float, Field(ge=0, le=1)]


class AugmentationConfig(BaseModel):
    """Says how often and how much a training patch is changed. Probabilities are for each patch.

    Where a voxel comes from (`augment_shape`):

    Args:
        flips: Mirrors each axis, and exchanges y and x where the patch is square, each half of the time.
        exchange_z: Exchanges z with y and x, too, in cubic patches. For volumes whose sections are no thicker than
            their voxels are wide.
        warp: Probability that all sections are rotated, sheared and stretched alike, in the plane.
        rotation: Largest angle of a warp, in degrees, either way.
        shear: Largest shear of a warp: displacement along one axis by distance along the other.
        stretch: Largest share by which a warp lengthens or shortens an axis.
        elastic: Probability that all sections are bent alike, in the plane.
        bend: Standard deviation of the displacements that bend them, in voxels.
        bend_spacing: Distance between the points that are displaced independently, in voxels.
        slip: Probability that one section is displaced.
        step: Probability that all sections from one on are displaced.
        displacement: Largest displacement along y and x by a slip or a step, in voxels.

    The look of a voxel (`augment_grey`):

    Args:
        defocus: Probability that sections are blurred.
        defocus_sections: Most sections of one patch that are blurred.
        defocus_deviation: Largest standard deviation of the blur, in voxels.
        grey: Probability that contrast, brightness and gamma change, of each section alone or of the whole patch.
        grey_sections: Share of these patches in which each section changes alone. Set 0 for images of a block's face,
            whose sections are not stained or taken one by one.
        contrast: Contrast lies within 1 ± this.
        brightness: Brightness is moved by up to this, in standard deviations of the volume's grey values.
        gamma: Log2 of gamma lies within ± this.
        shading: Probability that contrast and brightness vary smoothly within the patch, by up to as much.
        shading_spacing: Distance between the points where shading varies independently, in voxels.
        noise: Largest standard deviation of added Gaussian noise, in the same unit as brightness.
        missing: Probability that sections lack their image.
        missing_sections: Most sections of one patch that lack it, each wholly or in one quadrant.
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
