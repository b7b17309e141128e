from pathlib import Path
from typing import Any

import pytest
import yaml

from lamm_cl.experiments.config import config_schema

CONFIGS = Path(__file__).parents[3] / "configs"


def fits(value: Any, schema: dict[str, Any], whole: dict[str, Any]) -> bool:
    """Check a value against the part of JSON schema that ours uses."""
    if "$ref" in schema:
        part: Any = whole
        for name in schema["$ref"].removeprefix("#/").split("/"):
            part = part[name]
        return fits(value, part, whole)
    if "anyOf" in schema and not any(fits(value, one, whole) for one in schema["anyOf"]):
        return False
    kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
    wanted = schema.get("type", [])
    for kind in [wanted] if isinstance(wanted, str) else wanted:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, kinds.get(kind, ())) or (kind in ("integer", "number") and number):
            break
    else:
        if wanted:
            return False
    if ("enum" in schema and value not in schema["enum"]) or ("const" in schema and value != schema["const"]):
        return False
    if isinstance(value, list) and "items" in schema:
        return len(value) >= schema.get("minItems", 0) and all(fits(one, schema["items"], whole) for one in value)
    if isinstance(value, dict):
        known = schema.get("properties", {})
        more = schema.get("additionalProperties", True)
        return all(key in value for key in schema.get("required", ())) and all(
            fits(item, known[key], whole) if key in known else bool(more) and (more is True or fits(item, more, whole))
            for key, item in value.items()
        )
    return True


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return config_schema()


@pytest.mark.parametrize("path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS)))
def test_every_config_fits_the_schema(path: Path, schema: dict[str, Any]) -> None:
    assert fits(yaml.safe_load(path.read_text()), schema, schema)


@pytest.mark.parametrize(
    "text",
    [
        "{protocol: few_shot, datasets: digits, methods: {lamm: {lr: 0.1}, l2: {method: lamm}}, shots: full}",
        "{protocol: {name: class_incremental, steps: 5, order: [3, 1, 2]}, datasets: [{folder: x}], methods: coop}",
        "{protocol: few_shot, datasets: [digits], methods: [coop], loggers: {wandb: {mode: offline}}, cache: false}",
    ],
)
def test_what_a_file_may_say(text: str, schema: dict[str, Any]) -> None:
    assert fits(yaml.safe_load(text), schema, schema)


@pytest.mark.parametrize(
    "text",
    [
        "{datasets: digits, methods: coop}",
        "{datasets: digits, protocol: few_shot}",
        "{protocol: few_shots, datasets: digits, methods: coop}",
        "{protocol: {name: few_shot, steps: 3}, datasets: digits, methods: coop}",
        "{protocol: few_shot, datasets: digits, methods: {lamm: {lrr: 0.1}}}",
        "{protocol: few_shot, datasets: digits, methods: lam}",
        "{protocol: few_shot, datasets: digits, methods: coop, seedz: 3}",
    ],
)
def test_what_a_file_may_not_say(text: str, schema: dict[str, Any]) -> None:
    assert not fits(yaml.safe_load(text), schema, schema)


def test_the_stored_schema_is_the_generated_one(schema: dict[str, Any]) -> None:
    import json

    stored = json.loads((CONFIGS / "schema.json").read_text())
    assert stored == schema, "run: lamm-cl validate --schema > configs/schema.json"
