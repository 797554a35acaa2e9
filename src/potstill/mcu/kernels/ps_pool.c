#include "ps_kernels.h"
#include "ps_math.h"

PS_INLINE void pool(const ps_window_t *p, const int8_t *in, int8_t *out, const int average) {
  for (int32_t oy = 0; oy < p->out_h; oy++) {
    for (int32_t ox = 0; ox < p->out_w; ox++) {
      const int32_t y0 = oy * p->stride_h - p->pad_h, x0 = ox * p->stride_w - p->pad_w;
      const int32_t top = y0 < 0 ? 0 : y0, left = x0 < 0 ? 0 : x0;
      const int32_t bottom = y0 + p->k_h > p->in_h ? p->in_h : y0 + p->k_h;
      const int32_t end = x0 + p->k_w > p->in_w ? p->in_w : x0 + p->k_w;
      const int32_t n = (bottom - top) * (end - left);
      for (int32_t c = 0; c < p->in_c; c++) {
        int32_t r = average ? 0 : -128;
        for (int32_t y = top; y < bottom; y++) {
          const int8_t *from = in + (y * p->in_w + left) * p->in_c + c;
          for (int32_t x = left; x < end; x++, from += p->in_c) {
            if (average)
              r += *from;
            else if (*from > r)
              r = *from;
          }
        }
        if (average) r = r > 0 ? (r + n / 2) / n : (r - n / 2) / n;
        *out++ = (int8_t)ps_clamped(r, p->low, p->high);
      }
    }
  }
}

void ps_average_pool_s8(const ps_window_t *p, const int8_t *in, int8_t *out) { pool(p, in, out, 1); }

void ps_max_pool_s8(const ps_window_t *p, const int8_t *in, int8_t *out) { pool(p, in, out, 0); }

void ps_mean_s8(int32_t outer, int32_t n, int32_t inner, int32_t in_zero, int32_t out_zero, int32_t mult, int32_t right,
                const int8_t *in, int8_t *out) {
  for (int32_t o = 0; o < outer; o++, in += n * inner) {
    for (int32_t c = 0; c < inner; c++) {
      int32_t r = -in_zero * n;
      for (int32_t i = 0; i < n; i++) r += in[i * inner + c];
      *out++ = (int8_t)ps_clamped(ps_scaled_wide(r, mult, right) + out_zero, -128, 127);
    }
  }
}
