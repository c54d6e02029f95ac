/* Written by UAIR: what every csinn graph repeats. Needs the headers of SHL 3.2. */
#ifndef UAIR_CSINN_H
#define UAIR_CSINN_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A tensor of the session, not quantized. */
static inline struct csinn_tensor *uair_tensor(struct csinn_session *session, const char *name,
                                               enum csinn_dtype_enum dtype, enum csinn_layout_enum layout, int rank,
                                               const int *extents) {
  struct csinn_tensor *tensor = csinn_alloc_tensor(session);
  tensor->name = (char *)name;
  tensor->dtype = dtype;
  tensor->layout = layout;
  tensor->dim_count = rank;
  for (int i = 0; i < rank; i++) tensor->dim[i] = extents[i];
  return tensor;
}

static inline void uair_quant_info(struct csinn_quant_info *info, float scale, int zero_point) {
  info->scale = scale;
  info->zero_point = zero_point;
  shl_quantize_multiplier(scale, &info->multiplier, &info->shift);
  info->min = scale * (float)(-128 - zero_point);
  info->max = scale * (float)(127 - zero_point);
}

/* Integers that stand for (q - zero_point) * scale. */
static inline void uair_quantized(struct csinn_tensor *tensor, float scale, int zero_point) {
  uair_quant_info(tensor->qinfo, scale, zero_point);
}

/* Integers with a scale for each index of the first axis; `scales` are floats in model.params. */
static inline void uair_quantized_channels(struct csinn_tensor *tensor, int channels, const char *scales) {
  csinn_realloc_quant_info(tensor, channels);
  for (int i = 0; i < channels; i++) {
    float scale;
    memcpy(&scale, scales + sizeof(float) * i, sizeof scale);
    uair_quant_info(&tensor->qinfo[i], scale, 0);
  }
}

static inline void uair_constant(struct csinn_tensor *tensor, char *data) {
  tensor->data = data;
  tensor->is_const = 1;
}

#endif
