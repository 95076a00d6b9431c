"""Models by name: listed without torch, shown, added whole or not at all, and never two of one name."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import safetensors.numpy
import torch

from petavox.pipeline.affinities.checkpoint import CheckpointConfig, find_checkpoint, load_checkpoint, shipped_models
from petavox.pipeline.affinities.offsets import NEAREST
from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import CheckpointError, RequestError
from petavox.pipeline.networks.checkpoint import CARD, WEIGHTS, save_checkpoint, user_models
from petavox.workflows import cli
from petavox.workflows.models.card import read_card, summary
from petavox.workflows.models.catalogue import add_model, describe, export_model, list_models

NETWORK = NetworkConfig(widths=(2, 3), stride=(1, 2, 2), offsets=NEAREST)
CONFIG = CheckpointConfig(network=NETWORK, patch=(4, 8, 8), voxel_size=(30.0, 6.0, 6.0))
PRINTED = "# mine\n\nOf nothing at all.\n"
SHIPPED = ["fib25", "phantom", "snemi3d"]


def checkpoint(folder, seed=0, card=PRINTED):
    torch.manual_seed(seed)
    save_checkpoint(folder, CONFIG, ResidualSymmetricUNet(NETWORK).state_dict(), card)
    return folder


@pytest.fixture(autouse=True)
def own(tmp_path, monkeypatch):
    """The folder of the user's models, which is not there yet."""
    monkeypatch.setenv("PETAVOX_MODELS", str(tmp_path / "models"))
    return tmp_path / "models"


