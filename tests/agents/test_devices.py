import pytest
import torch

from agents.critic import Critic
from agents.devices import check_device, device_of_gpus, resolve_device
from agents.policy import load_policy
from agents.testing import byte_tokenizer, tiny_lfm2
from zs_env.errors import ConfigError


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two GPUs, as far as counting goes."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda index: "Some GPU")
    return monkeypatch


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)


def test_auto_is_a_gpu_where_there_is_one(gpus: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert resolve_device("auto", say=said.append) == torch.device("cuda")
    assert resolve_device("cuda:1", say=said.append) == torch.device("cuda:1")
    assert said == ["Device: cuda (Some GPU)"]
    with pytest.raises(ConfigError, match=r"device 'cuda:2': torch sees 2 GPUs \(cuda:0 to cuda:1\)"):
        resolve_device("cuda:2")
    assert (device_of_gpus(0), device_of_gpus(1)) == ("cpu", "cuda")


@pytest.mark.usefixtures("no_gpu")
def test_auto_is_the_cpu_elsewhere() -> None:
    said: list[str] = []
    assert resolve_device("auto", say=said.append) == resolve_device("cpu", say=said.append) == torch.device("cpu")
    assert said == ["Device: cpu (torch sees no GPU)"]
    with pytest.raises(ConfigError, match=r"device 'cuda': torch sees no GPU. Choose 'cpu'"):
        resolve_device("cuda")
    assert device_of_gpus(0) == "cpu"
    with pytest.raises(ConfigError, match=r"num_gpus=1: torch sees no GPU. Give 0"):
        device_of_gpus(1)


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:", "cuda:x", "0", ""])
def test_other_names_are_refused(device: str) -> None:
    with pytest.raises(ConfigError, match="device must be 'auto', 'cpu', 'cuda'"):
        check_device(device)


def test_several_gpus_are_not_there_yet(gpus: pytest.MonkeyPatch) -> None:
    for count in (2, 4):
        with pytest.raises(ConfigError, match=rf"num_gpus={count}: one process trains on one GPU.*torch sees 2 GPUs"):
            device_of_gpus(count)
    with pytest.raises(ConfigError, match="num_gpus must be a whole number"):
        device_of_gpus(-1)


def test_model_and_critic_lie_on_the_device_that_is_named(tmp_path: object) -> None:
    """On torch's "meta" device, which every machine has, nothing is computed, but it isn't the CPU."""
    tiny_lfm2().save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    policy = load_policy(str(tmp_path))
    assert {parameter.device.type for parameter in policy.model.parameters()} == {"cpu"}
    policy.model.to("meta")
    assert policy.device == torch.device("meta")
    assert {parameter.device.type for parameter in Critic(policy).parameters()} == {"meta"}
