"""The examples in the READMEs of the streams and evaluation rooms run."""

import re
from pathlib import Path

import pytest

import lamm_cl

ROOMS = ("streams", "evaluation")
BLOCKS = [
    pytest.param(block, id=f"{room}-{k}")
    for room in ROOMS
    for k, block in enumerate(
        re.findall(r"```python\n(.*?)```", (Path(lamm_cl.__file__).parent / room / "README.md").read_text(), re.DOTALL)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_example_runs(block):
    exec(compile(block, "README.md", "exec"), {})


def test_every_metric_and_protocol_is_explained():
    from lamm_cl.evaluation import metrics
    from lamm_cl.streams.protocols import PROTOCOLS

    folder = Path(lamm_cl.__file__).parent
    text = (folder / "evaluation" / "README.md").read_text() + (folder / "streams" / "README.md").read_text()
    for name in [*PROTOCOLS, *metrics.__all__]:
        if name not in ("CALIBRATION_BINS", "calibration_bins", "calibration_error") and not name.endswith("_per_set"):
            assert f"`{name}`" in text, name
