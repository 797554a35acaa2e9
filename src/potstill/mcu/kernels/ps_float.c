#include "ps_kernels.h"

#include <math.h>
#include <string.h>

static float load(const int8_t *p, int32_t i) {
  float v;
  memcpy(&v, p + 4 * i, 4);
  return v;
}

static void store(int8_t *p, int32_t i, float v) { memcpy(p + 4 * i, &v, 4); }

void ps_float_binary(int32_t op, const ps_copy_t *p, const int8_t *a, const float *b, int8_t *out) {
  int32_t at = 0;
  for (int32_t i = 0; i < p->dim[0]; i++)
    for (int32_t j = 0; j < p->dim[1]; j++)
      for (int32_t k = 0; k < p->dim[2]; k++)
        for (int32_t m = 0; m < p->dim[3]; m++, at++) {
          const float x = load(a, at);
          const float y = b[i * p->in_step[0] + j * p->in_step[1] + k * p->in_step[2] + m * p->in_step[3]];
          const float r = op == PS_FLOAT_ADD ? x + y : op == PS_FLOAT_SUB ? x - y : op == PS_FLOAT_MUL ? x * y : x / y;
          store(out, at, r);
        }
}

void ps_quantize_s8(int32_t n, float scale, int32_t zero, const int8_t *in, int8_t *out) {
  for (int32_t i = 0; i < n; i++) {
    float v = roundf(load(in, i) / scale) + (float)zero;
    v = v >= -128.0f ? v : -128.0f; /* so that a NaN is a code too */
    out[i] = (int8_t)(v > 127.0f ? 127.0f : v);
  }
}

void ps_dequantize_s8(int32_t n, float scale, int32_t zero, const int8_t *in, int8_t *out) {
  for (int32_t i = 0; i < n; i++) store(out, i, scale * (float)(in[i] - zero));
}
