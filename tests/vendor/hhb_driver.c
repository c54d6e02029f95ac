/* Runs the model.c that HHB writes on files, as UAIR's own main.c does: hhb_driver PARAMS REPEAT INPUT.npy
   Writes output_<number>.npy; prints the time of each repeated run in milliseconds. */
#include <shl_public/shl_ref.h>
#include <stdio.h>
#include <time.h>

#include "model.h"

void *csinn_(char *params);
void csinn_update_input_and_run(struct csinn_tensor **inputs, void *session);

int main(int argc, char **argv) {
  size_t bytes;
  char *params = argc == 4 ? uair_read(argv[1], &bytes) : NULL;
  float *elements = params ? uair_read_array(argv[3], &model_inputs[0]) : NULL;
  if (!elements) return 1;
  void *session = csinn_(params);
  struct csinn_tensor *input = csinn_alloc_tensor(NULL);
  csinn_get_input(0, input, session);
  input->data = shl_ref_f32_to_input_dtype(0, elements, session);
  struct csinn_tensor *inputs[] = {input};
  for (int i = 0; i <= atoi(argv[2]); i++) {
    struct timespec begin, end;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    csinn_update_input_and_run(inputs, session);
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (i) printf("%.3f\n", (double)(end.tv_sec - begin.tv_sec) * 1e3 + (double)(end.tv_nsec - begin.tv_nsec) / 1e6);
  }
  for (int i = 0; i < MODEL_OUTPUTS; i++) {
    struct csinn_tensor *output = csinn_alloc_tensor(NULL);
    csinn_get_output(i, output, session);
    char path[64];
    snprintf(path, sizeof path, "output_%d.npy", i);
    if (uair_write_array(path, &model_outputs[i], shl_ref_tensor_transform_f32(output)->data)) return 1;
  }
  return 0;
}
