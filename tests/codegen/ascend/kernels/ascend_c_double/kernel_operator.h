// A double of the part of the Ascend C interface that UAIR's kernels use: it runs on the CPU, one core after the other,
// and stops at what a device would do wrong silently: transfers beyond a tensor or that are no blocks of 32 bytes,
// buffers that do not fit, queues used out of order, reads of a value that another unit has not finished.
#ifndef UAIR_ASCEND_C_DOUBLE_H
#define UAIR_ASCEND_C_DOUBLE_H
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <map>
#include <memory>
#include <vector>

#define __aicore__
#define __global__
#define __gm__
#define GM_ADDR uint8_t*
using half = _Float16;

namespace double_ {
inline void fail(const char* what) {
    std::fprintf(stderr, "ascend c double: %s\n", what);
    std::exit(3);
}
inline void require(bool holds, const char* what) {
    if (!holds) fail(what);
}
struct State {
    uint32_t block = 0;
    uint64_t ubBytes = 0, ubUsed = 0;
    std::map<uint8_t*, uint64_t> tensors;  // allocations of global memory
    std::map<uint8_t*, std::vector<uint8_t>> owners;  // of these, for every byte 1 + the core that wrote it
};
inline State& state() {
    static State s;
    return s;
}
inline void check_global(uint8_t* at, uint64_t bytes, uint64_t itemsize) {
    auto next = state().tensors.upper_bound(at);
    require(next != state().tensors.begin(), "transfer outside of any tensor");
    --next;
    require(at + bytes <= next->first + next->second, "transfer beyond the end of a tensor");
    require((at - next->first) % itemsize == 0, "address that is no multiple of the element");
}
inline void write_global(uint8_t* at, const uint8_t* from, uint64_t bytes) {
    auto tensor = --state().tensors.upper_bound(at);
    auto& owners = state().owners[tensor->first];
    owners.resize(tensor->second);
    for (uint64_t i = 0; i < bytes; ++i) {
        uint8_t& owner = owners[at + i - tensor->first];
        bool shared = owner != 0 && owner != state().block + 1;
        require(!shared || at[i] == from[i], "two cores write different values to one address");
        owner = static_cast<uint8_t>(state().block + 1);
        at[i] = from[i];
    }
}
struct Buffer {
    std::vector<uint8_t> bytes;
    bool vectorBusy = false, scalarBusy = false, loadBusy = false;  // written by that unit and not waited for
    explicit Buffer(uint64_t n) : bytes((n + 31) / 32 * 32, 0xCD) {}
};
inline std::vector<std::weak_ptr<Buffer>>& buffers() {
    static std::vector<std::weak_ptr<Buffer>> all;
    return all;
}
inline std::shared_ptr<Buffer> allocate(uint64_t n) {
    auto result = std::make_shared<Buffer>(n);
    state().ubUsed += result->bytes.size();
    require(state().ubUsed <= state().ubBytes, "the unified buffer is full");
    buffers().push_back(result);
    return result;
}
}  // namespace double_

