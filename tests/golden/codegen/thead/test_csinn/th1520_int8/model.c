/* Written by UAIR. */
#include <shl_public/shl_pnna.h>
#include <shl_utils.h>

#include "model.h"
#include "uair_csinn.h"

struct csinn_session *model_create(char *params) {
  struct csinn_session *session = csinn_alloc_session();
  session->base_api = CSINN_TH1520;
  session->base_run_mode = CSINN_RM_NPU_GRAPH;
  session->base_quant_type = CSINN_QUANT_INT8_ASYM_W_SYM;
  session->base_dtype = CSINN_DTYPE_INT8;
  session->base_layout = CSINN_LAYOUT_NCHW;
  session->model.save_mode = CSINN_SAVE_AND_RUN;
  session->dynamic_shape = false;
  csinn_session_init(session);
  csinn_set_input_number(1, session);
  csinn_set_output_number(1, session);

  struct csinn_tensor *t0 = uair_tensor(session, "x", CSINN_DTYPE_INT8, CSINN_LAYOUT_NCHW, 4, (int[]){1, 3, 8, 8});
  uair_quantized(t0, 0.0250684731f, -9);
  struct csinn_tensor *t1 = uair_tensor(session, "c", CSINN_DTYPE_INT8, CSINN_LAYOUT_NCHW, 4, (int[]){1, 4, 4, 4});
  uair_quantized(t1, 0.0258823521f, -128);
  struct csinn_tensor *t2 = uair_tensor(session, "w_dequantized", CSINN_DTYPE_INT8, CSINN_LAYOUT_OIHW, 4, (int[]){4, 3, 3, 3});
  uair_quantized_channels(t2, 4, params + 0);
  uair_constant(t2, params + 64);
  struct csinn_tensor *t3 = uair_tensor(session, "b_dequantized", CSINN_DTYPE_INT32, CSINN_LAYOUT_O, 1, (int[]){4});
  uair_quantized_channels(t3, 4, params + 192);
  uair_constant(t3, params + 256);
  struct csinn_tensor *t4 = uair_tensor(session, "r", CSINN_DTYPE_INT8, CSINN_LAYOUT_NCHW, 4, (int[]){1, 4, 4, 4});
  uair_quantized(t4, 0.0258823521f, -128);
  struct csinn_tensor *t5 = uair_tensor(session, "p", CSINN_DTYPE_INT8, CSINN_LAYOUT_NCHW, 4, (int[]){1, 4, 2, 2});
  uair_quantized(t5, 0.0258823521f, -128);
  struct csinn_tensor *t6 = uair_tensor(session, "g", CSINN_DTYPE_INT8, CSINN_LAYOUT_NCHW, 4, (int[]){1, 4, 1, 1});
  uair_quantized(t6, 0.0115462681f, -128);
  struct csinn_tensor *t7 = uair_tensor(session, "f", CSINN_DTYPE_INT8, CSINN_LAYOUT_NC, 2, (int[]){1, 4});
  uair_quantized(t7, 0.0115462681f, -128);
  struct csinn_tensor *t8 = uair_tensor(session, "l", CSINN_DTYPE_INT8, CSINN_LAYOUT_NC, 2, (int[]){1, 5});
  uair_quantized(t8, 0.0228977297f, 21);
  struct csinn_tensor *t9 = uair_tensor(session, "v_dequantized", CSINN_DTYPE_INT8, CSINN_LAYOUT_OI, 2, (int[]){5, 4});
  uair_quantized_channels(t9, 5, params + 320);
  uair_constant(t9, params + 384);
  struct csinn_tensor *t10 = uair_tensor(session, "l_bias", CSINN_DTYPE_INT32, CSINN_LAYOUT_O, 1, (int[]){5});
  uair_quantized_channels(t10, 5, params + 448);
  uair_constant(t10, params + 512);
  struct csinn_tensor *t11 = uair_tensor(session, "y", CSINN_DTYPE_INT8, CSINN_LAYOUT_NC, 2, (int[]){1, 5});
  uair_quantized(t11, 0.00341613707f, -128);

  struct csinn_conv2d_params *p0 = csinn_alloc_params(sizeof(struct csinn_conv2d_params), session);
  p0->group = 1;
  p0->stride_height = 2;
  p0->dilation_height = 1;
  p0->pad_top = 1;
  p0->pad_down = 1;
  p0->stride_width = 2;
  p0->dilation_width = 1;
  p0->pad_left = 1;
  p0->pad_right = 1;
  p0->conv_extra.kernel_tm = NULL;
  p0->conv_extra.conv_mode = CSINN_DIRECT;
  p0->base.name = "c";
  csinn_conv2d_init(t0, t1, t2, t3, p0);

  struct csinn_relu_params *p1 = csinn_alloc_params(sizeof(struct csinn_relu_params), session);
  p1->n = 6.0f;
  p1->n_multiplier = 1610612736;
  p1->n_shift = 3;
  p1->base.name = "r";
  csinn_relu6_init(t1, t4, p1);

  struct csinn_pool_params *p2 = csinn_alloc_params(sizeof(struct csinn_pool_params), session);
  p2->filter_height = 2;
  p2->stride_height = 2;
  p2->pad_top = 0;
  p2->pad_down = 0;
  p2->filter_width = 2;
  p2->stride_width = 2;
  p2->pad_left = 0;
  p2->pad_right = 0;
  p2->ceil_mode = 0;
  p2->base.name = "p";
  csinn_maxpool2d_init(t4, t5, p2);

  struct csinn_pool_params *p3 = csinn_alloc_params(sizeof(struct csinn_pool_params), session);
  p3->base.name = "g";
  csinn_global_avgpool2d_init(t5, t6, p3);

  struct csinn_reshape_params *p4 = csinn_alloc_params(sizeof(struct csinn_reshape_params), session);
  static int32_t p4_shape[] = {1, 4};
  p4->shape = p4_shape;
  p4->shape_num = 2;
  p4->base.name = "f";
  csinn_reshape_init(t6, t7, p4);

  struct csinn_fc_params *p5 = csinn_alloc_params(sizeof(struct csinn_fc_params), session);
  p5->units = 5;
  p5->base.name = "l";
  csinn_fullyconnected_init(t7, t8, t9, t10, p5);

  struct csinn_softmax_params *p6 = csinn_alloc_params(sizeof(struct csinn_softmax_params), session);
  p6->axis = 1;
  p6->base.name = "y";
  csinn_softmax_init(t8, t11, p6);

  csinn_set_tensor_entry(t0, session);
  csinn_set_input(0, t0, session);

  csinn_conv2d(t0, t1, t2, t3, p0);
  csinn_relu6(t1, t4, p1);
  csinn_maxpool2d(t4, t5, p2);
  csinn_global_avgpool2d(t5, t6, p3);
  csinn_reshape(t6, t7, p4);
  csinn_fullyconnected(t7, t8, t9, t10, p5);
  csinn_softmax(t8, t11, p6);

  csinn_set_output(0, t11, session);
  csinn_session_setup(session);
  return session;
}
