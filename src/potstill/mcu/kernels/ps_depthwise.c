#include "ps_kernels.h"
#include "ps_math.h"

#define CODE(acc, c) \
  (int8_t)ps_clamped((wide ? ps_scaled_wide(acc, mult[c], right[c]) : ps_scaled(acc, mult[c], right[c])) + zero, low, high)

/* Taps outside the image read `zeros`, so the inner loop has no branch. */
PS_INLINE void depthwise(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias,
                         const int32_t *mult, const int8_t *right, const int8_t **taps, int8_t *zeros, int8_t *out,
                         const int wide) {
  const int32_t in_c = p->in_c, out_c = p->out_c, each = out_c / in_c, num = p->k_h * p->k_w;
  const int32_t zero = p->out_zero, low = p->low, high = p->high;
  memset(zeros, p->in_zero, (size_t)in_c);
  for (int32_t oy = 0; oy < p->out_h; oy++) {
    for (int32_t ox = 0; ox < p->out_w; ox++, out += out_c) {
      const int8_t **tap = taps;
      int32_t y = oy * p->stride_h - p->pad_h;
      for (int32_t ky = 0; ky < p->k_h; ky++, y += p->dilation_h) {
        int32_t x = ox * p->stride_w - p->pad_w, at = (y * p->in_w + x) * in_c;
        const int inside = y >= 0 && y < p->in_h;
        for (int32_t kx = 0; kx < p->k_w; kx++, x += p->dilation_w, at += p->dilation_w * in_c)
          *tap++ = inside && x >= 0 && x < p->in_w ? in + at : zeros;
      }
      int32_t c = 0;
      if (each == 1) {
        for (; c + 4 <= out_c; c += 4) {
          int32_t r0 = bias[c], r1 = bias[c + 1], r2 = bias[c + 2], r3 = bias[c + 3];
          const int8_t *wp = w + c;
          for (int32_t k = 0; k < num; k++, wp += out_c) {
#ifdef PS_DSP
            const uint32_t xv = ps_load4(taps[k] + c), wv = ps_load4(wp);
            const int16x2_t xe = ps_even(xv), xo = ps_odd(xv), we = ps_even(wv), wo = ps_odd(wv);
            r0 = __smlabb(xe, we, r0);
            r2 = __smlatt(xe, we, r2);
            r1 = __smlabb(xo, wo, r1);
            r3 = __smlatt(xo, wo, r3);
#else
            const int8_t *xp = taps[k] + c;
            r0 += xp[0] * wp[0];
            r1 += xp[1] * wp[1];
            r2 += xp[2] * wp[2];
            r3 += xp[3] * wp[3];
#endif
          }
          out[c] = CODE(r0, c);
          out[c + 1] = CODE(r1, c + 1);
          out[c + 2] = CODE(r2, c + 2);
          out[c + 3] = CODE(r3, c + 3);
        }
      }
      for (; c < out_c; c++) {
        int32_t r = bias[c];
        const int32_t from = c / each;
        for (int32_t k = 0; k < num; k++) r += taps[k][from] * w[k * out_c + c];
        out[c] = CODE(r, c);
      }
    }
  }
}

void ps_depthwise_s8(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias, const int32_t *mult,
                     const int8_t *right, const int8_t **taps, int8_t *zeros, int8_t *out) {
  depthwise(p, in, w, bias, mult, right, taps, zeros, out, 0);
}

void ps_depthwise_s8_wide(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias,
                          const int32_t *mult, const int8_t *right, const int8_t **taps, int8_t *zeros, int8_t *out) {
  depthwise(p, in, w, bias, mult, right, taps, zeros, out, 1);
}
