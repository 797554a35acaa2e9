/* Runs the model over in.bin, writes out.bin, and prints what one inference took; files are those of the emulator's host. */
#include <string.h>

#include "model.h"
#include "target.h"

enum { SYS_OPEN = 0x01, SYS_CLOSE = 0x02, SYS_WRITE = 0x05, SYS_READ = 0x06, READ_BINARY = 1, WRITE_BINARY = 5 };
static const uint32_t input_bytes[] = MODEL_INPUT_SIZES, output_bytes[] = MODEL_OUTPUT_SIZES;

static int opened(const char *name, uint32_t mode) {
  const uint32_t block[3] = {(uint32_t)name, mode, strlen(name)};
  return host_call(SYS_OPEN, block);
}

static void print(const char *name, uint64_t value) {
  char digits[24], line[64];
  uint32_t n = 0, at = 0;
  while (*name) line[at++] = *name++;
  line[at++] = '=';
  do {
    digits[n++] = (char)('0' + value % 10);
    value /= 10;
  } while (value);
  while (n) line[at++] = digits[--n];
  line[at++] = '\n';
  line[at] = 0;
  host_print(line);
}

#ifdef MODEL_TRACE
static uint64_t last;
static int traced;
void model_after(int call) {
  if (traced) return;
  const uint64_t now = ticks_now();
  print("call", (uint64_t)call);
  print("call_ticks", now - last);
  last = ticks_now();
}
#endif

int main(void) {
  const int in = opened("in.bin", READ_BINARY), out = opened("out.bin", WRITE_BINARY);
  uint64_t sum = 0, least = ~UINT64_C(0), most = 0;
  uint32_t runs = 0;
  if (in < 0 || out < 0) return 98;
  for (;; runs++) {
    for (int i = 0; i < MODEL_NUM_INPUTS; i++) {
      const uint32_t block[3] = {(uint32_t)in, (uint32_t)model_input(i), input_bytes[i]};
      if (host_call(SYS_READ, block) != 0) goto done;
    }
    ticks_start();
#ifdef MODEL_TRACE
    last = ticks_now();
#endif
    const uint64_t before = ticks_now();
    model_invoke();
    const uint64_t took = ticks_now() - before;
#ifdef MODEL_TRACE
    traced = 1;
#endif
    sum += took;
    if (took < least) least = took;
    if (took > most) most = took;
    for (int i = 0; i < MODEL_NUM_OUTPUTS; i++) {
      const uint32_t block[3] = {(uint32_t)out, (uint32_t)model_output(i), output_bytes[i]};
      host_call(SYS_WRITE, block);
    }
  }
done:
  print("runs", runs);
  print("ticks_mean", runs ? sum / runs : 0);
  print("ticks_min", least);
  print("ticks_max", most);
  print("stack", stack_used());
  const uint32_t close[1] = {(uint32_t)out};
  host_call(SYS_CLOSE, close);
  return 0;
}
