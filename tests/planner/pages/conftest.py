"""Answers that pages are made of, and the browser that looks at them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from planner import EstimateResult, FitResult, estimate, fit, fit_machines, report_page


@pytest.fixture(scope="session")
def found() -> FitResult:
    return fit("llama-2-7b", gpu="A100-40GB")


@pytest.fixture(scope="session")
def estimated() -> EstimateResult:
    return estimate("llama-2-7b", gpu="T4", finetuning="lora", micro_batch_size=2)


@pytest.fixture(scope="session")
def pages(found: FitResult, estimated: EstimateResult) -> dict[str, str]:
    """One page of each kind."""
    machines = [("H100", 8), ("A100-80GB", 8), ("L40S", 4), ("A10G", 8)]
    on_machines = [fit("llama-3-8b", gpu=gpu, gpus=gpus) for gpu, gpus in machines]
    return {
        "fit": report_page(found),
        "front": report_page(fit("qwen2.5-1.5b", gpu="T4", gpus=2, pareto=True)),
        "estimate": report_page(estimated),
        "machines": report_page(*on_machines),
        "models": report_page(*(fit(model, gpu="A10G", top=30) for model in ("gpt2", "bert-base-uncased"))),
        "prices": report_page(fit_machines("llama-3-8b", gpu="machines", top=30, global_batch_size=64)),
        "batches": report_page(fit_machines("gpt2", gpu=["T4", "A10G", "L4", "H100"], gpus=[1, 8])),
        "nothing fits": report_page(fit("llama-2-70b", gpu="T4")),
    }


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no page is looked at: Chromium is not installed (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium)
        yield opened
        opened.close()
