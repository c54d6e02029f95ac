module {
  func.func @add_softmax(%arg0: tensor<4x24xf16>, %arg1: tensor<24xf16>) -> tensor<4x24xf16>
      attributes {hacc.entry, hacc.function_kind = #hacc.function_kind<DEVICE>} {
    %cst0 = arith.constant 0xFF800000 : f32
    %cst1 = arith.constant 0.0e+00 : f32
    %0 = tensor.empty() : tensor<4x24xf32>
    %1 = hfusion.cast {mode = #hfusion.round_mode<rint>} ins(%arg0 : tensor<4x24xf16>) outs(%0 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %2 = tensor.empty() : tensor<24xf32>
    %3 = hfusion.cast {mode = #hfusion.round_mode<rint>} ins(%arg1 : tensor<24xf16>) outs(%2 : tensor<24xf32>) -> tensor<24xf32>
    %4 = tensor.empty() : tensor<4x24xf32>
    %5 = linalg.broadcast ins(%3 : tensor<24xf32>) outs(%4 : tensor<4x24xf32>) dimensions = [0]
    %6 = tensor.empty() : tensor<4x24xf32>
    %7 = linalg.elemwise_binary {fun = #linalg.binary_fn<add>} ins(%1, %5 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%6 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %8 = tensor.empty() : tensor<4xf32>
    %9 = linalg.fill ins(%cst0 : f32) outs(%8 : tensor<4xf32>) -> tensor<4xf32>
    %10 = linalg.reduce {arith.maximumf} ins(%7 : tensor<4x24xf32>) outs(%9 : tensor<4xf32>) dimensions = [1]
    %11 = tensor.empty() : tensor<4x24xf32>
    %12 = linalg.broadcast ins(%10 : tensor<4xf32>) outs(%11 : tensor<4x24xf32>) dimensions = [1]
    %13 = tensor.empty() : tensor<4x24xf32>
    %14 = linalg.elemwise_binary {fun = #linalg.binary_fn<sub>} ins(%7, %12 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%13 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %15 = tensor.empty() : tensor<4x24xf32>
    %16 = linalg.elemwise_unary {fun = #linalg.unary_fn<exp>} ins(%14 : tensor<4x24xf32>) outs(%15 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %17 = tensor.empty() : tensor<4xf32>
    %18 = linalg.fill ins(%cst1 : f32) outs(%17 : tensor<4xf32>) -> tensor<4xf32>
    %19 = linalg.reduce {arith.addf} ins(%16 : tensor<4x24xf32>) outs(%18 : tensor<4xf32>) dimensions = [1]
    %20 = tensor.empty() : tensor<4x24xf32>
    %21 = linalg.broadcast ins(%19 : tensor<4xf32>) outs(%20 : tensor<4x24xf32>) dimensions = [1]
    %22 = tensor.empty() : tensor<4x24xf32>
    %23 = linalg.elemwise_binary {fun = #linalg.binary_fn<div>} ins(%16, %21 : tensor<4x24xf32>, tensor<4x24xf32>) outs(%22 : tensor<4x24xf32>) -> tensor<4x24xf32>
    %24 = tensor.empty() : tensor<4x24xf16>
    %25 = hfusion.cast {mode = #hfusion.round_mode<rint>} ins(%23 : tensor<4x24xf32>) outs(%24 : tensor<4x24xf16>) -> tensor<4x24xf16>
    return %25 : tensor<4x24xf16>
  }
}
