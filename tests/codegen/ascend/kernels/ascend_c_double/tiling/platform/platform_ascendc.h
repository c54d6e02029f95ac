// A double of CANN's questions about the chip.
#ifndef UAIR_PLATFORM_DOUBLE_H
#define UAIR_PLATFORM_DOUBLE_H
#include "register/op_def_registry.h"
namespace platform_ascendc {
enum class CoreMemType { UB };
struct PlatformAscendC {
    gert::Platform* platform;
    explicit PlatformAscendC(gert::Platform* p) : platform(p) {}
    uint32_t GetCoreNumAiv() const { return platform->cores; }
    void GetCoreMemSize(CoreMemType, uint64_t& size) const { size = platform->ub; }
};
}  // namespace platform_ascendc
#endif
