// UairAddSoftmax. Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
#include "kernel_operator.h"
using namespace AscendC;
constexpr uint32_t UNIT = 16;  // elements in a block of 32 bytes
constexpr uint32_t ROW = 24;

template <typename T>
__aicore__ inline void CopyToLocal(const LocalTensor<T>& to, const GlobalTensor<T>& from, uint32_t at, uint32_t n) {
    DataCopyExtParams shape{1, static_cast<uint32_t>(n * sizeof(T)), 0, 0, 0};
    DataCopyPadExtParams<T> pad{false, 0, 0, 0};
    DataCopyPad(to, from[at], shape, pad);
}
template <typename T>
__aicore__ inline void CopyToGlobal(const GlobalTensor<T>& to, const LocalTensor<T>& from, uint32_t at, uint32_t n) {
    DataCopyExtParams shape{1, static_cast<uint32_t>(n * sizeof(T)), 0, 0, 0};
    DataCopyPad(to[at], from, shape);
}

class KernelUairAddSoftmax {
 public:
    __aicore__ inline void Init(GM_ADDR x0, GM_ADDR x1, GM_ADDR y0, uint32_t total, uint32_t perCore, uint32_t tile) {
        begin = perCore * GetBlockIdx();
        end = begin >= total ? begin : (total - begin < perCore ? total : begin + perCore);
        size = total;
        step = ROW;
        x0Gm.SetGlobalBuffer((__gm__ half*)x0, total);
        pipe.InitBuffer(x0Queue, 2, tile * sizeof(half));
        y0Gm.SetGlobalBuffer((__gm__ half*)y0, total);
        pipe.InitBuffer(y0Queue, 2, tile * sizeof(half));
        x1Gm.SetGlobalBuffer((__gm__ half*)x1, ROW);
        pipe.InitBuffer(x1Queue, 1, tile * sizeof(half));
        pipe.InitBuffer(slot0, tile * sizeof(float));
        pipe.InitBuffer(slot1, tile * sizeof(float));
        pipe.InitBuffer(slot2, tile * sizeof(float));
        pipe.InitBuffer(kept0, tile * sizeof(float));
        pipe.InitBuffer(n0Buffer, 32);
        pipe.InitBuffer(n1Buffer, 32);
        pipe.InitBuffer(work, tile * sizeof(float));
    }
    __aicore__ inline void Process() {
        if (begin >= end) return;
        x1Row = x1Queue.AllocTensor<half>();
        CopyToLocal(x1Row, x1Gm, 0, ROW);
        x1Queue.EnQue(x1Row);
        x1Row = x1Queue.DeQue<half>();
        {
            uint32_t n = ROW;
            LocalTensor<half> x1 = x1Row;
            LocalTensor<float> k0 = kept0.Get<float>();
            Cast(k0, x1, RoundMode::CAST_NONE, n);
        }
        for (uint32_t at = begin; at < end; at += step) {
            CopyIn(at, ROW);
            Compute(ROW);
            CopyOut(at, ROW);
        }
        x1Queue.FreeTensor(x1Row);
    }

 private:
    __aicore__ inline void CopyIn(uint32_t at, uint32_t n) {
        LocalTensor<half> x0 = x0Queue.AllocTensor<half>();
        CopyToLocal(x0, x0Gm, at, n);
        x0Queue.EnQue(x0);
    }
    __aicore__ inline void Compute(uint32_t n) {
        LocalTensor<half> x0 = x0Queue.DeQue<half>();
        LocalTensor<half> y0 = y0Queue.AllocTensor<half>();
        LocalTensor<half> x1 = x1Row;
        LocalTensor<float> t0_float = slot0.Get<float>();
        LocalTensor<float> k0 = kept0.Get<float>();
        LocalTensor<float> t1_float = slot1.Get<float>();
        LocalTensor<float> n0 = n0Buffer.Get<float>();
        LocalTensor<float> t2_float = slot2.Get<float>();
        LocalTensor<float> n1 = n1Buffer.Get<float>();
        LocalTensor<float> work_float = work.Get<float>();
        Cast(t0_float, x0, RoundMode::CAST_NONE, n);
        Add(t1_float, t0_float, k0, n);
        ReduceMax(n0, t1_float, work_float, n);
        SetFlag<HardEvent::V_S>(EVENT_ID0);
        WaitFlag<HardEvent::V_S>(EVENT_ID0);
        Duplicate(t0_float, n0.GetValue(0), n);
        Sub(t2_float, t1_float, t0_float, n);
        Exp(t1_float, t2_float, n);
        ReduceSum(n1, t1_float, work_float, n);
        SetFlag<HardEvent::V_S>(EVENT_ID0);
        WaitFlag<HardEvent::V_S>(EVENT_ID0);
        Duplicate(t2_float, n1.GetValue(0), n);
        Div(t0_float, t1_float, t2_float, n);
        Cast(y0, t0_float, RoundMode::CAST_NONE, n);
        y0Queue.EnQue(y0);
        x0Queue.FreeTensor(x0);
    }
    __aicore__ inline void CopyOut(uint32_t at, uint32_t n) {
        LocalTensor<half> y0 = y0Queue.DeQue<half>();
        CopyToGlobal(y0Gm, y0, at, n);
        y0Queue.FreeTensor(y0);
    }
    TPipe pipe;
    TQue<QuePosition::VECIN, 2> x0Queue;
    GlobalTensor<half> x0Gm;
    TQue<QuePosition::VECIN, 1> x1Queue;
    GlobalTensor<half> x1Gm;
    TQue<QuePosition::VECOUT, 2> y0Queue;
    GlobalTensor<half> y0Gm;
    LocalTensor<half> x1Row;
    TBuf<QuePosition::VECCALC> slot0;
    TBuf<QuePosition::VECCALC> slot1;
    TBuf<QuePosition::VECCALC> slot2;
    TBuf<QuePosition::VECCALC> kept0;
    TBuf<QuePosition::VECCALC> n0Buffer;
    TBuf<QuePosition::VECCALC> n1Buffer;
    TBuf<QuePosition::VECCALC> work;
    uint32_t begin, end, size, step;
};

extern "C" __global__ __aicore__ void uair_add_softmax(GM_ADDR x0, GM_ADDR x1, GM_ADDR y0, GM_ADDR workspace, GM_ADDR tiling) {
    GET_TILING_DATA(data, tiling);
    KernelUairAddSoftmax kernel;
    kernel.Init(x0, x1, y0, data.total, data.perCore, data.tile);
    kernel.Process();
}
