"""`--dtype auto`: the dtype for the hardware, kept by a run that has begun."""

import dataclasses
import json
from types import SimpleNamespace

import jax
import pytest
import tiny

from mpjax.config.evaluate import EvaluateConfig
from mpjax.config.train import DTYPES, TrainConfig
from mpjax.errors import InputError
from mpjax.models import precision
from mpjax.models.precision import chosen_dtype
from mpjax.planning.plan import plan_config
from mpjax.runs.folder import RunDir, with_dtype
from mpjax.sweep import sweep as sweeps
from mpjax.sweep.sweep import sweep
from mpjax.training import evaluate as evaluating
from mpjax.training.evaluate import evaluate
from mpjax.training.train import train

CPU = SimpleNamespace(platform="cpu")


def on(monkeypatch, device, flags="fpu amx_bf16", version=(0, 12, 0), devices=1):
    monkeypatch.setattr(jax, "devices", lambda: [device] * devices)
    monkeypatch.setattr(jax, "device_count", lambda: devices)
    monkeypatch.setattr(jax, "__version_info__", version)
    monkeypatch.setattr(precision, "_cpu_flags", lambda: frozenset(flags.split()))


@pytest.mark.parametrize(
    ("device", "more", "dtype"),
    [
        (CPU, {}, "bfloat16"),
        (CPU, {"flags": "avx512f avx512_bf16"}, "bfloat16"),
        (CPU, {"flags": "avx512f avx2"}, "float32"),
        (CPU, {"flags": ""}, "float32"),
        (CPU, {"version": (0, 10, 2)}, "float32"),
        (CPU, {"devices": 8}, "float32"),
        (SimpleNamespace(platform="tpu"), {"flags": ""}, "bfloat16"),
        (SimpleNamespace(platform="gpu", compute_capability="9.0"), {"flags": ""}, "bfloat16"),
        (SimpleNamespace(platform="gpu", compute_capability="7.5"), {}, "float32"),
        (SimpleNamespace(platform="gpu", compute_capability="gfx942"), {}, "float32"),
        (SimpleNamespace(platform="metal"), {}, "float32"),
    ],
)  # fmt: skip
def test_bfloat16_is_for_hardware_that_multiplies_it(device, more, dtype, monkeypatch):
    on(monkeypatch, device, **more)
    assert chosen_dtype("auto") == dtype
    assert [chosen_dtype(given) for given in ("float32", "bfloat16")] == ["float32", "bfloat16"]


def test_flags_are_those_of_the_first_cpu(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nflags\t\t: fpu amx_bf16\nvmx flags\t: x\n\nprocessor\t: 1\n")
    assert precision._cpu_flags(str(info)) == {"fpu", "amx_bf16"}
    assert precision._cpu_flags(str(tmp_path / "none")) == frozenset()


@pytest.mark.slow
def test_a_run_keeps_its_dtype_where_the_hardware_is_another(tmp_path, monkeypatch):
    options = {"output": str(tmp_path / "run"), "method": "movement", "density": 0.5}
    config = tiny.config(tmp_path, **options, dtype="auto")
    monkeypatch.setattr(precision, "_multiplies_halves", lambda device: True)
    result = train(config)
    run = RunDir(tmp_path / "run")
    assert json.loads(run.config.read_text())["dtype"] == "bfloat16"
    monkeypatch.setattr(precision, "_multiplies_halves", lambda device: False)
    assert train(config) == result
    with pytest.raises(InputError, match="--dtype was bfloat16, now float32"):
        train(tiny.config(tmp_path, **options, dtype="float32"))


@pytest.mark.parametrize("recorded", ["float17", "auto", "float64", None, ["bfloat16"]])
def test_a_recorded_word_that_is_no_dtype_is_refused(recorded, tmp_path):
    config = begun(tmp_path / "run", recorded)
    with pytest.raises(InputError, match=r"config\.json is damaged: its dtype is"):
        with_dtype(config)


def test_a_run_without_a_record_of_it_had_the_default(tmp_path, monkeypatch):
    monkeypatch.setattr(precision, "_multiplies_halves", lambda device: True)
    config = begun(tmp_path / "run", "bfloat16")
    file = RunDir(tmp_path / "run").config
    file.write_text(json.dumps({"derived": {}}))
    assert with_dtype(config).dtype == "float32"


def begun(folder, dtype):
    """Config with `auto` of a run that has begun with another dtype."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"dtype": dtype, "derived": {}}))
    return TrainConfig(output=str(folder), dtype="auto")


@pytest.mark.parametrize(
    ("given", "runtime", "dtype"),
    [
        ("auto", "dense", "bfloat16"),
        ("auto", "sparse", "float32"),
        ("bfloat16", "dense", "bfloat16"),
        ("float32", "dense", "float32"),
    ],
)
def test_evaluate_computes_in_it_and_csr_in_float32(given, runtime, dtype, tmp_path, monkeypatch):
    class Loaded(Exception):
        pass

    def load(folder, task, dtype, **options):
        raise Loaded(dtype)

    monkeypatch.setattr(precision, "_multiplies_halves", lambda device: True)
    monkeypatch.setattr(evaluating, "load_for_task", load)
    monkeypatch.setattr(evaluating.sparse, "check_installed", lambda: None)
    options = tiny.options(tmp_path)
    config = EvaluateConfig(
        **{name: options[name] for name in ("model", "task", "data")},
        max_length=16, dtype=given, runtime=runtime,
    )  # fmt: skip
    with pytest.raises(Loaded, match=dtype):
        evaluate(config)


def test_members_of_a_sweep_have_one_dtype(tmp_path, monkeypatch):
    found = []

    def stop(output, configs, *rest):
        found.extend(config.dtype for config in configs.values())
        return []

    monkeypatch.setattr(sweeps, "_sweep", stop)
    monkeypatch.setattr(precision, "_multiplies_halves", lambda device: True)
    base = tiny.config(tmp_path, output=str(tmp_path / "sweep"), method="movement", dtype="auto")
    sweep(base, {"density": (0.5, 0.2)})
    begun(tmp_path / "sweep" / "members" / "density-0.3", "float32")
    sweep(base, {"density": (0.5, 0.3)})
    assert found == ["bfloat16"] * 2 + ["float32"] * 2


def test_a_plan_is_for_a_tpu():
    config = TrainConfig(model="m", task="sst2", method="movement")
    planned = [plan_config(dataclasses.replace(config, dtype=d)).dtype for d in (*DTYPES, "auto")]
    assert planned == ["float32", "bfloat16", "bfloat16"]
