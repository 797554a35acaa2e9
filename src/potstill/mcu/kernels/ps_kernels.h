/* int8 kernels with the arithmetic of TensorFlow Lite Micro: accumulators are int32, and a result is rounded twice, once by the
 * doubling high product and once by the shift. C99 without a heap; under __ARM_FEATURE_SIMD32 (Cortex-M4, M7, M33 with DSP) the inner
 * loops use the DSP extension and give the same codes.
 *
 * Tensors are [height][width][channels]. Multipliers are Q0.31; `right` is a right shift of 0 to 31. `_wide` kernels take accumulators
 * of up to 2^31 and left shifts (right < 0); the others need |accumulator| < 2^30 and right >= 0, which the generator proves.
 */
#ifndef PS_KERNELS_H
#define PS_KERNELS_H

#include <stdint.h>

/* A window that moves over an image: convolutions and pools. */
typedef struct {
  int16_t in_h, in_w, in_c, out_h, out_w, out_c;
  int16_t k_h, k_w, stride_h, stride_w, dilation_h, dilation_w, pad_h, pad_w;
  int16_t in_zero, out_zero, low, high;
} ps_window_t;

/* Four loops over two operands and a dense output; a step of 0 repeats an operand. */
typedef struct {
  int32_t dim[4], a_step[4], b_step[4];
  int16_t a_zero, b_zero, out_zero, low, high;
  int32_t a_mult, b_mult, out_mult;
  int8_t a_right, b_right, out_right, negate_b;
} ps_binary_t;

/* Four loops that copy from one tensor into another; steps in elements, negative ones run backwards. */
typedef struct {
  int32_t dim[4], in_step[4], out_step[4];
} ps_copy_t;

/* bias holds bias - in_zero * sum(w). w: [out_c][n], n = k_h * k_w * in_c rounded up to a multiple of 4, filled with 0. col: 2 * n
 * bytes, or 0 for 1 x 1 windows without padding whose in_c is a multiple of 4. */
void ps_conv_s8(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias, const int32_t *mult,
                const int8_t *right, int8_t *col, int8_t *out);
void ps_conv_s8_wide(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias, const int32_t *mult,
                     const int8_t *right, int8_t *col, int8_t *out);

/* w: [k_h][k_w][out_c], out_c a multiple of in_c. taps: room for k_h * k_w pointers. zeros: in_c bytes, filled with in_zero. */
void ps_depthwise_s8(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias, const int32_t *mult,
                     const int8_t *right, const int8_t **taps, int8_t *zeros, int8_t *out);
void ps_depthwise_s8_wide(const ps_window_t *p, const int8_t *in, const int8_t *w, const int32_t *bias,
                          const int32_t *mult, const int8_t *right, const int8_t **taps, int8_t *zeros, int8_t *out);

/* w: [n_out][n_in]. One multiplier and shift for all outputs, or in `_each` kernels one for each. */
#define PS_DENSE(name)                                                                                              \
  void name(int32_t rows, int32_t n_in, int32_t n_out, const int8_t *in, const int8_t *w, const int32_t *bias,     \
            const int32_t *mult, const int8_t *right, int32_t out_zero, int32_t low, int32_t high, int8_t *out)
PS_DENSE(ps_dense_s8);
PS_DENSE(ps_dense_s8_wide);
PS_DENSE(ps_dense_s8_each);
PS_DENSE(ps_dense_s8_each_wide);

void ps_average_pool_s8(const ps_window_t *p, const int8_t *in, int8_t *out);
void ps_max_pool_s8(const ps_window_t *p, const int8_t *in, int8_t *out);
/* Mean over the middle of [outer][n][inner]; mult holds 1 / n. */
void ps_mean_s8(int32_t outer, int32_t n, int32_t inner, int32_t in_zero, int32_t out_zero, int32_t mult, int32_t right,
                const int8_t *in, int8_t *out);

/* out may be a or b where their steps are those of out. */
void ps_add_s8(const ps_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);
void ps_mul_s8(const ps_binary_t *p, const int8_t *a, const int8_t *b, int8_t *out);
/* out may be in. table: what each code becomes, from -128 on. */
void ps_table_s8(int32_t n, const int8_t *table, const int8_t *in, int8_t *out);
/* mult, left: scale of the difference to the row's maximum in Q5.26; lower differences count as 0. */
void ps_softmax_s8(int32_t rows, int32_t depth, int32_t mult, int32_t left, int32_t lowest, const int8_t *in,
                   int8_t *out);

void ps_fill_s8(int32_t n, int32_t code, int8_t *out);
void ps_copy_s8(const ps_copy_t *p, const int8_t *in, int8_t *out);
/* from_row, from_column: the row and column that each of the output's is taken from. */
void ps_resize_s8(int32_t in_w, int32_t channels, int32_t out_h, int32_t out_w, const int16_t *from_row,
                  const int16_t *from_column, const int8_t *in, int8_t *out);

/* float32 at the edges. Tensors of floats are read and written byte-wise: the memory is that of codes. */
enum { PS_FLOAT_ADD, PS_FLOAT_SUB, PS_FLOAT_MUL, PS_FLOAT_DIV };
void ps_float_binary(int32_t op, const ps_copy_t *p, const int8_t *a, const float *b, int8_t *out);
void ps_quantize_s8(int32_t n, float scale, int32_t zero, const int8_t *in, int8_t *out);
void ps_dequantize_s8(int32_t n, float scale, int32_t zero, const int8_t *in, int8_t *out);

#endif
