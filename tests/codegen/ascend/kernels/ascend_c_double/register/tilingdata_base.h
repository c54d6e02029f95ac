// A double of CANN's macros for tiling data.
#ifndef UAIR_TILING_DOUBLE_H
#define UAIR_TILING_DOUBLE_H
#include <cstdint>
#include <cstring>
#define BEGIN_TILING_DATA_DEF(NAME) \
    struct NAME {                   \
        uint64_t GetDataSize() const { return sizeof(*this); } \
        void SaveToBuffer(void* to, uint64_t capacity) const { \
            if (capacity >= sizeof(*this)) std::memcpy(to, this, sizeof(*this)); \
        }
#define TILING_DATA_FIELD_DEF(TYPE, NAME) \
    TYPE NAME = 0;                        \
    void set_##NAME(TYPE value) { NAME = value; }
#define END_TILING_DATA_DEF }
#define REGISTER_TILING_DATA_CLASS(OP, DATA)
#endif
