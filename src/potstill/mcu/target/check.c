/* Runs the model over the golden vectors and compares every byte; exit code 0 says that all are equal. On a workstation as it stands,
 * on an emulated core with startup.c and -DON_TARGET. */
#include <stdint.h>
#include <string.h>

#include "golden.h"
#include "model.h"
#ifdef ON_TARGET
#include "target.h"
#else
#include <stdio.h>
static void host_print(const char *text) { fputs(text, stdout); }
#endif

static const uint32_t input_bytes[] = MODEL_INPUT_SIZES, output_bytes[] = MODEL_OUTPUT_SIZES;

int main(void) {
  const uint8_t *in = golden_inputs, *out = golden_outputs;
  int wrong = 0;
  for (int row = 0; row < GOLDEN_ROWS; row++) {
    for (int i = 0; i < MODEL_NUM_INPUTS; in += input_bytes[i++]) memcpy(model_input(i), in, input_bytes[i]);
    model_invoke();
    for (int i = 0; i < MODEL_NUM_OUTPUTS; out += output_bytes[i++])
      if (memcmp(model_output(i), out, output_bytes[i])) wrong = 1;
  }
  host_print(wrong ? "check: outputs DIFFER from the golden vectors\n" : "check: all outputs equal the golden vectors\n");
  return wrong;
}
