"""What no run could survive, found out before anything is written: data, weights, class names, device."""

from collections.abc import Iterable, MutableMapping, Sequence
from typing import Any

from lamm_cl.errors import UsageError
from lamm_cl.experiments import imports
from lamm_cl.experiments.spec import Environment, RunSpec
from lamm_cl.methods import text_bank
from lamm_cl.methods.build import build_model
from lamm_cl.methods.registry import get_method
from lamm_cl.methods.stage import Split, missing_images
from lamm_cl.strategies.build import check_class_lists, may_repeat
from lamm_cl.strategies.settings import sort_options
from lamm_cl.streams.build import build_layout
from lamm_cl.streams.layout import require_pictures, require_words


def check(
    specs: Sequence[RunSpec], environment: Environment, device: str, loaded: MutableMapping[Any, Any]
) -> dict[str, str]:
    """Read every data set, load every backbone, and put every method together once.

    Returns fingerprints of data sets and weights, by name; the last backbones stay loaded for the runs. Raises
    `UsageError` with everything that was found, in one message.
    """
    imports.load(environment.imports)
    layouts = _layouts(specs, environment)
    from lamm_cl.experiments.run_one import backbone_of  # after the data's check: a wrong one is answered before

    problems: list[str] = []
    found = {f"data.{one.name}": one.fingerprint for layout in layouts.values() for one in layout.datasets}
    by_weights: dict[Any, list[RunSpec]] = {}
    for spec in specs:
        by_weights.setdefault((spec.backbone, spec.pretrained, spec.resize_mode), []).append(spec)
    for (name, weights, _), own in by_weights.items():
        try:
            backbone, _ = backbone_of(own[0], device, environment, loaded)
        except UsageError as error:
            problems.append(str(error))
            continue
        found[f"weights.{name}" + (f" ({weights})" if weights else "")] = backbone.fingerprint
        looks_at = {
            spec.label: _collect(problems, _assemble, spec, backbone, layouts[_data(spec)], environment)
            for spec in _one_of_each(own)
        }
        for spec in own:
            layout = layouts[_data(spec)]
            missing = [split for split in sorted(looks_at[spec.label] or ()) if not getattr(layout, split)]
            problems += [f"{spec.dataset}: {missing_images(spec.method, split)}" for split in missing[:1]]
    _raise(problems)
    return found


def _layouts(specs: Iterable[RunSpec], environment: Environment) -> dict[str, Any]:
    """Draw every distinct stream, look for its images, and return a layout for each data; one `UsageError` says all."""
    problems: list[str] = []
    layouts: dict[str, Any] = {}
    drawings: dict[str, list[Any]] = {}
    drawn = {(_data(spec), spec.shots, spec.seed): spec for spec in specs}
    for (key, _, _), spec in drawn.items():
        known = layouts.get(key)
        if known is None and key in layouts:
            continue  # what is wrong with this data was said
        root, options = environment.root, spec.protocol_options
        try:
            data = environment.placed(spec.datasets) if known is None else known.datasets  # read from disk once
            layout = build_layout(spec.protocol, data, spec.shots, spec.seed, root, **options, check_images=False)
        except UsageError as error:
            problems.append(str(error))
            layout = None
        layouts.setdefault(key, layout)
        drawings.setdefault(key, []).append(layout)
    for some in drawings.values():  # no image is asked for twice, however many runs draw it
        _collect(problems, require_pictures, *(layout for layout in some if layout is not None))
    _raise(problems)
    return layouts


def _data(spec: RunSpec) -> str:
    return repr(spec.datasets)


def _one_of_each(specs: Sequence[RunSpec]) -> list[RunSpec]:
    """Return a run of each method on the first data, and of the first, or those that name classes, on all data."""
    first = specs[0]
    chosen = {
        (spec.label, _data(spec)): spec
        for spec in reversed(specs)
        if _data(spec) == _data(first) or spec.label == first.label or text_bank.names_classes(spec.options)
    }
    return list(chosen.values())


def _assemble(spec: RunSpec, backbone: Any, layout: Any, environment: Environment) -> frozenset[Split]:
    """Build a model, which checks options, names and backbone; return what it sees beside the training set."""
    lists = [(one.class_names, one.template) for one in layout.datasets]
    if get_method(spec.method).has_text_prompts:
        require_words(layout.numbered, spec.method)
        check_class_lists(backbone, lists)
    options = sort_options(spec.method, backbone.name, environment.found(spec.options), ["plugins"]).method
    names, shots = layout.class_names, spec.shots if isinstance(spec.shots, int) else 16
    of_data = {"class_templates": layout.templates, "repeated_names": may_repeat(names, lists)}
    return build_model(spec.method, backbone, names, shots=shots, learn=False, **of_data, **options).looks_at


def _collect(problems: list[str], work: Any, *arguments: Any) -> Any:
    try:
        return work(*arguments)
    except UsageError as error:
        problems.append(str(error))
        return None


def _raise(problems: Sequence[str]) -> None:
    different = list(dict.fromkeys(problems))
    if len(different) == 1:
        raise UsageError(different[0])
    if different:
        raise UsageError(f"{len(different)} things are in the way:\n  " + "\n  ".join(different))
