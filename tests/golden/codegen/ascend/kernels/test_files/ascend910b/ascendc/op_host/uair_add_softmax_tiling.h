// Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
#ifndef UAIR_ADD_SOFTMAX_TILING_H
#define UAIR_ADD_SOFTMAX_TILING_H
#include <cstdint>
#include "register/tilingdata_base.h"
namespace optiling {
BEGIN_TILING_DATA_DEF(UairAddSoftmaxTiling)
    TILING_DATA_FIELD_DEF(uint32_t, total);    // elements
    TILING_DATA_FIELD_DEF(uint32_t, perCore);  // elements of every core but the last
    TILING_DATA_FIELD_DEF(uint32_t, tile);     // elements that a buffer holds
END_TILING_DATA_DEF;
REGISTER_TILING_DATA_CLASS(UairAddSoftmax, UairAddSoftmaxTiling)
}  // namespace optiling
#endif  // UAIR_ADD_SOFTMAX_TILING_H
