// UairAddLayerNorm. Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
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

class KernelUairAddLayerNorm {
 public:
    __aicore__ inline void Init(GM_ADDR x0, GM_ADDR x1, GM_ADDR x2, GM_ADDR x3, GM_ADDR y0, uint32_t total, uint32_t perCore, uint32_t tile) {
        begin = perCore * GetBlockIdx();
        end = begin >= total ? begin : (total - begin < perCore ? total : begin + perCore);
        size = total;
        step = ROW;
        x0Gm.SetGlobalBuffer((__gm__ half*)x0, total);
        pipe.InitBuffer(x0Queue, 2, tile * sizeof(half));
        x1Gm.SetGlobalBuffer((__gm__ half*)x1, total);
        pipe.InitBuffer(x1Queue, 2, tile * sizeof(half));
        y0Gm.SetGlobalBuffer((__gm__ half*)y0, total);
        pipe.InitBuffer(y0Queue, 2, tile * sizeof(half));
        x2Gm.SetGlobalBuffer((__gm__ half*)x2, ROW);
        pipe.InitBuffer(x2Queue, 1, tile * sizeof(half));
        x3Gm.SetGlobalBuffer((__gm__ half*)x3, ROW);
        pipe.InitBuffer(x3Queue, 1, tile * sizeof(half));
        pipe.InitBuffer(slot0, tile * sizeof(float));
        pipe.InitBuffer(slot1, tile * sizeof(float));
        pipe.InitBuffer(slot2, tile * sizeof(float));
        pipe.InitBuffer(kept0, tile * sizeof(float));
        pipe.InitBuffer(kept1, tile * sizeof(float));
        pipe.InitBuffer(n0Buffer, 32);
        pipe.InitBuffer(n1Buffer, 32);
        pipe.InitBuffer(n2Buffer, 32);
        pipe.InitBuffer(n3Buffer, 32);
        pipe.InitBuffer(n4Buffer, 32);
        pipe.InitBuffer(n5Buffer, 32);
        pipe.InitBuffer(work, tile * sizeof(float));
    }
    __aicore__ inline void Process() {
        if (begin >= end) return;
        x2Row = x2Queue.AllocTensor<half>();
        CopyToLocal(x2Row, x2Gm, 0, ROW);
        x2Queue.EnQue(x2Row);
        x2Row = x2Queue.DeQue<half>();
        x3Row = x3Queue.AllocTensor<half>();
        CopyToLocal(x3Row, x3Gm, 0, ROW);
        x3Queue.EnQue(x3Row);
        x3Row = x3Queue.DeQue<half>();
        {
            uint32_t n = ROW;
            LocalTensor<half> x2 = x2Row;
            LocalTensor<half> x3 = x3Row;
            LocalTensor<float> k0 = kept0.Get<float>();
            LocalTensor<float> k1 = kept1.Get<float>();
            Cast(k0, x2, RoundMode::CAST_NONE, n);
            Cast(k1, x3, RoundMode::CAST_NONE, n);
        }
        for (uint32_t at = begin; at < end; at += step) {
            CopyIn(at, ROW);
            Compute(ROW);
            CopyOut(at, ROW);
        }
        x2Queue.FreeTensor(x2Row);
        x3Queue.FreeTensor(x3Row);
    }

