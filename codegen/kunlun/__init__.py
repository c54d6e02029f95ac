"""Kunlunxin: Paddle Inference on the XPU."""

from uair.codegen.kunlun.target import KunlunTarget

__all__ = ["KunlunTarget"]
