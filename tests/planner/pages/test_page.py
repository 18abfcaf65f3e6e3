"""What a page says, of which answers, and what it never does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from planner import EstimateResult, FitResult, PlanFileError, PlannerError, fit_machines, report_page
from planner.cli import main


def test_a_page_needs_no_network_and_no_other_file(pages: dict[str, str]) -> None:
    for page in pages.values():
        assert re.findall(r"""(?:src|href|action)\s*=|url\(|@import|https?:""", page) == []
        assert page.count("<script>") == 1


def test_pages_are_small(pages: dict[str, str]) -> None:
    assert max(map(len, pages.values())) < 200_000


def test_one_answer_is_shown_by_its_methods_and_several_by_their_first_plans(pages: dict[str, str]) -> None:
    def headings(page: str) -> list[str]:
        return re.findall(r'<article class="card"><h3><i class="swatch g\d"></i>([^<]*) <small', page)

    assert headings(pages["fit"]) == ["to run: lora", "largest batch: qlora", "full"]
    assert headings(pages["machines"]) == ["8 x H100-80GB-SXM", "8 x A100-80GB-SXM", "4 x L40S", "8 x A10G"]
    assert headings(pages["models"]) == ["gpt2", "bert-base"]


def test_a_ranking_of_machines_is_drawn_by_price_and_by_what_each_is_the_best_in(pages: dict[str, str]) -> None:
    page = pages["prices"]
    assert "<h3>Price and speed</h3>" in page
    assert "All machines" not in page  # all of them make the same batch
    assert "<h3>All machines</h3>" in pages["batches"]
    for role in ("best", "cheapest", "fastest", "smallest"):
        assert len(re.findall(rf'<i class="swatch g\d"></i>[^<]*{role}[^<]*:', page)) >= 1
    assert len(re.findall("<tr", page)) > 30


def test_a_ranking_of_machines_is_a_page_of_its_own(found: FitResult) -> None:
    ranking = fit_machines("gpt2", gpu=["T4", "L4"])
    with pytest.raises(PlannerError, match="a page of its own"):
        report_page(found, ranking)


def test_a_file_that_ranks_machines_is_drawn_and_is_no_plan_elsewhere(tmp_path: Path) -> None:
    ranking = fit_machines("gpt2", gpu=["T4", "L4"])
    file = tmp_path / "machines.json"
    file.write_text(ranking.model_dump_json())
    assert report_page(file) == report_page(ranking)
    run = CliRunner().invoke(main, ["verify", str(file)])
    assert run.exit_code == 2
    assert "ranks machines" in run.stderr


def test_what_an_answer_quotes_is_text(estimated: EstimateResult) -> None:
    evil = "</script><script>alert(1)</script>\x1b"
    request = estimated.request.model_copy(update={"model": evil})
    page = report_page(estimated.model_copy(update={"notes": (evil,), "request": request}))
    assert "alert(1)</script>" not in page
    assert "\x1b" not in page


def test_code_that_a_file_names_is_not_run_and_the_page_says_so(
    estimated: EstimateResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('evil ran')")
    monkeypatch.syspath_prepend(tmp_path)
    request = estimated.request.model_copy(update={"model": "evil:build"})
    page = report_page(estimated.model_copy(update={"request": request}))
    assert "names the code &#x27;evil:build&#x27;" in page
    assert "What if" not in page
    assert "does not fit" in page


def test_the_smallest_plan_is_shown_where_nothing_fits(pages: dict[str, str]) -> None:
    page = pages["nothing fits"]
    assert "does not fit" in page
    assert "GiB too many" in page
    assert 'id="ranking"' not in page


def test_the_command_writes_the_page_of_files(found: FitResult, estimated: EstimateResult, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(found.model_dump_json())
    (tmp_path / "b.json").write_text(estimated.model_dump_json())
    names = [str(tmp_path / name) for name in ("a.json", "b.json", "page.html")]
    run = CliRunner().invoke(main, ["report", *names[:2], "-o", names[2]])
    assert (run.exit_code, run.stdout) == (0, f"{names[2]}\n")
    assert Path(names[2]).read_text() == report_page(*names[:2]) == report_page(found, estimated)


def test_standard_input_is_a_plan(found: FitResult, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    run = CliRunner().invoke(main, ["report", "-", "-o", str(page)], input=found.model_dump_json())
    assert run.exit_code == 0
    assert page.read_text() == report_page(found)


def test_what_is_no_plan_is_refused(found: FitResult, tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(PlanFileError, match="is not a plan"):
        report_page(tmp_path / "no.json")
    with pytest.raises(PlannerError, match="1 to 6 answers, not of 7"):
        report_page(*[found] * 7)
    nothing = found.model_copy(update={"plans": (), "best_by_method": (), "usual": ()})
    with pytest.raises(PlannerError, match="no plan to draw"):
        report_page(nothing)
