"""Says how a quantized base model is stored: its linear layers, and what is left unquantized."""

from __future__ import annotations

from collections.abc import Mapping

from strategies.choice import Choice


class Quantization(Choice):
    """Says how QLoRA stores the base model's linear layers.

    GPTQ and AWQ use groups of 128 and the GPTQModel kernels that `backend=auto_trainable` selects
    (gptqmodel/utils/importer.py). For GPTQ this is `TritonV2Linear`, which trains with torch's matrix products: the
    weight is dequantized in forward and kept for backward. For AWQ it is `AwqGEMMTritonLinear`, which multiplies in
    fp16 and dequantizes again in backward. So does AutoGPTQ's own kernel for GPTQ, `QuantLinear` with
    `use_tritonv2=True` (auto_gptq/nn_modules/qlinear/qlinear_tritonv2.py), which fms-acceleration trains with as well.
    """

    NONE = "none", "not quantized"
    NF4 = "nf4", "NF4, fp32 scale per 64 elements"
    NF4_DOUBLE = "nf4-double", "NF4 with scales quantized to 8 bits"
    INT8 = "int8", "bitsandbytes LLM.int8(), fp32 scale per row, outliers apart"
    GPTQ = "gptq-4bit", "GPTQ in 4 bits, groups of 128; GPTQModel keeps each dequantized weight for backward"
    GPTQ_TRITON = "gptq-4bit-triton", "the same, but AutoGPTQ's Triton kernel dequantizes again in backward, fp16"
    AWQ = "awq-4bit", "AWQ in 4 bits, groups of 128; GPTQModel's Triton kernel, fp16"

    @classmethod
    def spellings(cls) -> Mapping[str, str]:
        """Returns the flags of transformers' `BitsAndBytesConfig`, and how the names of such checkpoints end."""
        four, eight = ("4bit", "4-bit", "load_in_4bit", "bnb-4bit"), ("8bit", "8-bit", "load_in_8bit", "bnb-8bit")
        return {**dict.fromkeys(four, cls.NF4), **dict.fromkeys(eight, cls.INT8)}

    @classmethod
    def mistaken(cls) -> Mapping[str, str]:
        """Returns the nearest choices of other names.

        Those of other formats in 4 bits mean NF4; the name of a library alone does not say the number of bits.
        """
        four, eight = dict.fromkeys(("int4", "fp4", "q4", "4"), "nf4"), {"8": "int8"}
        return {**four, **eight, **dict.fromkeys(("bnb", "bitsandbytes"), "nf4 or int8")}

    @property
    def by_bitsandbytes(self) -> bool:
        """Returns whether the layers are those of bitsandbytes."""
        return self in (Quantization.NF4, Quantization.NF4_DOUBLE, Quantization.INT8)

    @property
    def is_nf4(self) -> bool:
        """Returns whether weights are packed as NF4, with or without double quantization."""
        return self in (Quantization.NF4, Quantization.NF4_DOUBLE)

    @property
    def shards(self) -> bool:
        """Whether FSDP2 can shard the quantized weights: NF4 is packed into elements of a floating-point dtype.

        `bnb_4bit_quant_storage` names that dtype, which must be the one that FSDP2 gathers. In uint8 accelerate leaves
        the weights unsharded (accelerate/utils/fsdp_utils.py, `fsdp2_prepare_model`).
        """
        return self.is_nf4

    @property
    def flattens(self) -> bool:
        """Whether FSDP1 can join the quantized weights to flat parameters: all that shard, and AutoGPTQ's with Triton.

        GPTQ's packed weights are buffers of int32. fms-acceleration makes parameters of `qweight` and `qzeros`, viewed
        in the dtype of the model, and views them as int32 again in forward; scales and the groups of inputs stay
        buffers (fms_acceleration_peft/autogptq_utils.py, `build_patch_to_view_tensor_to_parameter_for_fsdp_gptq`).
        Nobody does so for GPTQModel's own layers.
        """
        return self.shards or self is Quantization.GPTQ_TRITON

    @property
    def is_gptq(self) -> bool:
        """Returns whether the weights are those of GPTQ, a model that PEFT does not prepare.

        Source: peft/utils/other.py, `prepare_model_for_kbit_training` (`is_gptq_quantized`).
        """
        return self in (Quantization.GPTQ, Quantization.GPTQ_TRITON)

    @property
    def from_checkpoint(self) -> bool:
        """Returns whether somebody has calibrated the weights; GPTQModel's or AutoGPTQ's kernels multiply by them."""
        return self.is_gptq or self is Quantization.AWQ


class ExpertQuantization(Choice):
    """Says whether the experts of a mixture are quantized as other linear layers are.

    transformers 5 keeps the experts of a block as parameters of three dimensions, and bitsandbytes quantizes linear
    layers alone. In transformers 4 each expert is a module with linear layers of its own, as it still is where a
    trainer takes the experts apart before it quantizes them.
    """

    NONE = "none", "fused experts are not quantized: transformers 5 quantizes linear layers alone"
    SAME = "same", "each expert has linear layers of its own, quantized as all others (transformers 4)"


class UnquantizedDtype(Choice):
    """Says which dtype those weights have that a quantized base leaves unquantized: embeddings, norms and the head.

    PEFT's `prepare_model_for_kbit_training` makes them fp32; TRL 1.x, LLaMA-Factory, axolotl and ms-swift train without
    it, or cast them back. PEFT prepares no GPTQ model: there they stay as loaded.
    """

    FP32 = "fp32", "fp32, as PEFT's prepare_model_for_kbit_training leaves them"
    BF16 = "bf16", "bf16, as they are loaded"
    FP16 = "fp16", "fp16, as they are loaded"
