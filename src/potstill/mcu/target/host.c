/* The model on a workstation: rows of all inputs on stdin, rows of all outputs on stdout. */
#include <stdint.h>
#include <stdio.h>

#include "model.h"

static const uint32_t input_bytes[] = MODEL_INPUT_SIZES, output_bytes[] = MODEL_OUTPUT_SIZES;

int main(void) {
  for (;;) {
    for (int i = 0; i < MODEL_NUM_INPUTS; i++)
      if (fread(model_input(i), 1, input_bytes[i], stdin) != input_bytes[i]) return 0;
    model_invoke();
    for (int i = 0; i < MODEL_NUM_OUTPUTS; i++)
      if (fwrite(model_output(i), 1, output_bytes[i], stdout) != output_bytes[i]) return 1;
    if (fflush(stdout)) return 1;
  }
}
