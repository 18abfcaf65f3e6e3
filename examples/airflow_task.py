"""Plans a run in a task of Airflow, whose answer the next task launches.

The task is a plain function: what it takes and returns is JSON, as XCom wants it. In a DAG:

    from airflow.sdk import dag, task

    @dag
    def training():
        launched = task(launch)(task(plan_run)("sft.yaml", "A100-40GB", "out"))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from planner import PlannerError, check, fix


def plan_run(recipe: str, gpu: str, folder: str) -> dict[str, Any]:
    """Returns what a run takes, and the file to launch: the recipe, or the smallest change of it that fits.

    Raises:
        PlannerError: The run does not fit, and no change of its file does.
    """
    result = check(recipe, gpu=gpu, gpus=1)
    if result.plan is None:
        raise PlannerError(result.headline())
    launched = recipe
    if not result.fits:
        if not result.changes:
            raise PlannerError(result.headline(), "a larger GPU")
        Path(folder).mkdir(parents=True, exist_ok=True)
        (path,) = fix(result, Path(folder) / Path(recipe).name, force=True)
        launched = str(path)
    return {"recipe": launched, "fits": result.fits, "answer": result.model_dump(mode="json")}
