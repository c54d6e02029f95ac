// Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
#include "uair_add_softmax.h"
#include <vector>
namespace ge {
IMPLEMT_COMMON_INFERFUNC(UairAddSoftmaxInferShape) {
    TensorDesc y0 = op.GetOutputDescByName("y0");
    y0.SetShape(op.GetInputDescByName("x0").GetShape());
    y0.SetDataType(DT_FLOAT16);
    if (op.UpdateOutputDesc("y0", y0) != GRAPH_SUCCESS) return GRAPH_FAILED;
    return GRAPH_SUCCESS;
}
COMMON_INFER_FUNC_REG(UairAddSoftmax, UairAddSoftmaxInferShape);
}  // namespace ge
