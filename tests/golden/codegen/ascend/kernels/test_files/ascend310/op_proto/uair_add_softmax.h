// Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
#ifndef UAIR_ADD_SOFTMAX_H
#define UAIR_ADD_SOFTMAX_H
#include "graph/operator_reg.h"
namespace ge {
REG_OP(UairAddSoftmax)
    .INPUT(x0, TensorType({DT_FLOAT16}))
    .INPUT(x1, TensorType({DT_FLOAT16}))
    .OUTPUT(y0, TensorType({DT_FLOAT16}))
    .OP_END_FACTORY_REG(UairAddSoftmax)
}  // namespace ge
#endif  // UAIR_ADD_SOFTMAX_H
