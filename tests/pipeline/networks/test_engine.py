"""The engine, on a CPU: what it does when memory or the compiler fails it is tried with a network that fails."""

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from petavox.pipeline.affinities.unet import NetworkConfig, ResidualSymmetricUNet
from petavox.pipeline.errors import RequestError
from petavox.pipeline.networks.device import usable_device
from petavox.pipeline.networks.engine import LARGEST_BATCH, Engine


def network():
    torch.manual_seed(2)
    return ResidualSymmetricUNet(NetworkConfig(widths=(2, 3)))


def engine(batch, device="cpu", **changes):
    return Engine(network(), 3, device, "float32", patch_bytes=1000, batch=batch, **changes)


def short_of_memory(made, most):
    """Lets an engine have memory for so many patches at a time; tells how many it was given each time."""
    given, answer = [], made._network

    def limited(patches):
        given.append(len(patches))
        if len(patches) > most:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return answer(patches)

    made._network = limited
    return given


@pytest.fixture
def patches():
    return torch.randn(6, 1, 2, 8, 8)


@pytest.fixture
def cuda(monkeypatch):
    """A GPU that is this CPU, with memory for eleven patches of 1000 bytes twice over."""
    compiled = []
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (22_500, 80_000))
    monkeypatch.setattr(ResidualSymmetricUNet, "to", lambda self, **_: self)
    monkeypatch.setattr(torch, "compile", lambda module, **_: compiled.append(module) or module.forward)
    return compiled


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_convolutions_have_the_precision_that_is_asked_for_and_answers_are_finite(patches, precision, dtype):
    made, seen = Engine(network(), 3, "cpu", precision, patch_bytes=1000, batch=6), []
    for module in made._eager.modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(lambda _, __, answer: seen.append(answer))
    found, exact = made(patches), engine(6)(patches)
    assert {answer.dtype for answer in seen} == {dtype}
    assert all(answer.isfinite().all() for answer in [*seen, found])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, exact, atol=0.06 if dtype == torch.bfloat16 else 1e-6, rtol=0)
    assert precision == "float32" or not torch.equal(found, exact)


def test_out_of_memory_halves_the_batch_and_goes_on(patches, caplog):
    expected, made = engine(6)(patches), engine(6)
    given = short_of_memory(made, 2)
    torch.testing.assert_close(made(patches), expected)
    torch.testing.assert_close(made(patches), expected)
    assert given == [6, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]
    assert [message.partition(":")[2] for message in caplog.messages] == [
        " 3 patches are computed together.",
        " 1 patches are computed together.",
    ]


def test_a_patch_that_does_not_fit_by_itself_is_an_error(patches):
    made = engine(4)
    given = short_of_memory(made, 0)
    with pytest.raises(torch.OutOfMemoryError):
        made(patches)
    assert given == [4, 2, 1]


def test_a_gpu_gets_as_many_patches_as_fit_a_power_of_two(cuda):
    assert engine(2, "cuda").batch == 8
    assert engine(12, "cuda").batch == 12


def test_a_gpu_runs_the_network_compiled_only_where_that_is_asked_for(cuda):
    engine(2, "cuda")
    assert not cuda
    made = engine(2, "cuda", compiled=True)
    assert cuda == [made._eager]


def test_a_large_gpu_does_not_get_ever_more(cuda, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (10**9, 10**9))
    assert engine(2, "cuda").batch == LARGEST_BATCH


def test_a_cpu_runs_it_compiled_where_that_is_asked_for_with_all_weights_frozen(patches, monkeypatch):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda module, **how: asked.append(how) or module.forward)
    expected = engine(6)(patches)
    assert not asked
    torch.testing.assert_close(engine(6, compiled=True)(patches), expected)
    (how,) = asked
    assert how["options"] == {"fx_graph_cache": False, "freezing": True}


def test_a_cpu_that_cannot_compile_does_not_answer_as_others_would_not(patches, monkeypatch):
    def broken(_):
        raise TorchDynamoException("No working C++ compiler found.\nMore.")

    monkeypatch.setattr(torch, "compile", lambda *_, **__: broken)
    made = engine(6, compiled=True)
    with pytest.raises(RequestError, match=r"No working C\+\+ compiler found\. Install one"):
        made(patches)


def test_a_gpu_that_cannot_compile_the_network_runs_it_as_it_is(patches, caplog):
    expected, made = engine(6)(patches), engine(6)
    made.device = "cuda"

    def broken(_):
        raise TorchDynamoException("Cannot find a working triton installation.\nMore.")

    made._network = broken
    for _ in range(2):
        torch.testing.assert_close(made(patches), expected)
    (message,) = caplog.messages
    assert message.endswith("run as it is: Cannot find a working triton installation.")


def test_an_error_of_the_device_is_no_reason_to_go_on_without_the_compiler(patches):
    made = engine(6)
    made.device = "cuda"

    def broken(_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    made._network = broken
    for _ in range(2):
        with pytest.raises(RuntimeError, match="illegal memory access"):
            made(patches)


def test_what_is_wrong_with_the_network_itself_is_told():
    with pytest.raises(RuntimeError, match="channels"):
        engine(1)(torch.zeros(1, 2, 2, 8, 8))


def test_a_gpu_that_torch_sees_but_cannot_compute_on_is_not_used(monkeypatch):
    def too_old(*_, **__):
        raise RuntimeError("CUDA error: no kernel image is available for execution on the device")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "ones", too_old)
    assert usable_device() == "cpu"
    monkeypatch.setattr(torch, "ones", lambda *_, device: torch.zeros(1))
    assert usable_device() == "cuda"
