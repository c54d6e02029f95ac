"""The table of layers is read from what the toolkit really printed."""

from __future__ import annotations

import pytest

from uair.codegen.rockchip.layer_table import LayerTableError, read_layer_table

LOG = """I rknn building ...
D RKNN: [01:40:53.417] >>>>>> start: rknn::RKNNModelRegCmdbuildPass
D RKNN: [01:40:53.417]                                Network Layer Information Table
D RKNN: [01:40:53.417] ------------------------------------------------------------------------------
D RKNN: [01:40:53.417] ID   OpType             DataType Target InputShape                               OutputShape            Cycles(DDR/NPU/Total)    RW(KB)       FullName
D RKNN: [01:40:53.417] ------------------------------------------------------------------------------
\x1b[36mD RKNN: [01:40:53.417] 0    InputOperator      FLOAT16  CPU    \\                                        (1,24,24,3)            0/0/0                    0            InputOperator:input_2\x1b[0m
D RKNN: [01:40:53.417] 1    Transpose          FLOAT16  NPU    (1,24,24,3)                              (1,3,24,24)            0/0/0                    3            Transpose:Transpose6
D RKNN: [01:40:53.417] 2    ConvPRelu          FLOAT16  NPU    (1,3,24,24),(28,3,3,3),(28),...          (1,28,22,22)           1771/8928/8928           10           Conv:conv2d_5
D RKNN: [01:40:53.417] 8    Conv               INT8     NPU    (1,128,1,1),(4,128,1,1),(4)              (1,4,1,1)              58/64/64                 1            Conv:Add#2
D RKNN: [01:40:53.417] 11   Reshape            FLOAT16  CPU    (1,2,1,1),(2)                            (1,2)                  0/0/0                    0            Reshape:softmax_1-rs
D RKNN: [01:40:53.417] 12   OutputOperator     FLOAT16  CPU    (1,2)                                    \\                      0/0/0                    0            OutputOperator:softmax_1
D RKNN: [01:40:53.417] ------------------------------------------------------------------------------
D RKNN: [01:40:53.417] <<<<<<<< end: rknn::RKNNModelRegCmdbuildPass
D RKNN: [01:40:53.434]                                               Feature Tensor Information Table
D RKNN: [01:40:53.434] 1   Transpose      input_2                            FLOAT16   NC1HWC2      (1,24,24,3)  (1,12,24,3,8) | 0x0 0xd80 0xd80
D RKNN: [01:40:53.434] Total Internal Memory Size: 69.625KB
D RKNN: [01:40:53.434] Total Weight Memory Size: 204.312KB
"""  # noqa: E501  as it was printed, for mtcnn's R-Net with two rows changed


def test_rows_and_memory() -> None:
    table = read_layer_table(LOG)
    assert [layer.op for layer in table.layers] == [
        "InputOperator", "Transpose", "ConvPRelu", "Conv", "Reshape", "OutputOperator",
    ]  # fmt: skip
    conv = table.layers[2]
    assert (conv.number, conv.dtype, conv.target, conv.name) == (2, "FLOAT16", "NPU", "Conv:conv2d_5")
    assert conv.inputs == ((1, 3, 24, 24), (28, 3, 3, 3), (28,)) and conv.output == (1, 28, 22, 22)
    assert (conv.ddr_cycles, conv.npu_cycles, conv.cycles, conv.kilobytes) == (1771, 8928, 8928, 10)
    assert table.layers[0].inputs == () and table.layers[-1].output is None
    assert table.cycles == 8928 + 64
    assert table.internal_bytes == 71296 and table.weight_bytes == round(204.312 * 1024)


def test_inputs_and_outputs_are_not_counted_as_layers() -> None:
    table = read_layer_table(LOG)
    assert [layer.op for layer in table.on("NPU")] == ["Transpose", "ConvPRelu", "Conv"]
    assert table.operators("CPU") == {"Reshape": 1}


def test_the_last_table_counts() -> None:
    first = LOG.replace("conv2d_5", "an_earlier_stage").replace("1771/8928/8928", "0/1/1")
    assert read_layer_table(first + LOG).cycles == 8992


def test_the_further_column_of_rk3576() -> None:
    wide = LOG.replace("1771/8928/8928           10 ", "1771/8928/8928           0%           10 ")
    assert wide != LOG and read_layer_table(wide) == read_layer_table(LOG)


def test_without_a_table() -> None:
    with pytest.raises(LayerTableError, match="has no table of layers") as caught:
        read_layer_table("I rknn building ...\nE build: Catch exception\n")
    assert "verbose" in caught.value.hint


def test_a_row_of_another_form() -> None:
    with pytest.raises(LayerTableError, match="cannot be read"):
        read_layer_table(LOG.replace("1771/8928/8928", "1771 8928"))
