"""Methods and plugins of the user's own, from a config."""

from pathlib import Path

import pytest

from lamm_cl.errors import UsageError
from lamm_cl.experiments import imports
from lamm_cl.experiments.config import ExperimentConfig, read_config
from lamm_cl.experiments.grid import environment, grid, settings
from lamm_cl.methods.registry import METHODS

METHOD = """
from dataclasses import replace
from lamm_cl.methods import coop
from lamm_cl.methods.registry import register
register(replace(coop.METHOD, name="{name}"))
"""


@pytest.fixture
def write(tmp_path: Path) -> object:
    """Write a method's file and a config that imports it; forget the method afterwards."""
    before = set(METHODS)

    def write(name: str, text: str = METHOD, more: str = "", entry: str = "") -> Path:
        (tmp_path / f"{name}_file.py").write_text(text.replace("{name}", name))
        config = tmp_path / "config.yaml"
        config.write_text(
            f"import: [{entry or f'{name}_file.py'}]\nprotocol: class_incremental\ndatasets: [digits]\n"
            f"methods: {{{name}: {{}}}}\n{more}"
        )
        return config

    yield write
    for name in set(METHODS) - before:
        del METHODS[name]


def test_a_file_brings_its_methods(write: object) -> None:
    config = read_config(write("mine_a"))  # type: ignore[operator]
    assert [method.name for method in config.methods] == ["mine_a"]
    assert {Path(one).name for one in environment(config).imports} == {"mine_a_file.py"}


def test_a_module_is_found_beside_the_config(write: object) -> None:
    config = read_config(write("mine_b", entry="mine_b_file"))  # type: ignore[operator]
    assert environment(config).imports == ("mine_b_file",)


def test_the_content_is_part_of_the_identity(write: object, monkeypatch: pytest.MonkeyPatch) -> None:
    def ids(config: ExperimentConfig) -> list[str]:
        return [run.run_id for run in grid(config)]

    path = write("mine_c")  # type: ignore[operator]
    config = read_config(path)
    plain = config.model_copy(update={"imports": {}})
    assert not set(ids(config)) & set(ids(plain))
    moved = config.model_copy(update={"imports": {"/elsewhere/mine_c_file.py": next(iter(config.imports.values()))}})
    assert ids(moved) == ids(config)
    changed = config.model_copy(update={"imports": dict.fromkeys(config.imports, "0" * 64)})
    assert not set(ids(config)) & set(ids(changed))
    assert settings(config, "cpu") != settings(changed, "cpu")


def test_a_file_that_changed_since_it_was_imported_is_refused(write: object, tmp_path: Path) -> None:
    path = write("mine_d")  # type: ignore[operator]
    config = read_config(path)
    (tmp_path / "mine_d_file.py").write_text("# something else")
    with pytest.raises(UsageError, match="has changed since it was imported"):
        read_config(path)
    with pytest.raises(UsageError, match="has changed since"):
        imports.check(environment(config).imports, grid(config)[0].imports)


def test_files_of_one_name_in_two_folders_do_not_meet(write: object, tmp_path: Path) -> None:
    read_config(write("mine_e"))  # type: ignore[operator]
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine_e_file.py").write_text(METHOD.replace("{name}", "mine_f"))
    imports.load([imports.find("mine_e_file.py", other)])
    assert {"mine_e", "mine_f"} <= set(METHODS)


@pytest.mark.parametrize(
    ("text", "entry", "message"),
    [
        ("", "nowhere.py", r"line 1, import\.0: there is no file .*nowhere\.py"),
        ("", "no_such_module_x", "there is no module 'no_such_module_x'"),
        ("import no_such_module_y", "", r"cannot be imported: ModuleNotFoundError: .* \(line 1 of mine_g_file\.py\)"),
        ("def f(:", "", "cannot be imported: SyntaxError"),
        (METHOD.replace("{name}", "coop"), "", "'coop' is registered already"),
        ("", "7", "takes Python files"),
    ],
)
def test_says_what_cannot_be_imported(write: object, text: str, entry: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_config(write("mine_g", text, entry=entry))  # type: ignore[operator]


PLUGIN = (
    METHOD
    + """
from avalanche.training.plugins import SupervisedPlugin
class Counts(SupervisedPlugin):
    def __init__(self, start=0):
        super().__init__()
        self.start = start
"""
)


def test_plugins_are_options_of_methods(write: object) -> None:
    more = "plugins: {ReplayPlugin: {mem_size: 20}, mine_h_file.Counts: {start: 3}}\n"
    config = read_config(write("mine_h", PLUGIN, more))  # type: ignore[operator]
    (run, *_) = grid(config)
    assert run.options["plugins"] == {"ReplayPlugin": {"mem_size": 20}, "mine_h_file.Counts": {"start": 3}}
    other = config.model_copy(update={"methods": [config.methods[0].model_copy(update={"options": {}})]})
    assert "plugins" not in grid(other)[0].options


@pytest.mark.parametrize(
    ("plugin", "message"),
    [
        ("ReplyPlugin: {}", "Did you mean 'ReplayPlugin'"),
        ("ReplayPlugin: {memsize: 2}", "Did you mean 'mem_size'"),
        ("ReplayPlugin: {mem_size: true}", "ReplayPlugin: mem_size is a number, not true"),
        ("EWCPlugin: {}", "EWCPlugin needs ewc_lambda"),
        ("EWCPlugin: {ewc_lambda: 1, mode: sometimes}", "EWCPlugin does not take"),
        ("RWalkPlugin: {}", "RWalkPlugin does not work with growing labels"),
        ("nowhere.Plugin: {}", r"there is no plugin nowhere\.Plugin"),
        ("lamm_cl.methods.learner.Learner: {}", "is no Avalanche plugin"),
        ("ReplayPlugin: 7", "7"),
    ],
)
def test_says_what_is_wrong_with_a_plugin(write: object, plugin: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_config(write("mine_i", more=f"plugins: {{{plugin}}}\n"))  # type: ignore[operator]
