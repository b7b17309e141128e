"""Every registered method is compared with its released code, or says why it cannot be."""

from pathlib import Path

import pytest

from lamm_cl.methods.registry import METHODS
from tests.golden.conftest import recorded, reference_folder
from tests.golden.test_official_codes import method_of

# Where each method is compared. One that is registered and not here fails the suite.
COMPARED = {
    "test_official_codes.py": ["coop", "cocoop", "lamm", "vpt", "ivlp", "maple", "align"],
    "test_prompts2.py": ["clip_lora", "prograd", "mg_clip", "kgcoop", "promptsrc", "tcp"],
    "test_features.py": ["clip_adapter", "tip_adapter", "tip_adapter_f", "simplecil", "ranpac", "acil", "rail"],
    "test_cil.py": ["rapf", "engine", "bofa", "proof"],
    "test_zero_shot.py": ["zero_shot"],
}
# Methods that the reference holds nothing of, and why.
WITHOUT_A_CASE = {"language_prompting": "no trainer of MaPLe's repository runs it; it is ivlp without image tokens"}


def test_each_method_has_a_golden_case_or_says_why_not() -> None:
    named = [*(method for methods in COMPARED.values() for method in methods), *WITHOUT_A_CASE]
    assert sorted(named) == sorted(METHODS), (
        "compare each registered method with its released code in tests/golden and name it in COMPARED, "
        "or say in WITHOUT_A_CASE why that cannot be"
    )


@pytest.mark.parametrize("file", COMPARED)
def test_the_golden_test_builds_it(file: str) -> None:
    text = (Path(__file__).parent / file).read_text(encoding="utf-8")
    missing = {method for method in COMPARED[file] if f'"{method}"' not in text}
    if file == "test_official_codes.py":  # its methods come from the reference
        cases = recorded(reference_folder())
        if not cases:
            pytest.skip("reference data not present")
        missing = set(COMPARED[file]) - {method_of(case)[0] for case in cases.values() if "trainer" in case}
    assert not missing
