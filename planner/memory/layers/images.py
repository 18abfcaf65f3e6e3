"""Implements the embedding of an image's patches on symbolic tensors, as ViT computes it."""

from __future__ import annotations

from planner.memory.autograd.ops import FP32, Ops
from planner.memory.autograd.tape import Tensor


def pixels(f: Ops, elements: int, itemsize: int) -> Tensor:
    """Returns the batch's images in the weights' dtype (ViTModel.forward).

    The fp32 images themselves belong to the caller and are not counted.

    Args:
        f: Operations on the tape.
        elements: Numbers in one image, over all channels.
        itemsize: Bytes per element of the weights.
    """
    return f.to(Tensor(None, 0, elements, 1, FP32, None), itemsize, "image")


def patches(f: Ops, image: Tensor, weight: Tensor, bias: Tensor, width: int) -> Tensor:
    """Returns a row for each patch, by a convolution whose kernels do not overlap.

    It saves the image for the weights' gradient and also the weights, although no gradient of the image is asked for
    (derivatives.yaml, `convolution`).

    Args:
        f: Operations on the tape.
        image: Images, `[channels, height, width]` per sample.
        weight: Weight of the convolution.
        bias: Bias of the convolution.
        width: Columns of a row.
    """
    image = f.autocast_input(image, "image in half precision")
    weights = [f.autocast_weight(w, "patch weight") for w in (weight, bias)]
    elements = (f.sequence_length - 1) * width
    flops = 2 * elements * weight.fixed // width
    saved = [f.tape.save(x) for x in (image, weights[0])] if weight.variable is not None else []
    out = f.product(elements, width, image.itemsize, "patches", image, *weights, flops=flops)
    return f.differentiate(out, f.own_targets(*weights), saved, flops=flops)


def with_class_token(f: Ops, x: Tensor, token: Tensor, positions: Tensor) -> Tensor:
    """Returns the class token in front of the patches, with a learned position added to each row.

    Token and positions are parameters in their own dtype, to which the patches are promoted.

    Args:
        f: Operations on the tape.
        x: Rows of the patches, `[patches, width]` per sample.
        token: The class token, of `width` elements.
        positions: The learned positions, `[patches + 1, width]`.
    """
    elements = x.per_sample + x.width
    x = f.to(x, max(x.itemsize, token.itemsize), "patches promoted")
    joined = f.tensor(elements, x.width, x.itemsize, "class token and patches", token, x)
    f.pass_on(joined, (token, x))
    return f.add(joined, positions, "embedded image")
