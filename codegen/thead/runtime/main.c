/* Written by UAIR: runs the model on arrays in files.

     model [--params FILE] [--repeat N] [--output FOLDER] INPUT...
     model [--params FILE] --compile

   INPUT is a file for each input in order: .npy, or nothing but the elements. Every output is written as
   output_<number>.npy into the folder (the current one unless given). With --repeat the graph is run N times more, and
   the time of each is printed in milliseconds. --compile makes the graph and runs nothing.

   Exit status: 0 done, 1 a file or the library failed, 2 wrong arguments. */
#include <csinn/csi_nn.h>
#include <shl_utils.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "model.h"

static int usage(void) {
  fprintf(stderr, "usage: model [--params FILE] [--repeat N] [--output FOLDER] INPUT...\ninputs:\n");
  for (int i = 0; i < MODEL_INPUTS; i++) {
    fprintf(stderr, "  %s [", model_inputs[i].name);
    for (int j = 0; j < model_inputs[i].rank; j++) fprintf(stderr, "%s%d", j ? ", " : "", model_inputs[i].extents[j]);
    fprintf(stderr, "]\n");
  }
  return 2;
}

/* The data of an input tensor, which stays in memory as long as the session. */
static void *prepared(const struct uair_port *port, const struct csinn_tensor *tensor, void *elements) {
  size_t count = uair_elements(port);
  if (port->type != UAIR_FLOAT32 || tensor->dtype == CSINN_DTYPE_FLOAT32) return elements;
  void *data = shl_mem_alloc((int64_t)(count * 2));
  if (tensor->dtype == CSINN_DTYPE_INT8)
    uair_quantize(elements, data, count, tensor->qinfo->scale, tensor->qinfo->zero_point);
  else
    uair_to_half(elements, data, count);
  free(elements);
  return data;
}

static int feed(struct csinn_session *session, int i, const char *path) {
  struct csinn_tensor *tensor = csinn_alloc_tensor(NULL);
  csinn_get_input(i, tensor, session);
  void *elements = uair_read_array(path, &model_inputs[i]);
  if (!elements) return 1;
  tensor->data = prepared(&model_inputs[i], tensor, elements);
  csinn_update_input(i, tensor, session);
  return 0;
}

static int collect(struct csinn_session *session, int i, const char *folder) {
  const struct uair_port *port = &model_outputs[i];
  struct csinn_tensor *tensor = csinn_alloc_tensor(NULL);
  csinn_get_output(i, tensor, session);
  size_t count = uair_elements(port);
  const void *data = tensor->data;
  float *real = NULL;
  if (port->type == UAIR_FLOAT32 && tensor->dtype != CSINN_DTYPE_FLOAT32) {
    real = malloc(count * sizeof *real);
    if (tensor->dtype == CSINN_DTYPE_INT8)
      uair_dequantize(data, real, count, tensor->qinfo->scale, tensor->qinfo->zero_point);
    else
      uair_from_half(data, real, count);
    data = real;
  }
  char path[4096];
  snprintf(path, sizeof path, "%s/output_%d.npy", folder, i);
  int bad = uair_write_array(path, port, data);
  free(real);
  return bad;
}

static int run(struct csinn_session *session, int repeat) {
  for (int i = 0; i <= repeat; i++) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    if (csinn_session_run(session) != CSINN_TRUE) {
      fprintf(stderr, "csinn_session_run failed\n");
      return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (i) printf("%.3f\n", (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
  }
  return 0;
}

int main(int argc, char **argv) {
  const char *params_path = "model.params", *folder = ".";
  int repeat = 0, compile = 0, next = 1;
  for (; next < argc && strncmp(argv[next], "--", 2) == 0; next++) {
    if (strcmp(argv[next], "--compile") == 0) {
      compile = 1;
    } else if (next + 1 == argc) {
      return usage();
    } else if (strcmp(argv[next], "--params") == 0) {
      params_path = argv[++next];
    } else if (strcmp(argv[next], "--output") == 0) {
      folder = argv[++next];
    } else if (strcmp(argv[next], "--repeat") == 0) {
      repeat = atoi(argv[++next]);
    } else {
      return usage();
    }
  }
  if (argc - next != (compile ? 0 : MODEL_INPUTS)) return usage();
  size_t bytes;
  char *params = uair_read(params_path, &bytes);
  if (!params) return 1;
  struct csinn_session *session = model_create(params);
  for (int i = 0; !compile && i < MODEL_INPUTS; i++)
    if (feed(session, i, argv[next + i])) return 1;
  if (!compile && run(session, repeat)) return 1;
  for (int i = 0; !compile && i < MODEL_OUTPUTS; i++)
    if (collect(session, i, folder)) return 1;
  csinn_session_deinit(session);
  csinn_free_session(session);
  free(params);
  return 0;
}
