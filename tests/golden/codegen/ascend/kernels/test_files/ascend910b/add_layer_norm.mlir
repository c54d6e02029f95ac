module {
  func.func @add_layer_norm(%arg0: tensor<4x24xf16>, %arg1: tensor<4x24xf16>, %arg2: tensor<24xf16>, %arg3: tensor<24xf16>) -> tensor<4x24xf16>
      attributes {hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>} {
    %cst0 = arith.constant 0.0e+00 : f32
    %cst1 = arith.constant 4.1666668e-02 : f32
    %cst2 = arith.constant 1.0e-05 : f32
    %0 = tensor.empty() : tensor<4x24xf32>
    %1 = hfusion.cast {mode = #hfusion.round_mode<rint>} ins(%arg0 : tensor<4x24xf16>) outs(%0 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %2 = tensor.empty() : tensor<4x24xf32>
    %3 = hfusion.cast {mode = #hfusion.round_mode<rint>} ins(%arg1 : tensor<4x24xf16>) outs(%2 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %4 = tensor.empty() : tensor<4x24xf32>
    %5 = linalg.elemwise_binary {fun = #linalg.binary_fn<add>} ins(%1, %3 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%4 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %6 = tensor.empty() : tensor<4xf32>
    %7 = linalg.fill ins(%cst0 : f32) outs(%6 : tensor<4xf32>) -> tensor<4xf32>
    %8 = linalg.reduce {arith.addf} ins(%5 : tensor<4x24xf32>) outs(%7 : tensor<4xf32>) dimensions = [1]
    %9 = tensor.empty() : tensor<4xf32>
    %10 = linalg.elemwise_binary {fun = #linalg.binary_fn<mul>} ins(%8, %cst1 : tensor<4xf32>, f32) outs(%9 : tensor<4xf32>) -> tensor<4xf32>
    %11 = tensor.empty() : tensor<4x24xf32>
    %12 = linalg.broadcast ins(%10 : tensor<4xf32>) outs(%11 : tensor<4x24xf32>) dimensions = [1]
    %13 = tensor.empty() : tensor<4x24xf32>
    %14 = linalg.elemwise_binary {fun = #linalg.binary_fn<sub>} ins(%5, %12 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%13 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %15 = tensor.empty() : tensor<4x24xf32>
    %16 = linalg.elemwise_binary {fun = #linalg.binary_fn<mul>} ins(%14, %14 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%15 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %17 = tensor.empty() : tensor<4xf32>
    %18 = linalg.fill ins(%cst0 : f32) outs(%17 : tensor<4xf32>) -> tensor<4xf32>
    %19 = linalg.reduce {arith.addf} ins(%16 : tensor<4x24xf32>) outs(%18 : tensor<4xf32>) dimensions = [1]
    %20 = tensor.empty() : tensor<4xf32>
    %21 = linalg.elemwise_binary {fun = #linalg.binary_fn<mul>} ins(%19, %cst1 : tensor<4xf32>, f32) outs(%20 : tensor<4xf32>) -> tensor<4xf32>
    %22 = tensor.empty() : tensor<4xf32>
    %23 = linalg.elemwise_binary {fun = #linalg.binary_fn<add>} ins(%21, %cst2 : tensor<4xf32>, f32) outs(%22 : tensor<4xf32>) -> tensor<4xf32>
    %24 = tensor.empty() : tensor<4xf32>
    %25 = hfusion.elemwise_unary {fun = #hfusion.unary_fn<sqrt>} ins(%23 : tensor<4xf32>) outs(%24 : tensor<4xf32>) -> tensor<4xf32>
    %26 = tensor.empty() : tensor<4x24xf32>
    %27 = linalg.broadcast ins(%25 : tensor<4xf32>) outs(%26 : tensor<4x24xf32>) dimensions = [1]
    %28 = tensor.empty() : tensor<4x24xf32>
    %29 = linalg.elemwise_binary {fun = #linalg.binary_fn<div>} ins(%14, %27 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%28 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %30 = tensor.empty() : tensor<24xf32>
    %31 = hfusion.cast {mode = #hfusion.round_mode<rint>} ins(%arg2 : tensor<24xf16>) outs(%30 : tensor<24xf32>) -> tensor<24xf32>
    %32 = tensor.empty() : tensor<4x24xf32>
    %33 = linalg.broadcast ins(%31 : tensor<24xf32>) outs(%32 : tensor<4x24xf32>) dimensions = [0]
    %34 = tensor.empty() : tensor<4x24xf32>
    %35 = linalg.elemwise_binary {fun = #linalg.binary_fn<mul>} ins(%29, %33 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%34 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %36 = tensor.empty() : tensor<24xf32>
    %37 = hfusion.cast {mode = #hfusion.round_mode<rint>} ins(%arg3 : tensor<24xf16>) outs(%36 : tensor<24xf32>) -> tensor<24xf32>
    %38 = tensor.empty() : tensor<4x24xf32>
    %39 = linalg.broadcast ins(%37 : tensor<24xf32>) outs(%38 : tensor<4x24xf32>) dimensions = [0]
    %40 = tensor.empty() : tensor<4x24xf32>
    %41 = linalg.elemwise_binary {fun = #linalg.binary_fn<add>} ins(%35, %39 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%40 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %42 = tensor.empty() : tensor<4x24xf16>
    %43 = hfusion.cast {mode = #hfusion.round_mode<rint>} ins(%41 : tensor<4x24xf32>) outs(%42 : tensor<4x24xf16>) -> tensor<4x24xf16>
    return %43 : tensor<4x24xf16>
  }
}
