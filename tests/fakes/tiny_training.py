"""The recipe of a training that takes seconds: two small feature maps, on a small phantom."""


def tiny_training(steps: int, *more: str) -> str:
    """The recipe as TOML; `more` are lines of [training]."""
    return "\n".join(
        (
            "voxel_size = [30.0, 6.0, 6.0]",
            "[network]",
            "widths = [2, 2]",
            "stride = [1, 2, 2]",
            "offsets = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]",
            "[training]",
            "patch = [2, 16, 16]",
            f"steps = {steps}",
            "threads = 1",
            *more,
            "[augmentation]",
            "displacement = 2",
            "[[phantom]]",
            "seed = 5",
            "shape = [4, 40, 40]",
            "",
        )
    )