@pytest.fixture
def petavox(monkeypatch, capfd):
    """Runs a command in this process: its exit status, standard output and standard error."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["petavox", "models", *map(str, arguments)])
        with pytest.raises(SystemExit) as exited:
            cli.main()
        out, err = capfd.readouterr()
        return exited.value.code, out, err

    return run


def names():
    return {entry.name: entry.source for entry in list_models()[0]}


def test_an_added_model_is_found_by_its_name(tmp_path, own, petavox):
    status, out, _ = petavox("add", checkpoint(tmp_path / "mine"))
    assert (status, out.strip()) == (0, str(own / "mine"))
    assert find_checkpoint("mine") == (own / "mine").resolve()
    assert names() == {"mine": "user"} | dict.fromkeys(SHIPPED, "shipped")
    assert add_model(tmp_path / "mine") == own / "mine"  # again, which changes nothing
    assert [path.name for path in own.iterdir()] == ["mine"]


def test_a_model_added_in_half_precision_takes_half_the_space_and_answers_nearly_the_same(tmp_path, own, petavox):
    source = checkpoint(tmp_path / "mine")
    code, out, _ = petavox("add", source, "--half")
    assert (code, out.strip()) == (0, str(own / "mine"))
    assert add_model(source, half=True) == own / "mine"  # again, which changes nothing
    with pytest.raises(RequestError, match="never written over"):
        add_model(source)
    sizes = [
        sum(array.nbytes for array in safetensors.numpy.load_file(folder / WEIGHTS).values() if array.ndim > 1)
        for folder in (source, own / "mine")
    ]
    assert sizes[0] == 2 * sizes[1]
    (_, exact), (config, rounded) = map(load_checkpoint, (source, own / "mine"))
    assert config.half
    image = torch.randn(1, 1, 4, 8, 8)
    exact.eval(), rounded.eval()
    torch.testing.assert_close(rounded(image), exact(image), atol=0.01, rtol=0.01)


def test_what_a_training_left_is_named_after_the_training(tmp_path, own):
    assert add_model(checkpoint(tmp_path / "cortex" / "checkpoint")) == own / "cortex"


def test_a_model_is_never_written_over(tmp_path, own):
    add_model(checkpoint(tmp_path / "mine"))
    with pytest.raises(RequestError, match="another one"):
        add_model(checkpoint(tmp_path / "other", seed=1), "mine")
    assert describe("mine").config == describe(str(tmp_path / "mine")).config
    assert [path.name for path in own.iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["phantom", "../mine", ".mine", "a b", ""])
def test_shipped_names_and_what_is_no_name_are_refused(tmp_path, own, name):
    with pytest.raises(RequestError, match="--name"):
        add_model(checkpoint(tmp_path / "$"), name or None)
    assert not own.exists()


def test_damaged_checkpoints_and_those_without_a_card_are_not_added(tmp_path, own):
    with pytest.raises(CheckpointError, match=CARD):
        add_model(checkpoint(tmp_path / "plain", card=None))
    damaged = checkpoint(tmp_path / "damaged") / WEIGHTS
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    with pytest.raises(CheckpointError, match="damaged"):
        add_model(tmp_path / "damaged")
    assert not own.exists()


def test_a_name_that_stands_for_two_models_is_refused_and_a_path_is_not(own):
    folder = checkpoint(own / "phantom")
    with pytest.raises(CheckpointError, match="stand for one model"):
        find_checkpoint("phantom")
    assert find_checkpoint(folder) == folder.resolve()
    for file in (shipped_models() / "phantom").iterdir():  # a copy is the same model
        (folder / file.name).write_bytes(file.read_bytes())
    assert find_checkpoint("phantom") == folder.resolve()


def test_the_users_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("PETAVOX_MODELS")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert user_models() == tmp_path / "petavox" / "models"
    monkeypatch.delenv("XDG_DATA_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_models() == tmp_path / ".local" / "share" / "petavox" / "models"


def test_parameters_are_counted_by_the_header_alone(tmp_path):
    network = ResidualSymmetricUNet(NETWORK)
    assert describe(str(checkpoint(tmp_path / "mine"))).parameters == sum(p.numel() for p in network.parameters())


def test_one_damaged_model_does_not_hide_the_others(own, petavox):
    (checkpoint(own / "broken") / WEIGHTS).unlink()
    status, out, err = petavox("--json")
    assert (status, [model["name"] for model in json.loads(out)]) == (0, SHIPPED)
    assert "broken" in err


def test_a_model_is_shown_with_its_card_and_config(petavox):
    status, out, _ = petavox("show", "phantom", "--json")
    shown = json.loads(out)
    assert (status, shown["card"]) == (0, read_card(find_checkpoint("phantom")))
    assert shown["config"]["weights_sha256"] == shown["weights_sha256"]
    assert shown["summary"] in petavox("show", "phantom")[1]


def test_a_rounded_model_comes_back_from_onnx_rounded(tmp_path, own, petavox):
    folder = add_model(checkpoint(tmp_path / "mine"), half=True)
    code, _, err = petavox("export", "mine", tmp_path / "mine.onnx")
    assert code == 0, err
    assert (add_model(tmp_path / "mine.onnx", "again") / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()


def test_an_exported_model_comes_back_bit_for_bit_or_not_at_all(tmp_path, own, petavox):
    onnx = pytest.importorskip("onnx")
    folder, file = checkpoint(tmp_path / "mine"), tmp_path / "exported.onnx"
    assert petavox("export", folder, file)[:2] == (0, f"{file}\n")
    back = add_model(file)
    assert back == own / "exported"
    assert {p.name: p.read_bytes() for p in back.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}
    model = onnx.load(file)
    weights = model.graph.initializer[0]
    weights.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights) + 1, weights.name))
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(CheckpointError, match="changed since"):
        add_model(tmp_path / "changed.onnx")
    assert [path.name for path in own.iterdir()] == ["exported"]


def test_what_is_there_is_not_exported_over(tmp_path):
    (tmp_path / "there.onnx").write_bytes(b"mine")
    for out in (tmp_path / "there.onnx", tmp_path / "model.pt"):
        with pytest.raises(RequestError, match="new file"):
            export_model("phantom", out)
    assert (tmp_path / "there.onnx").read_bytes() == b"mine"


@pytest.mark.parametrize("folder", sorted(shipped_models().iterdir()), ids=lambda folder: folder.name)
def test_shipped_cards_say_what_a_card_must_and_what_their_configs_say(folder):
    card, config = read_card(folder), describe(folder.name).config
    assert card.startswith(f"# {folder.name}\n")
    assert summary(card)
    for heading in ("In and out", "Trained on", "Scores", "Terms", "Use and limits"):
        assert f"\n## {heading}\n" in card
    used = config.patches()
    for lengths in (config.patch, used.shape, used.overlap or used.shape, used.rim or used.shape):
        assert " × ".join(map(str, lengths)) in card
    assert " × ".join(f"{length:g}" for length in config.voxel_size) in card
    for offset in config.network.offsets:
        assert f"({','.join(map(str, offset))})" in card


def test_models_are_listed_without_loading_torch():
    code = (
        "import sys; sys.argv = ['petavox', 'models']\n"
        "from petavox.workflows.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'numba', 'dask', 'scipy'} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True).stdout
    assert "snemi3d" in out
    assert out.endswith("[]\n")
