"""UairAddLayerNorm: Add, LayerNorm.

Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
"""

import tbe.dsl as tbe
from tbe import tvm
from tbe.common.utils import para_check

SIZES = {'x0': 32, 'x1': 32, 'x2': 8, 'x3': 8, 'y0': 32}


def count(port):
    """Number of elements of a port."""
    result = 1
    for extent in port.get("shape"):
        result *= extent
    return result


@para_check.check_op_params(
    para_check.REQUIRED_INPUT,
    para_check.REQUIRED_INPUT,
    para_check.REQUIRED_INPUT,
    para_check.REQUIRED_INPUT,
    para_check.REQUIRED_OUTPUT,
    para_check.KERNEL_NAME,
)
def uair_add_layer_norm(x0, x1, x2, x3, y0, kernel_name="uair_add_layer_norm"):
    """Build the operator."""
    for name, port in {'x0': x0, 'x1': x1, 'x2': x2, 'x3': x3, 'y0': y0}.items():
        if count(port) != SIZES[name]:
            raise RuntimeError("uair_add_layer_norm: {} has {} elements, the operator is for {}".format(
                name, count(port), SIZES[name]))
    in0 = tvm.placeholder((4, 8), name="x0", dtype="float16")
    in1 = tvm.placeholder((4, 8), name="x1", dtype="float16")
    in2 = tvm.placeholder((1, 8), name="x2", dtype="float16")
    in3 = tvm.placeholder((1, 8), name="x3", dtype="float16")
    t0 = tbe.cast_to(in0, "float32")
    t1 = tbe.cast_to(in1, "float32")
    t2 = tbe.vadd(t0, t1)
    t3 = tbe.reduce_sum(t2, axis=[1], keepdims=True)
    t4 = tbe.vmuls(t3, tvm.const(0.125, "float32"))
    t5 = tbe.broadcast(t4, (4, 8))
    t6 = tbe.vsub(t2, t5)
    t7 = tbe.vmul(t6, t6)
    t8 = tbe.reduce_sum(t7, axis=[1], keepdims=True)
    t9 = tbe.vmuls(t8, tvm.const(0.125, "float32"))
    t10 = tbe.vadds(t9, tvm.const(9.999999747378752e-06, "float32"))
    t11 = tbe.vmaxs(t10, tvm.const(1.0000000031710769e-30, "float32"))
    t12 = tbe.vrsqrt(t11)
    t13 = tbe.vmul(t11, t12)
    t14 = tbe.vmul(t13, t12)
    t15 = tbe.vmuls(t14, tvm.const(-0.5, "float32"))
    t16 = tbe.vadds(t15, tvm.const(1.5, "float32"))
    t17 = tbe.vmul(t12, t16)
    t18 = tbe.vmul(t10, t17)
    t19 = tbe.vmaxs(t18, tvm.const(-1.0000000150474662e+30, "float32"))
    t20 = tbe.vmins(t19, tvm.const(1.0000000150474662e+30, "float32"))
    t21 = tbe.vrec(t20)
    t22 = tbe.vmul(t20, t21)
    t23 = tbe.vmuls(t22, tvm.const(-1.0, "float32"))
    t24 = tbe.vadds(t23, tvm.const(2.0, "float32"))
    t25 = tbe.vmul(t21, t24)
    t26 = tbe.broadcast(t25, (4, 8))
    t27 = tbe.vmul(t6, t26)
    t28 = tbe.cast_to(in2, "float32")
    t29 = tbe.broadcast(t28, (4, 8))
    t30 = tbe.vmul(t27, t29)
    t31 = tbe.cast_to(in3, "float32")
    t32 = tbe.broadcast(t31, (4, 8))
    t33 = tbe.vadd(t30, t32)
    t34 = tbe.cast_to(t33, "float16")
    with tvm.target.cce():
        schedule = tbe.auto_schedule([t34])
    tbe.build(schedule, {
        "name": kernel_name,
        "print_ir": False,
        "tensor_list": [in0, in1, in2, in3, t34],
    })