namespace AscendC {
inline uint32_t GetBlockIdx() { return double_::state().block; }

enum class QuePosition { VECIN, VECOUT, VECCALC };
enum class RoundMode { CAST_NONE, CAST_RINT };
enum class HardEvent { V_S, S_V, MTE2_S, S_MTE2, S_MTE3, MTE3_S };
enum Event { EVENT_ID0, EVENT_ID1, EVENT_ID2, EVENT_ID3, EVENT_ID4, EVENT_ID5, EVENT_ID6, EVENT_ID7 };

inline std::map<std::pair<int, int>, int>& flags() {
    static std::map<std::pair<int, int>, int> all;
    return all;
}
template <HardEvent event>
void SetFlag(Event id) {
    double_::require(flags()[{static_cast<int>(event), id}]++ == 0, "a flag is set twice");
}
template <HardEvent event>
void WaitFlag(Event id) {
    double_::require(flags()[{static_cast<int>(event), id}]-- == 1, "a wait for a flag that nobody set");
    for (auto& weak : double_::buffers()) {
        auto buffer = weak.lock();
        if (!buffer) continue;
        if (event == HardEvent::V_S) buffer->vectorBusy = false;
        if (event == HardEvent::MTE2_S) buffer->loadBusy = false;
        if (event == HardEvent::S_V || event == HardEvent::S_MTE3) buffer->scalarBusy = false;
    }
}

template <typename T>
struct LocalTensor {
    std::shared_ptr<double_::Buffer> buffer;
    T* data() const { return reinterpret_cast<T*>(buffer->bytes.data()); }
    uint32_t capacity() const { return buffer->bytes.size() / sizeof(T); }
    T GetValue(uint32_t i) const {
        double_::require(i < capacity(), "read beyond a buffer");
        double_::require(!buffer->vectorBusy && !buffer->loadBusy, "the scalar unit reads what is being written");
        return data()[i];
    }
    void SetValue(uint32_t i, T value) const {
        double_::require(i < capacity(), "write beyond a buffer");
        buffer->scalarBusy = true;
        data()[i] = value;
    }
};

template <typename T>
struct GlobalTensor {
    T* at = nullptr;
    void SetGlobalBuffer(T* address, uint64_t) { at = address; }
    GlobalTensor operator[](uint64_t offset) const {
        GlobalTensor result = *this;
        result.at = at + offset;
        return result;
    }
};

template <typename T>
void Load(const LocalTensor<T>& to, const GlobalTensor<T>& from, uint64_t bytes) {
    double_::check_global(reinterpret_cast<uint8_t*>(from.at), bytes, sizeof(T));
    double_::require(bytes <= to.buffer->bytes.size(), "transfer beyond a buffer");
    to.buffer->loadBusy = true;
    std::memcpy(to.data(), from.at, bytes);
}
template <typename T>
void Store(const GlobalTensor<T>& to, const LocalTensor<T>& from, uint64_t bytes) {
    double_::check_global(reinterpret_cast<uint8_t*>(to.at), bytes, sizeof(T));
    double_::require(bytes <= from.buffer->bytes.size(), "transfer beyond a buffer");
    double_::require(!from.buffer->scalarBusy, "a transfer reads what the scalar unit is writing");
    double_::write_global(reinterpret_cast<uint8_t*>(to.at), from.buffer->bytes.data(), bytes);
}
template <typename T>
void DataCopy(const LocalTensor<T>& to, const GlobalTensor<T>& from, uint32_t n) {
    double_::require(n * sizeof(T) % 32 == 0, "DataCopy of no whole blocks");
    Load(to, from, n * sizeof(T));
}
template <typename T>
void DataCopy(const GlobalTensor<T>& to, const LocalTensor<T>& from, uint32_t n) {
    double_::require(n * sizeof(T) % 32 == 0, "DataCopy of no whole blocks");
    Store(to, from, n * sizeof(T));
}
#ifdef EXACT_TAIL
struct DataCopyExtParams {
    uint16_t blockCount;
    uint32_t blockLen, srcStride, dstStride, rsv;
};
template <typename T>
struct DataCopyPadExtParams {
    bool isPad;
    uint8_t leftPadding, rightPadding;
    T paddingValue;
};
template <typename T>
void DataCopyPad(const LocalTensor<T>& to, const GlobalTensor<T>& from, const DataCopyExtParams& shape,
                 const DataCopyPadExtParams<T>&) {
    double_::require(shape.blockCount == 1 && shape.blockLen <= 2097151, "DataCopyPad parameters");
    Load(to, from, shape.blockLen);
}
template <typename T>
void DataCopyPad(const GlobalTensor<T>& to, const LocalTensor<T>& from, const DataCopyExtParams& shape) {
    double_::require(shape.blockCount == 1 && shape.blockLen <= 2097151, "DataCopyPad parameters");
    Store(to, from, shape.blockLen);
}
#endif

template <QuePosition position, int depth>
struct TQue {
    std::vector<std::shared_ptr<double_::Buffer>> free, queued;
    int given = 0;
    template <typename T>
    LocalTensor<T> AllocTensor() {
        double_::require(!free.empty(), "no free buffer in a queue");
        LocalTensor<T> result{free.back()};
        free.pop_back();
        ++given;
        return result;
    }
    template <typename T>
    void EnQue(const LocalTensor<T>& tensor) {
        double_::require(given > 0 && queued.size() < depth, "EnQue without AllocTensor");
        queued.push_back(tensor.buffer);
        tensor.buffer->vectorBusy = tensor.buffer->loadBusy = false;  // whoever takes it has waited for the unit
        if (position == QuePosition::VECOUT) tensor.buffer->vectorBusy = true;  // the scalar unit has not
    }
    template <typename T>
    LocalTensor<T> DeQue() {
        double_::require(!queued.empty(), "DeQue of an empty queue");
        LocalTensor<T> result{queued.front()};
        queued.erase(queued.begin());
        return result;
    }
    template <typename T>
    void FreeTensor(const LocalTensor<T>& tensor) {
        double_::require(given-- > 0, "FreeTensor without AllocTensor");
        free.push_back(tensor.buffer);
    }
    ~TQue() { double_::require(queued.empty() && given == 0, "a queue is not empty at the end"); }
};
template <QuePosition position>
struct TBuf {
    std::shared_ptr<double_::Buffer> buffer;
    template <typename T>
    LocalTensor<T> Get() {
        double_::require(buffer != nullptr, "a buffer that was not initialised");
        return {buffer};
    }
};
struct TPipe {
    template <QuePosition position, int depth>
    void InitBuffer(TQue<position, depth>& queue, int count, uint32_t bytes) {
        double_::require(count == depth, "depth of a queue");
        for (int i = 0; i < count; ++i) queue.free.push_back(double_::allocate(bytes));
    }
    template <QuePosition position>
    void InitBuffer(TBuf<position>& buffer, uint32_t bytes) {
        buffer.buffer = double_::allocate(bytes);
    }
};

template <typename T, typename... Rest>
void Prepare(uint32_t n, const LocalTensor<T>& to, const Rest&... from) {
    double_::require(n > 0 && n <= to.capacity(), "a vector operation beyond a buffer");
    (double_::require(n <= from.capacity(), "a vector operation beyond a buffer"), ...);
    (double_::require(!from.buffer->loadBusy && !from.buffer->scalarBusy, "the vector unit reads what is written"), ...);
    to.buffer->vectorBusy = true;
}
#define UAIR_UNARY(NAME, EXPRESSION)                                              \
    template <typename T>                                                         \
    void NAME(const LocalTensor<T>& y, const LocalTensor<T>& x, uint32_t n) {     \
        Prepare(n, y, x);                                                         \
        for (uint32_t i = 0; i < n; ++i) {                                        \
            float a = static_cast<float>(x.data()[i]);                            \
            y.data()[i] = static_cast<T>(EXPRESSION);                             \
        }                                                                         \
    }
UAIR_UNARY(Exp, std::exp(a))
UAIR_UNARY(Ln, std::log(a))
UAIR_UNARY(Abs, std::fabs(a))
UAIR_UNARY(Sqrt, std::sqrt(a))
UAIR_UNARY(Relu, a > 0 ? a : 0.0f)
#define UAIR_BINARY(NAME, SCALAR, EXPRESSION)                                                               \
    template <typename T>                                                                                   \
    void NAME(const LocalTensor<T>& y, const LocalTensor<T>& x, const LocalTensor<T>& z, uint32_t n) {      \
        Prepare(n, y, x, z);                                                                                \
        for (uint32_t i = 0; i < n; ++i) {                                                                  \
            float a = static_cast<float>(x.data()[i]), b = static_cast<float>(z.data()[i]);                 \
            y.data()[i] = static_cast<T>(EXPRESSION);                                                       \
        }                                                                                                   \
    }                                                                                                       \
    template <typename T>                                                                                   \
    void SCALAR(const LocalTensor<T>& y, const LocalTensor<T>& x, T number, uint32_t n) {                   \
        Prepare(n, y, x);                                                                                   \
        for (uint32_t i = 0; i < n; ++i) {                                                                  \
            float a = static_cast<float>(x.data()[i]), b = static_cast<float>(number);                      \
            y.data()[i] = static_cast<T>(EXPRESSION);                                                       \
        }                                                                                                   \
    }
UAIR_BINARY(Add, Adds, a + b)
UAIR_BINARY(Mul, Muls, a* b)
UAIR_BINARY(Max, Maxs, a > b ? a : b)
UAIR_BINARY(Min, Mins, a < b ? a : b)
UAIR_BINARY(Sub, NoSubs, a - b)
UAIR_BINARY(Div, NoDivs, a / b)
template <typename T>
void Duplicate(const LocalTensor<T>& y, T number, uint32_t n) {
    Prepare(n, y);
    for (uint32_t i = 0; i < n; ++i) y.data()[i] = number;
}
template <typename T, typename F>
void Cast(const LocalTensor<T>& y, const LocalTensor<F>& x, RoundMode, uint32_t n) {
    static_assert(sizeof(T) != 1 || sizeof(F) == 2, "there is no conversion of float to int8_t");
    Prepare(n, y, x);
    double_::require(y.buffer != x.buffer, "a conversion in place");
    for (uint32_t i = 0; i < n; ++i) {
        float a = static_cast<float>(x.data()[i]);
        y.data()[i] = static_cast<T>(sizeof(T) == 1 ? std::nearbyint(a) : a);
    }
}
#define UAIR_REDUCTION(NAME, START, EXPRESSION)                                                                  \
    template <typename T>                                                                                        \
    void NAME(const LocalTensor<T>& y, const LocalTensor<T>& x, const LocalTensor<T>& work, uint32_t n) {        \
        Prepare(n, work, x);                                                                                     \
        Prepare(1, y);                                                                                           \
        double_::require(work.buffer != x.buffer && y.buffer != x.buffer, "a reduction in place");               \
        float a = START;                                                                                         \
        for (uint32_t i = 0; i < n; ++i) {                                                                       \
            float b = static_cast<float>(x.data()[i]);                                                           \
            a = EXPRESSION;                                                                                      \
        }                                                                                                        \
        y.data()[0] = static_cast<T>(a);                                                                         \
    }
UAIR_REDUCTION(ReduceSum, 0.0f, a + b)
UAIR_REDUCTION(ReduceMax, -std::numeric_limits<float>::infinity(), a > b ? a : b)
UAIR_REDUCTION(ReduceMin, std::numeric_limits<float>::infinity(), a < b ? a : b)
}  // namespace AscendC

#define GET_TILING_DATA(NAME, ADDRESS) \
    struct {                           \
        uint32_t total, perCore, tile; \
    } NAME;                            \
    std::memcpy(&NAME, ADDRESS, sizeof(NAME))
#endif
