"""The names of UAIR's own passes, targets, frontends and vendors' operators: each is imported only when it is used.

A test checks that every name resolves and agrees with the object's own name.
"""

from __future__ import annotations

FRONTENDS = {
    "keras": "uair.frontends.keras:load",
    "onnx": "uair.frontends.onnx:load",
    "torch": "uair.frontends.torch:load",
    "tflite": "uair.frontends.tflite:load",
    "uair": "uair.text:load",
    "tensorflow": "uair.frontends.tensorflow:load",
}

OPERATORS = {
    "AscendAntiQuant": "uair.codegen.ascend.ops:AscendAntiQuant",
    "AscendDequant": "uair.codegen.ascend.ops:AscendDequant",
    "AscendQuant": "uair.codegen.ascend.ops:AscendQuant",
}
"""Operators of vendors, which only their target's lowering makes; the canonical ones are in uair.ops."""

PASSES = {
    "apply-rules": "uair.passes.apply_rules:ApplyRules",
    "bind-inputs": "uair.passes.bind_inputs:BindInputs",
    "bind-shapes": "uair.passes.bind_shapes:BindShapes",
    "canonicalise": "uair.passes.canonicalise:Canonicalise",
    "clip-gates": "uair.passes.clip_gates:ClipGates",
    "counted-loops": "uair.passes.counted_loops:CountedLoops",
    "eliminate-common-subexpressions": "uair.passes.eliminate_common_subexpressions:EliminateCommonSubexpressions",
    "eliminate-dead-code": "uair.passes.eliminate_dead_code:EliminateDeadCode",
    "finite-constants": "uair.passes.finite_constants:FiniteConstants",
    "flatten-linear": "uair.passes.flatten_linear:FlattenLinear",
    "float-weights": "uair.codegen.tensorrt.weights:FloatWeights",
    "fold-constants": "uair.passes.fold_constants:FoldConstants",
    "fold-long-convolutions": "uair.passes.fold_long_convolutions:FoldLongConvolutions",
    "fold-shapes": "uair.passes.fold_shapes:FoldShapes",
    "fuse": "uair.passes.fuse:Fuse",
    "inline-branches": "uair.passes.inline_branches:InlineBranches",
    "last-state-of-outputs": "uair.passes.last_state:LastStateOfOutputs",
    "layout-align": "uair.passes.layout_align:LayoutAlign",
    "legalise": "uair.passes.legalise:Legalise",
    "legalise-lowest": "uair.codegen.onnx.opsets:LegaliseLowest",
    "legalise-onnx": "uair.passes.legalise_onnx:LegaliseOnnx",
    "log-of-squares": "uair.passes.log_of_squares:LogOfSquares",
    "lower-to-ascend": "uair.codegen.ascend.lower:LowerToAscend",
    "lower-to-integer": "uair.passes.lower_to_integer:LowerToInteger",
    "narrow-float64": "uair.passes.narrow_float64:NarrowFloat64",
    "narrow-floats": "uair.passes.narrow_floats:NarrowFloats",
    "partition": "uair.passes.partition:Partition",
    "plan-layout": "uair.codegen.ascend.plan_layout:PlanLayout",
    "pool-as-image": "uair.passes.pool_as_image:PoolAsImage",
    "propagate-layout": "uair.passes.propagate_layout:PropagateLayout",
    "prune-2-4": "uair.passes.prune_two_four:PruneTwoFour",
    "prune-channels": "uair.passes.prune_channels:PruneChannels",
    "quantize-int8": "uair.passes.quantize_int8:QuantizeInt8",
    "quantize-weights": "uair.passes.quantize_weights:QuantizeWeights",
    "recognize-attention": "uair.passes.recognize_attention:RecognizeAttention",
    "recognize-lstm": "uair.passes.recognize_lstm:RecognizeLstm",
    "recognize-recurrent": "uair.passes.recurrent.recognize:RecognizeRecurrent",
    "remove-quantization": "uair.passes.remove_quantization:RemoveQuantization",
    "root-of-squares": "uair.passes.root_of_squares:RootOfSquares",
    "simplify": "uair.passes.simplify:Simplify",
    "stage-means": "uair.passes.stage_means:StageMeans",
    "store-weights": "uair.passes.store_weights:StoreWeights",
    "target-rewrites": "uair.passes.target_rewrites:TargetRewrites",
    "unsigned-integers": "uair.passes.unsigned_integers:UnsignedIntegers",
    "watch-outputs": "uair.codegen.thead.outputs:WatchOutputs",
    "widen-floats": "uair.passes.widen_floats:WidenFloats",
}

TARGETS = {
    "ascend310": "uair.codegen.ascend:AscendTarget",
    "ascend310b": "uair.codegen.ascend:AscendTarget",
    "ascend310p": "uair.codegen.ascend:AscendTarget",
    "ascend910b": "uair.codegen.ascend:AscendTarget",
    "br100": "uair.codegen.biren:BirenTarget",
    "br104": "uair.codegen.biren:BirenTarget",
    "c920": "uair.codegen.thead:THeadTarget",
    "cpu": "uair.codegen.cpu:CpuTarget",
    "hanguang800": "uair.codegen.hanguang:HanguangTarget",
    "horizon_j5": "uair.codegen.horizon:HorizonTarget",
    "horizon_j6e": "uair.codegen.horizon:HorizonTarget",
    "horizon_j6m": "uair.codegen.horizon:HorizonTarget",
    "horizon_x3": "uair.codegen.horizon:HorizonTarget",
    "horizon_x5": "uair.codegen.horizon:HorizonTarget",
    "hygon": "uair.codegen.cpu:CpuTarget",
    "jetson_orin": "uair.codegen.tensorrt:TensorrtTarget",
    "kunlun_k200": "uair.codegen.kunlun:KunlunTarget",
    "kunlun_r200": "uair.codegen.kunlun:KunlunTarget",
    "loongson": "uair.codegen.cpu:InterpretedCpuTarget",
    "mlu370": "uair.codegen.cambricon:CambriconTarget",
    "mlu590": "uair.codegen.cambricon:CambriconTarget",
    "phytium": "uair.codegen.cpu:CpuTarget",
    "reference": "uair.codegen.reference:ReferenceTarget",
    "rk3566": "uair.codegen.rockchip:RockchipTarget",
    "rk3576": "uair.codegen.rockchip:RockchipTarget",
    "rk3588": "uair.codegen.rockchip:RockchipTarget",
    "th1520": "uair.codegen.thead:NpuTarget",
    "x86_ref": "uair.codegen.thead:THeadTarget",
}
"""A class is called with the target's name: the chips of a family differ in their device descriptions only."""
