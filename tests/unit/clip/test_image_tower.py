"""The image tower equals open_clip's, with prompts where the published codes put them."""

import pytest
import torch

from lamm_cl.clip.image_tower import ImageTower, patches
from lamm_cl.errors import UsageError
from tests.unit.clip.image_models import F64, TOWERS, images, tower_prompts


def frozen(model):
    return model.eval().requires_grad_(False).to(F64)


def reference(visual, x, first, deep=()):
    """The same computation in open_clip's own modules, every position in every layer."""
    n = first.shape[-2]
    x = visual.conv1(x).flatten(2).transpose(1, 2)
    cls = visual.class_embedding.expand(len(x), 1, -1)
    x = torch.cat([cls, x], 1) + visual.positional_embedding
    x = visual.ln_pre(torch.cat([x, first.expand(len(x), -1, -1)], 1))
    for i, block in enumerate(visual.transformer.resblocks):
        if 0 < i <= len(deep):
            x = torch.cat([x[:, :-n], deep[i - 1].expand(len(x), -1, -1)], 1)
        x = block(x)
    return visual._pool(x[:, :-n])[0] @ visual.proj, visual.ln_post(x) @ visual.proj if not visual.attn_pool else None


@pytest.mark.parametrize("kind", TOWERS)
def test_without_prompts_it_is_open_clips_own_feature(small, kind):
    model = frozen(small(**TOWERS[kind]))
    tower = ImageTower(model)
    x = images(tower)
    torch.testing.assert_close(tower(x), model.encode_image(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [k for k in TOWERS if k != "ResNet"])
@pytest.mark.parametrize("depth", [1, 2, 3])
def test_prompts_give_the_plain_computations_value_and_gradient(small, kind, depth):
    model = frozen(small(**TOWERS[kind]))
    tower = ImageTower(model)
    x = images(tower)
    given = [tower_prompts(tower, 2, seed=i) for i in range(depth)]
    out = tower(x, given[0], given[1:])
    expected, _ = reference(model.visual, x, given[0], given[1:])
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)
    weight = torch.randn(out.shape, generator=torch.Generator().manual_seed(3), dtype=F64)
    ours = torch.autograd.grad((out * weight).sum(), given)
    theirs = torch.autograd.grad((expected * weight).sum(), given)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


def test_each_image_may_have_prompts_of_its_own(small):
    model = frozen(small())
    tower = ImageTower(model)
    x, own, deep = images(tower), tower_prompts(tower, 3, 2), tower_prompts(tower, 3, 2, seed=5)
    together = tower(x, own, [deep])
    alone = torch.cat([tower(x[i : i + 1], own[i], [deep[i]]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("kind", ["GELU", "averaged", "custom blocks"])
def test_each_image_with_several_sets_of_prompts(small, kind, depth):
    model = frozen(small(**TOWERS[kind]))
    tower = ImageTower(model)
    x, sets = images(tower), [tower_prompts(tower, 3 * 2, 2, seed=i) for i in range(depth)]
    found = tower(x, sets[0], sets[1:])
    expected = tower(x.repeat_interleave(2, 0), sets[0], sets[1:])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    ours, theirs = (torch.autograd.grad((out**2).sum(), sets) for out in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11)


@pytest.mark.parametrize("kind", ["GELU", "averaged"])
def test_token_features_are_all_projected_tokens_without_gradient(small, kind):
    model = frozen(small(**TOWERS[kind]))
    tower = ImageTower(model)
    x, first, deep = images(tower), tower_prompts(tower, 2), tower_prompts(tower, 2, seed=5)
    feature, tokens = tower(x, first, [deep], tokens=True)
    expected, every = reference(model.visual, x, first, [deep])
    torch.testing.assert_close(feature, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(tokens, every, rtol=0, atol=1e-12)
    assert feature.requires_grad
    assert not tokens.requires_grad
    assert tokens.shape == (3, 1 + 16 + 2, 24)


def test_gradients_reach_the_prompts_and_nothing_else(small):
    model = frozen(small())
    tower = ImageTower(model)
    x, first = images(tower), tower_prompts(tower, 2)
    assert not tower(x).requires_grad
    tower(x, first).sum().backward()
    assert first.grad is not None
    assert all(parameter.grad is None for parameter in model.parameters())


def test_patches_that_do_not_fill_the_image_are_cut_as_by_the_convolution():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 3, 21, 34, generator=generator, dtype=F64)
    weight = torch.randn(5, 3, 4, 8, generator=generator, dtype=F64)
    expected = torch.nn.functional.conv2d(x, weight, stride=(4, 8)).flatten(2).transpose(1, 2)
    torch.testing.assert_close(patches(x, (4, 8)) @ weight.flatten(1).t(), expected)


def test_a_tower_that_is_not_square(small):
    model = frozen(small(vision={"image_size": (32, 16)}))
    tower = ImageTower(model)
    assert tower.image_size == (32, 16)
    x = images(tower)
    torch.testing.assert_close(tower(x), model.encode_image(x), rtol=0, atol=1e-12)


def test_what_it_says_of_itself(small):
    tower = ImageTower(frozen(small()))
    assert (tower.supports_prompts, tower.width, tower.layers) == (True, 48, 3)
    other = ImageTower(frozen(small(**TOWERS["ResNet"])))
    assert (other.supports_prompts, other.width, other.layers) == (False, 0, 0)


def test_wrong_use_is_named(small):
    tower = ImageTower(frozen(small()))
    x, first = images(tower), tower_prompts(tower, 2)
    with pytest.raises(UsageError, match=r"\(batch, 3, 32, 32\).*\(3, 3, 16, 16\)"):
        tower(x[:, :, :16, :16])
    with pytest.raises(UsageError, match=r"got \(3, 32, 32\)"):
        tower(x[0])
    with pytest.raises(UsageError, match="4 layers of visual prompts, but the image tower has 3"):
        tower(x, first, [first] * 3)
    with pytest.raises(UsageError, match="give `prompts` as well"):
        tower(x, None, [first])
    with pytest.raises(UsageError, match=r"width 48.*\(2, 47\)"):
        tower(x, first[:, 1:])
    resnet = ImageTower(frozen(small(**TOWERS["ResNet"])))
    with pytest.raises(UsageError, match="ModifiedResNet takes no prompts"):
        resnet(images(resnet), first)


def test_half_precision_prompts_and_images_follow_the_weights(small):
    from lamm_cl.clip.precision import cast

    model = small().eval().requires_grad_(False)
    full = ImageTower(model)
    x = images(full).float()
    first = tower_prompts(full, 2).float().detach().requires_grad_()
    expected = full(x, first).detach()
    cast(model, torch.bfloat16)
    out = ImageTower(model)(x.bfloat16(), first)
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), expected, rtol=0.1, atol=0.1)
    out.float().sum().backward()
    assert first.grad is not None
    assert first.grad.dtype == torch.float32


def test_autocast_stays_close(small):
    model = small().eval().requires_grad_(False)
    tower = ImageTower(model)
    x, first = images(tower).float(), tower_prompts(tower, 2).float()
    expected = tower(x, first)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(tower(x, first).float(), expected, rtol=0.1, atol=0.1)
