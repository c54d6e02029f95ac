// Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
#include "register/register.h"
namespace domi {
static Status ParseUairAddLayerNorm(const google::protobuf::Message* node, ge::Operator& op) {
    return SUCCESS;  // it has no attributes
}
REGISTER_CUSTOM_OP("UairAddLayerNorm")
    .FrameworkType(ONNX)
    .OriginOpType({
        "ai.onnx::8::UairAddLayerNorm",
        "ai.onnx::9::UairAddLayerNorm",
        "ai.onnx::10::UairAddLayerNorm",
        "ai.onnx::11::UairAddLayerNorm",
        "ai.onnx::12::UairAddLayerNorm",
        "ai.onnx::13::UairAddLayerNorm",
        "ai.onnx::14::UairAddLayerNorm",
        "ai.onnx::15::UairAddLayerNorm",
        "ai.onnx::16::UairAddLayerNorm",
        "ai.onnx::17::UairAddLayerNorm",
        "ai.onnx::18::UairAddLayerNorm",
    })
    .ParseParamsFn(ParseUairAddLayerNorm)
    .ImplyType(ImplyType::TVM);
}  // namespace domi
