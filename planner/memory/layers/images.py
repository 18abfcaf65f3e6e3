"""The embedding of an image's patches, as ViT computes it."""

from __future__ import annotations

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Tensor


def pixels(f: Ops, elements: int, itemsize: int) -> Tensor:
    """The batch's images, which the caller holds in fp32, in the weights' dtype (ViTModel.forward)."""
    return f.to(Tensor(None, 0, elements, 1, FP32, None), itemsize, "image")


def patches(f: Ops, image: Tensor, weight: Tensor, bias: Tensor, width: int) -> Tensor:
    """A convolution whose kernels do not overlap: saves the image for the weights' gradient and, though nobody asks for
    the image's, the weights (derivatives.yaml, `convolution`)."""
    image = f.autocast_input(image, "image in half precision")
    weights = [f.autocast_weight(w, "patch weight") for w in (weight, bias)]
    elements = (f.sequence_length - 1) * width
    flops = 2 * elements * weight.fixed // width
    saved = [f.tape.save(x) for x in (image, weights[0])] if weight.variable is not None else []
    out = f.product(elements, width, image.itemsize, "patches", image, *weights, flops=flops)
    return f.differentiate(out, f.own_targets(*weights), saved, flops=flops)


def with_class_token(f: Ops, x: Tensor, token: Tensor, positions: Tensor) -> Tensor:
    """The class token before the patches, and a learned position added to each: parameters in their own dtype, to which
    the patches are promoted."""
    elements = x.per_sample + x.width
    x = f.to(x, max(x.itemsize, token.itemsize), "patches promoted")
    joined = f.tensor(elements, x.width, x.itemsize, "class token and patches", token, x)
    f.pass_on(joined, (token, x))
    return f.add(joined, positions, "embedded image")
