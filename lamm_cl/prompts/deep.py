"""Learned tokens inside the layers: none, independent in each tower, or coupled from text to vision.

In half precision they stay in float32 and are rounded where they enter a layer, as in the released codes: only the
learned context and the projection of the first layer's tokens are float16 there.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from lamm_cl.prompts.vectors import Initial


class Deep(nn.Module):
    """No token inside the layers; the base of the others."""

    vision: bool = False  # whether tokens enter the image tower
    coupled: bool = False  # whether those are made from the text's

    def text(self, variant: int) -> Sequence[Tensor]:
        """Return the vectors (n, D) that replace the context before text layers 1, 2, ..."""
        return ()

    def image(self, context: Tensor | None) -> tuple[Tensor | None, Sequence[Tensor]]:
        """Return the image tower's tokens for the input and for layers 1, 2, ...: (n, W), or (v, n, W) for v prompts.

        The coupled kind makes them of the learned context vectors (n, D) or (v, n, D).
        """
        return None, ()


class IndependentDeep(Deep):
    """Tokens of each tower for itself (VPT, Jia et al. 2022; deep language and independent prompting of MaPLe's code).

    Args:
        vision: (number of tokens, width, depth) in the image tower; depth 1 = at the input only, 0 = none.
        text: the same for the text tower, whose input tokens are the learned context: depth d adds d - 1 layers.
        initial: source of random values.
    """

    def __init__(self, vision: tuple[int, int, int], text: tuple[int, int, int], initial: Initial) -> None:
        super().__init__()
        initial = initial.at_least_float
        count, width, depth = vision
        self.vision = depth > 0
        self.vision_prompts = nn.ParameterList(
            [nn.Parameter(initial.normal(f"vision/{layer}", count, width)) for layer in range(depth)]
        )
        count, width, depth = text
        self.text_prompts = nn.ParameterList(
            [nn.Parameter(initial.normal(f"text/{layer}", count, width)) for layer in range(1, depth)]
        )

    def text(self, variant: int) -> Sequence[Tensor]:
        """Return the text tower's vectors."""
        return tuple(self.text_prompts)

    def image(self, context: Tensor | None) -> tuple[Tensor | None, Sequence[Tensor]]:
        """Return the image tower's vectors."""
        prompts = tuple(self.vision_prompts)
        return (prompts[0], prompts[1:]) if prompts else (None, ())


class CoupledDeep(Deep):
    """Text tokens, and image tokens that are linear functions of them (MaPLe, Khattak et al. 2023, section 3.3)."""

    vision = True
    coupled = True

    def __init__(
        self,
        depth: int,  # layers that get tokens, counting the input
        n_ctx: int,  # tokens
        text_width: int,
        vision_width: int,
        initial: Initial,
        variants: int = 1,  # prompts, which share the projections (ALIGN)
        clones: bool = True,
    ) -> None:
        super().__init__()
        shape = (n_ctx, text_width) if variants == 1 else (variants, n_ctx, text_width)
        self._variants = variants
        self.proj = initial.linear("proj", text_width, vision_width)
        initial = initial.at_least_float
        self.compound_prompts_text = nn.ParameterList(
            [nn.Parameter(initial.normal(f"compound/{layer}", *shape)) for layer in range(1, depth)]
        )
        # Clones start as copies of one layer, as in the released codes of MaPLe and ALIGN (`_get_clones`), the others
        # each at random. They train apart either way.
        draws = [1] * (depth - 1) if clones else range(1, depth)
        self.compound_prompt_projections = nn.ModuleList(
            [initial.linear(f"compound_proj/{draw}", text_width, vision_width) for draw in draws]
        )

    def text(self, variant: int) -> Sequence[Tensor]:
        """Return the text tower's vectors of one prompt."""
        return tuple(p if self._variants == 1 else p[variant] for p in self.compound_prompts_text)

    def image(self, context: Tensor | None) -> tuple[Tensor | None, Sequence[Tensor]]:
        """Return the projected vectors."""
        assert context is not None
        pairs = zip(self.compound_prompt_projections, self.compound_prompts_text, strict=True)
        return self.proj(context), tuple(projection(prompt) for projection, prompt in pairs)