 private:
    __aicore__ inline void CopyIn(uint32_t at, uint32_t n) {
        LocalTensor<half> x0 = x0Queue.AllocTensor<half>();
        CopyToLocal(x0, x0Gm, at, n);
        x0Queue.EnQue(x0);
        LocalTensor<half> x1 = x1Queue.AllocTensor<half>();
        CopyToLocal(x1, x1Gm, at, n);
        x1Queue.EnQue(x1);
    }
    __aicore__ inline void Compute(uint32_t n) {
        LocalTensor<half> x0 = x0Queue.DeQue<half>();
        LocalTensor<half> x1 = x1Queue.DeQue<half>();
        LocalTensor<half> y0 = y0Queue.AllocTensor<half>();
        LocalTensor<half> x2 = x2Row;
        LocalTensor<half> x3 = x3Row;
        LocalTensor<float> t0_float = slot0.Get<float>();
        LocalTensor<float> t1_float = slot1.Get<float>();
        LocalTensor<float> t2_float = slot2.Get<float>();
        LocalTensor<float> n0 = n0Buffer.Get<float>();
        LocalTensor<float> n1 = n1Buffer.Get<float>();
        LocalTensor<float> n2 = n2Buffer.Get<float>();
        LocalTensor<float> n3 = n3Buffer.Get<float>();
        LocalTensor<float> n4 = n4Buffer.Get<float>();
        LocalTensor<float> n5 = n5Buffer.Get<float>();
        LocalTensor<float> k0 = kept0.Get<float>();
        LocalTensor<float> k1 = kept1.Get<float>();
        LocalTensor<float> work_float = work.Get<float>();
        Cast(t0_float, x0, RoundMode::CAST_NONE, n);
        Cast(t1_float, x1, RoundMode::CAST_NONE, n);
        Add(t2_float, t0_float, t1_float, n);
        ReduceSum(n0, t2_float, work_float, n);
        Muls(n1, n0, static_cast<float>(4.1666668e-02f), 1);
        SetFlag<HardEvent::V_S>(EVENT_ID0);
        WaitFlag<HardEvent::V_S>(EVENT_ID0);
        Duplicate(t1_float, n1.GetValue(0), n);
        Sub(t0_float, t2_float, t1_float, n);
        Mul(t2_float, t0_float, t0_float, n);
        ReduceSum(n2, t2_float, work_float, n);
        Muls(n3, n2, static_cast<float>(4.1666668e-02f), 1);
        Adds(n4, n3, static_cast<float>(1.0e-05f), 1);
        Sqrt(n5, n4, 1);
        SetFlag<HardEvent::V_S>(EVENT_ID0);
        WaitFlag<HardEvent::V_S>(EVENT_ID0);
        Duplicate(t2_float, n5.GetValue(0), n);
        Div(t1_float, t0_float, t2_float, n);
        Mul(t2_float, t1_float, k0, n);
        Add(t1_float, t2_float, k1, n);
        Cast(y0, t1_float, RoundMode::CAST_NONE, n);
        y0Queue.EnQue(y0);
        x0Queue.FreeTensor(x0);
        x1Queue.FreeTensor(x1);
    }
    __aicore__ inline void CopyOut(uint32_t at, uint32_t n) {
        LocalTensor<half> y0 = y0Queue.DeQue<half>();
        CopyToGlobal(y0Gm, y0, at, n);
        y0Queue.FreeTensor(y0);
    }
    TPipe pipe;
    TQue<QuePosition::VECIN, 2> x0Queue;
    GlobalTensor<half> x0Gm;
    TQue<QuePosition::VECIN, 2> x1Queue;
    GlobalTensor<half> x1Gm;
    TQue<QuePosition::VECIN, 1> x2Queue;
    GlobalTensor<half> x2Gm;
    TQue<QuePosition::VECIN, 1> x3Queue;
    GlobalTensor<half> x3Gm;
    TQue<QuePosition::VECOUT, 2> y0Queue;
    GlobalTensor<half> y0Gm;
    LocalTensor<half> x2Row;
    LocalTensor<half> x3Row;
    TBuf<QuePosition::VECCALC> slot0;
    TBuf<QuePosition::VECCALC> slot1;
    TBuf<QuePosition::VECCALC> slot2;
    TBuf<QuePosition::VECCALC> kept0;
    TBuf<QuePosition::VECCALC> kept1;
    TBuf<QuePosition::VECCALC> n0Buffer;
    TBuf<QuePosition::VECCALC> n1Buffer;
    TBuf<QuePosition::VECCALC> n2Buffer;
    TBuf<QuePosition::VECCALC> n3Buffer;
    TBuf<QuePosition::VECCALC> n4Buffer;
    TBuf<QuePosition::VECCALC> n5Buffer;
    TBuf<QuePosition::VECCALC> work;
    uint32_t begin, end, size, step;
};

extern "C" __global__ __aicore__ void uair_add_layer_norm(GM_ADDR x0, GM_ADDR x1, GM_ADDR x2, GM_ADDR x3, GM_ADDR y0, GM_ADDR workspace, GM_ADDR tiling) {
    GET_TILING_DATA(data, tiling);
    KernelUairAddLayerNorm kernel;
    kernel.Init(x0, x1, x2, x3, y0, data.total, data.perCore, data.tile);
    kernel.Process();
}
