from petavox.cluster import gpus


def test_gpus_are_those_that_the_environment_names_or_else_those_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.visible_gpus() == ("0", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,MIG-7")
    assert gpus.visible_gpus() == ("3", "MIG-7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.visible_gpus() == ()


def test_a_machine_that_does_not_tell_has_any_number(monkeypatch, tmp_path):
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.visible_gpus() is None
