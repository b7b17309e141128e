"""What no run could survive, found out before anything is written: data, weights, class names, device."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
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


def check(specs: Sequence[RunSpec], environment: Environment, device: str) -> dict[str, str]:
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
        with _noted(problems):
            backbone, _ = backbone_of(own[0], device, environment)
            found[f"weights.{name}" + (f" ({weights})" if weights else "")] = backbone.fingerprint
            looks_at: dict[str, frozenset[Split]] = {}
            for spec in _one_of_each(own):
                with _noted(problems):
                    looks_at[spec.label] = _assemble(spec, backbone, layouts[_data(spec)], environment)
            for spec in own:
                layout = layouts[_data(spec)]
                missing = [split for split in sorted(looks_at.get(spec.label, ())) if not getattr(layout, split)]
                problems += [f"{spec.dataset}: {missing_images(spec.method, split)}" for split in missing[:1]]
    _raise(problems)
    return found


def _layouts(specs: Iterable[RunSpec], environment: Environment) -> dict[str, Any]:
    """Draw every distinct stream, look for its images, and return a layout for each data; one `UsageError` says all."""
    problems: list[str] = []
    drawings: dict[str, list[Any]] = {}
    drawn = {(_data(spec), spec.shots, spec.seed): spec for spec in specs}
    for (key, _, _), spec in drawn.items():
        some = drawings.get(key)
        if some == []:
            continue  # what is wrong with this data was said
        some = drawings.setdefault(key, [])
        root, options = environment.root, spec.protocol_options
        with _noted(problems):
            data = some[0].datasets if some else environment.placed(spec.datasets)  # read from disk once
            some.append(build_layout(spec.protocol, data, spec.shots, spec.seed, root, **options, check_images=False))
    for some in drawings.values():  # no image is asked for twice, however many runs draw it
        with _noted(problems):
            require_pictures(*some)
    _raise(problems)
    return {key: some[0] for key, some in drawings.items()}


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


@contextlib.contextmanager
def _noted(problems: list[str]) -> Iterator[None]:
    """Go on after what is refused inside, which is one of the problems."""
    try:
        yield
    except UsageError as error:
        problems.append(str(error))


def _raise(problems: Sequence[str]) -> None:
    different = list(dict.fromkeys(problems))
    if len(different) == 1:
        raise UsageError(different[0])
    if different:
        raise UsageError(f"{len(different)} things are in the way:\n  " + "\n  ".join(different))
