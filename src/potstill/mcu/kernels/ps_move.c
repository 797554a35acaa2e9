#include "ps_kernels.h"

#include <string.h>

void ps_fill_s8(int32_t n, int32_t code, int8_t *out) { memset(out, code, (size_t)n); }

void ps_copy_s8(const ps_copy_t *p, const int8_t *in, int8_t *out) {
  const int32_t n = p->dim[3], in_step = p->in_step[3], out_step = p->out_step[3];
  for (int32_t i = 0; i < p->dim[0]; i++)
    for (int32_t j = 0; j < p->dim[1]; j++)
      for (int32_t k = 0; k < p->dim[2]; k++) {
        const int8_t *from = in + i * p->in_step[0] + j * p->in_step[1] + k * p->in_step[2];
        int8_t *to = out + i * p->out_step[0] + j * p->out_step[1] + k * p->out_step[2];
        if (in_step == 1 && out_step == 1)
          memcpy(to, from, (size_t)n);
        else
          for (int32_t m = 0; m < n; m++) to[m * out_step] = from[m * in_step];
      }
}

void ps_resize_s8(int32_t in_w, int32_t channels, int32_t out_h, int32_t out_w, const int16_t *from_row,
                  const int16_t *from_column, const int8_t *in, int8_t *out) {
  for (int32_t y = 0; y < out_h; y++)
    for (int32_t x = 0; x < out_w; x++, out += channels)
      memcpy(out, in + (from_row[y] * in_w + from_column[x]) * channels, (size_t)channels);
}
