// Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
#include "register/register.h"
namespace domi {
static Status ParseUairAddSoftmax(const google::protobuf::Message* node, ge::Operator& op) {
    return SUCCESS;  // it has no attributes
}
REGISTER_CUSTOM_OP("UairAddSoftmax")
    .FrameworkType(ONNX)
    .OriginOpType({
        "ai.onnx::8::UairAddSoftmax",
        "ai.onnx::9::UairAddSoftmax",
        "ai.onnx::10::UairAddSoftmax",
        "ai.onnx::11::UairAddSoftmax",
        "ai.onnx::12::UairAddSoftmax",
        "ai.onnx::13::UairAddSoftmax",
        "ai.onnx::14::UairAddSoftmax",
        "ai.onnx::15::UairAddSoftmax",
        "ai.onnx::16::UairAddSoftmax",
        "ai.onnx::17::UairAddSoftmax",
        "ai.onnx::18::UairAddSoftmax",
    })
    .ParseParamsFn(ParseUairAddSoftmax)
    .ImplyType(ImplyType::TVM);
}  // namespace domi
