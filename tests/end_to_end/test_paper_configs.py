"""Each config of a published table or figure runs on handwriting with the embedded CLIP, and its report can be made."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFIGS = Path(__file__).parents[2] / "configs"
PAPERS = sorted(path for folder in ("lamm", "maple", "align") for path in (CONFIGS / folder).glob("*.yaml"))
BESIDE = {
    "table1_domain_generalization": "lamm-table1",
    "table2_class_incremental": "lamm-table2",
    "table3_hierarchical_loss": "lamm-table3",
    "table4_loss_ablation": "lamm-table4",
    "table5_initialization": "lamm-table5",
    "figure3_few_shot": "lamm-figure3",
    "base_to_new": "maple-base-to-new",
    "cross_dataset": "cross-dataset",
    "domain_generalization": "domain-generalization",
    "few_shot": "lamm-table3",
}
SMALL = ["--set", "backbone=tiny", "--set", "seeds=[1]"]


def command(*words: object) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-m", "lamm_cl", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(arguments, capture_output=True, text=True, timeout=1800, check=False, env=environment)


def test_there_is_a_config_for_each_table_and_figure() -> None:
    assert {str(path.relative_to(CONFIGS).with_suffix("")) for path in PAPERS} == {
        "lamm/table1_domain_generalization",
        "lamm/table2_class_incremental",
        "lamm/table3_hierarchical_loss",
        "lamm/table4_loss_ablation",
        "lamm/table5_initialization",
        "lamm/figure3_few_shot",
        "lamm/figure4_backbones",
        "maple/base_to_new",
        "maple/cross_dataset",
        "maple/domain_generalization",
        "align/base_to_new",
        "align/few_shot",
    }


@pytest.mark.slow
@pytest.mark.parametrize("path", PAPERS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_its_small_version_runs_and_reports(path: Path, tmp_path: Path) -> None:
    home = tmp_path / "results"
    datasets = "[digits, glyphs]" if path.stem == "cross_dataset" else "[digits]"
    done = command("run", path, *SMALL, "--set", f"datasets={datasets}", "--jobs", 2, "--out", home)
    assert done.returncode == 0, done.stdout + done.stderr
    with (home / "runs.csv").open() as file:
        assert {row["status"] for row in csv.DictReader(file)} == {"done"}
    beside = ["--compare", BESIDE[path.stem]] if path.stem in BESIDE else []
    for form, missing in (("text", "What is missing:"), ("html", '<div class="missing">')):
        shown = command("report", home, "--format", form, *beside)
        assert shown.returncode == 0, shown.stderr
        assert missing not in shown.stdout
        assert not beside or "not compared: " in shown.stdout
