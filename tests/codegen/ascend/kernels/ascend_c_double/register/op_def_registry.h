// A double of the part of CANN's host interface that UAIR's operators use.
#ifndef UAIR_OP_DEF_DOUBLE_H
#define UAIR_OP_DEF_DOUBLE_H
#include <cstdint>
#include <string>
#include <vector>
namespace ge {
using graphStatus = uint32_t;
constexpr graphStatus GRAPH_SUCCESS = 0;
enum DataType { DT_FLOAT, DT_FLOAT16, DT_INT8, DT_INT32 };
enum Format { FORMAT_ND };
}  // namespace ge
namespace gert {
struct Shape {
    std::vector<int64_t> dims;
    int64_t GetShapeSize() const {
        int64_t n = 1;
        for (int64_t d : dims) n *= d;
        return n;
    }
    void SetDimNum(size_t n) { dims.resize(n); }
    void SetDim(size_t i, int64_t d) { dims[i] = d; }
};
struct StorageShape {
    Shape shape;
    const Shape& GetStorageShape() const { return shape; }
};
struct TilingData {
    uint8_t bytes[64] = {};
    uint64_t size = 0;
    void* GetData() { return bytes; }
    uint64_t GetCapacity() const { return sizeof(bytes); }
    void SetDataSize(uint64_t n) { size = n; }
};
struct Platform {
    uint32_t cores;
    uint64_t ub;
};
struct TilingContext {
    Platform platform;
    std::vector<StorageShape> inputs;
    TilingData data;
    uint32_t blockDim = 0;
    Platform* GetPlatformInfo() { return &platform; }
    const StorageShape* GetInputShape(size_t i) const { return &inputs.at(i); }
    TilingData* GetRawTilingData() { return &data; }
    void SetBlockDim(uint32_t n) { blockDim = n; }
};
struct InferShapeContext {
    std::vector<Shape> inputs, outputs;
    const Shape* GetInputShape(size_t i) const { return &inputs.at(i); }
    Shape* GetOutputShape(size_t i) { return &outputs.at(i); }
};
struct InferDataTypeContext {
    std::vector<ge::DataType> outputs;
    void SetOutputDataType(size_t i, ge::DataType type) { outputs.at(i) = type; }
};
}  // namespace gert
namespace ops {
enum ParamKind { REQUIRED };
using Tile = ge::graphStatus (*)(gert::TilingContext*);
using Infer = ge::graphStatus (*)(gert::InferShapeContext*);
using InferType = ge::graphStatus (*)(gert::InferDataTypeContext*);
struct OpPort {
    std::string name;
    std::vector<ge::DataType> types;
    OpPort& ParamType(ParamKind) { return *this; }
    OpPort& DataType(std::vector<ge::DataType> t) { types = t; return *this; }
    OpPort& Format(std::vector<ge::Format>) { return *this; }
};
struct OpAICore {
    Tile tiling = nullptr;
    std::string config;
    OpAICore& SetTiling(Tile t) { tiling = t; return *this; }
    OpAICore& AddConfig(const char* name) { config = name; return *this; }
};
struct OpDef {
    std::vector<OpPort> inputs, outputs;
    OpAICore core;
    Infer infer = nullptr;
    InferType inferType = nullptr;
    explicit OpDef(const char*) { inputs.reserve(32); outputs.reserve(32); }
    OpPort& Input(const char* name) { inputs.push_back({name, {}}); return inputs.back(); }
    OpPort& Output(const char* name) { outputs.push_back({name, {}}); return outputs.back(); }
    OpDef& SetInferShape(Infer f) { infer = f; return *this; }
    OpDef& SetInferDataType(InferType f) { inferType = f; return *this; }
    OpAICore& AICore() { return core; }
};
inline OpDef*& registered() {
    static OpDef* op = nullptr;
    return op;
}
#define OP_ADD(TYPE) static bool added_##TYPE = (registered() = new TYPE(#TYPE), true)
}  // namespace ops
#endif
