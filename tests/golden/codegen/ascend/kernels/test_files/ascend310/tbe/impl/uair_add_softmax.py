"""UairAddSoftmax: Add, Softmax.

Written by UAIR for one model's shapes; compile it with CANN's custom operator project. Not run by CANN here.
"""

import tbe.dsl as tbe
from tbe import tvm
from tbe.common.utils import para_check

SIZES = {'x0': 32, 'x1': 8, 'y0': 32}


def count(port):
    """Number of elements of a port."""
    result = 1
    for extent in port.get("shape"):
        result *= extent
    return result


@para_check.check_op_params(
    para_check.REQUIRED_INPUT,
    para_check.REQUIRED_INPUT,
    para_check.REQUIRED_OUTPUT,
    para_check.KERNEL_NAME,
)
def uair_add_softmax(x0, x1, y0, kernel_name="uair_add_softmax"):
    """Build the operator."""
    for name, port in {'x0': x0, 'x1': x1, 'y0': y0}.items():
        if count(port) != SIZES[name]:
            raise RuntimeError("uair_add_softmax: {} has {} elements, the operator is for {}".format(
                name, count(port), SIZES[name]))
    in0 = tvm.placeholder((4, 8), name="x0", dtype="float16")
    in1 = tvm.placeholder((1, 8), name="x1", dtype="float16")
    t0 = tbe.cast_to(in0, "float32")
    t1 = tbe.cast_to(in1, "float32")
    t2 = tbe.broadcast(t1, (4, 8))
    t3 = tbe.vadd(t0, t2)
    t4 = tbe.cast_to(t3, "float16")
    t5 = tbe.reduce_max(t4, axis=[1], keepdims=True)
    t6 = tbe.cast_to(t5, "float32")
    t7 = tbe.broadcast(t6, (4, 8))
    t8 = tbe.vsub(t3, t7)
    t9 = tbe.cast_to(t8, "float16")
    t10 = tbe.vexp(t9)
    t11 = tbe.cast_to(t10, "float32")
    t12 = tbe.reduce_sum(t11, axis=[1], keepdims=True)
    t13 = tbe.vmaxs(t12, tvm.const(-1.0000000150474662e+30, "float32"))
    t14 = tbe.vmins(t13, tvm.const(1.0000000150474662e+30, "float32"))
    t15 = tbe.vrec(t14)
    t16 = tbe.vmul(t14, t15)
    t17 = tbe.vmuls(t16, tvm.const(-1.0, "float32"))
    t18 = tbe.vadds(t17, tvm.const(2.0, "float32"))
    t19 = tbe.vmul(t15, t18)
    t20 = tbe.broadcast(t19, (4, 8))
    t21 = tbe.vmul(t11, t20)
    t22 = tbe.cast_to(t21, "float16")
    with tvm.target.cce():
        schedule = tbe.auto_schedule([t22])
    tbe.build(schedule, {
        "name": kernel_name,
        "print_ir": False,
        "tensor_list": [in0, in1, t22],
    })
