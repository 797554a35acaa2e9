#include "ps_kernels.h"
#include "ps_math.h"

#define CODE(acc, c) \
  (int8_t)ps_clamped((wide ? ps_scaled_wide(acc, mult[c], right[c]) : ps_scaled(acc, mult[c], right[c])) + zero, low, high)

/* One window as a row: [k_h][k_w][in_c], in_zero outside the image. */
static void gather(const ps_window_t *p, const int8_t *in, int32_t out_y, int32_t out_x, int8_t *to) {
  const int32_t c = p->in_c, row = p->k_w * c, x0 = out_x * p->stride_w - p->pad_w;
  int32_t y = out_y * p->stride_h - p->pad_h;
  for (int32_t ky = 0; ky < p->k_h; ky++, y += p->dilation_h, to += row) {
    if (y < 0 || y >= p->in_h) {
      memset(to, p->in_zero, (size_t)row);
      continue;
    }
    const int8_t *from = in + y * p->in_w * c;
    if (p->dilation_w == 1) {
      int32_t first = x0 < 0 ? -x0 : 0, end = x0 + p->k_w > p->in_w ? p->in_w - x0 : p->k_w;
      if (first > p->k_w) first = p->k_w;
      if (end < first) end = first;
      if (first > 0) memset(to, p->in_zero, (size_t)(first * c));
      if (end < p->k_w) memset(to + end * c, p->in_zero, (size_t)((p->k_w - end) * c));
      if (end > first) memcpy(to + first * c, from + (x0 + first) * c, (size_t)((end - first) * c));
    } else {
      for (int32_t kx = 0; kx < p->k_w; kx++) {
        const int32_t x = x0 + kx * p->dilation_w;
        if (x >= 0 && x < p->in_w)
          memcpy(to + kx * c, from + x * c, (size_t)c);
        else
          memset(to + kx * c, p->in_zero, (size_t)c);
      }
    }
  }
}

PS_INLINE void conv(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias, const int32_t *mult,
                    const int8_t *right, int8_t *col, int8_t *out, const int wide) {
  const int32_t n = (p->k_h * p->k_w * p->in_c + 3) & ~3, out_c = p->out_c, out_w = p->out_w;
  const int32_t zero = p->out_zero, low = p->low, high = p->high;
  const int32_t pixels = p->out_h * out_w, step = p->stride_w * p->in_c, row = p->stride_h * p->in_w * p->in_c;
  int32_t y = 0, x = 0;
  for (int32_t i = 0; i < pixels; i += 2) {
    const int two = i + 1 < pixels;
    int32_t y1 = y, x1 = x;
    if (two && ++x1 == out_w) x1 = 0, y1++;
    const int8_t *a0, *a1, *wp = w;
    if (col) {
      a0 = col;
      a1 = col + n;
      gather(p, in, y, x, col);
      if (two) gather(p, in, y1, x1, col + n);
    } else {
      a0 = in + y * row + x * step;
      a1 = in + y1 * row + x1 * step;
    }
    int8_t *o0 = out + i * out_c, *o1 = o0 + out_c;
    int32_t c = 0;
    if (two) {
      for (; c + 2 <= out_c; c += 2, wp += 2 * n) {
        int32_t r[4] = {bias[c], bias[c + 1], bias[c], bias[c + 1]};
        ps_dot_2x2(a0, a1, wp, wp + n, n, r);
        o0[c] = CODE(r[0], c);
        o1[c] = CODE(r[2], c);
        o0[c + 1] = CODE(r[1], c + 1);
        o1[c + 1] = CODE(r[3], c + 1);
      }
    }
    for (; c < out_c; c++, wp += n) {
      o0[c] = CODE(ps_dot(a0, wp, n, bias[c]), c);
      if (two) o1[c] = CODE(ps_dot(a1, wp, n, bias[c]), c);
    }
    y = y1;
    x = x1;
    if (two && ++x == out_w) x = 0, y++;
  }
}

void ps_conv_s8(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias, const int32_t *mult,
                const int8_t *right, int8_t *col, int8_t *out) {
  conv(p, in, w, bias, mult, right, col, out, 0);
}

void ps_conv_s8_wide(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias, const int32_t *mult,
                     const int8_t *right, int8_t *col, int8_t *out) {
  conv(p, in, w, bias, mult, right, col, out, 1);
}
