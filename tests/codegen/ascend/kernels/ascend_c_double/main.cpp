// Runs an operator as CANN would: its own tiling, then its kernel on every core that the tiling asks for.
// Arguments: number of cores, bytes of unified buffer, a folder with one file of raw bytes for every input (x0, x1, ...)
// and the outputs' sizes in bytes in y0.size, ...; the shapes of the inputs, "4,8" and the like, follow.
// OP_HOST, OP_KERNEL, KERNEL_CALL are given by the compiler's command line.
#include OP_KERNEL
#include OP_HOST

#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

static std::vector<uint8_t> read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::vector<uint8_t>((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
}

int main(int argc, char** argv) {
    ops::OpDef* op = ops::registered();
    gert::TilingContext context{};
    context.platform = {static_cast<uint32_t>(std::atoi(argv[1])), static_cast<uint64_t>(std::atoll(argv[2]))};
    const std::string folder = argv[3];
    gert::InferShapeContext shapes;
    for (int i = 4; i < argc; ++i) {
        gert::StorageShape shape;
        std::stringstream text(argv[i]);
        for (std::string d; std::getline(text, d, ',');) shape.shape.dims.push_back(std::stoll(d));
        context.inputs.push_back(shape);
        shapes.inputs.push_back(shape.shape);
    }
    std::vector<std::vector<uint8_t>> memory;
    for (size_t i = 0; i < op->inputs.size(); ++i) memory.push_back(read(folder + "/x" + std::to_string(i)));
    for (size_t i = 0; i < op->outputs.size(); ++i) {
        std::ifstream file(folder + "/y" + std::to_string(i) + ".size");
        uint64_t bytes = 0;
        file >> bytes;
        memory.emplace_back(bytes, 0xEE);
    }
    shapes.outputs.resize(op->outputs.size());
    double_::require(op->infer(&shapes) == ge::GRAPH_SUCCESS, "InferShape");
    double_::require(op->core.tiling(&context) == ge::GRAPH_SUCCESS, "tiling");
    double_::require(context.blockDim >= 1 && context.blockDim <= context.platform.cores, "more cores than there are");
    for (auto& tensor : memory) double_::state().tensors[tensor.data()] = tensor.size();
    double_::state().ubBytes = context.platform.ub;
    uint8_t* workspace = nullptr;
    uint8_t* tiling = context.data.bytes;
    for (uint32_t core = 0; core < context.blockDim; ++core) {
        double_::state().block = core;
        double_::state().ubUsed = 0;
        double_::buffers().clear();
        KERNEL_CALL;
    }
    for (size_t i = 0; i < op->outputs.size(); ++i) {
        const auto& bytes = memory[op->inputs.size() + i];
        std::ofstream file(folder + "/y" + std::to_string(i), std::ios::binary);
        file.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
        std::printf("%lld ", static_cast<long long>(shapes.outputs[i].GetShapeSize()));
    }
    std::printf("%u\n", context.blockDim);
    return 0;
}
