"""Files of weights in the forms that people have."""

import warnings

import torch
from safetensors.torch import save_file


def never(*_, **__):
    """Stand for the network, or for work that must not begin."""
    raise AssertionError("the network was asked")


def saved(model, file, form):
    """Save a model's weights in one of the forms that people have."""
    state = model.state_dict()
    if form == "safetensors":
        save_file(state, file)
    elif form == "bare":
        torch.save(state, file)
    elif form == "checkpoint":
        state = {f"module.{key}": tensor for key, tensor in state.items()}
        torch.save({"epoch": 3, "name": "x", "state_dict": state}, file)
    return file


def torchscript(model, file):
    """Write what OpenAI published: a TorchScript archive in half precision with three scalars beside the weights."""
    model = model.eval()
    for name, value in {"input_resolution": 32, "context_length": 32, "vocab_size": 49408}.items():
        if hasattr(model, name):
            delattr(model, name)
        model.register_buffer(name, torch.tensor(value))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Visual(model).eval(), torch.zeros(1, 3, 32, 32), check_trace=False), file)
    return file


class Visual(torch.nn.Module):
    """A model whose forward can be traced; its state dict is that of the model it holds."""

    def __init__(self, model):
        super().__init__()
        for name, child in model.named_children():
            self.add_module(name, child)
        for name, parameter in model.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        for name, buffer in model.named_buffers(recurse=False):
            if name != "attn_mask":
                self.register_buffer(name, buffer)

    def forward(self, images):
        return self.visual(images)
