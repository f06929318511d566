/* Cases of the backward micro-kernels: odd counts, borders, strides, rings, every form of weights. */
#include "backward_cases.h"

#include "mcu_kernels.h"
#include "mcu_math.h"

static float g[FLOATS], floats[FLOATS];
static int8_t bytes[FLOATS];
static uint8_t mask[FLOATS];
static const int16_t places[8] = {0, -1, 1, -2, 2, 3, -3, -4};

/* Values over many exponents, denormal ones too; the sums begin from such values, so that what a kernel leaves alone
 * shows. */
static void fill(float *out) {
    for (uint32_t i = 0; i < FLOATS; i++) {
        const uint32_t bits = mcu_hash(1u, 2u, i), other = mcu_hash(3u, 4u, i);
        g[i] = mcu_f32((bits & 0x807FFFFFu) | (i % 50u == 0u ? 0u : (120u + bits % 13u) << 23));
        floats[i] = mcu_f32((other & 0x807FFFFFu) | (other % 9u + 122u) << 23);
        out[i] = (float)(int32_t)(other >> 8) * 1e-6f;
        bytes[i] = (int8_t)(bits >> 11);
        mask[i] = i % 5u == 0u ? 255u : (uint8_t)(other >> 5);
    }
}

static void pointwise(int32_t number, float *out) {
    const int32_t pixels = 1 + number % 5, form = number / 5 % 4, filters = 4 << (number / 20);
    if (form == 0) {
        mcu_pointwise_grad4(out, 11, 8, g, 21, filters, pixels, bytes + 1, 13);
        mcu_pointwise_grad1(out + 200, 11, 3, g, 21, filters - 1, pixels, bytes + 1, 13);
    } else if (form == 1) {
        mcu_pointwise_grad4_float(out, 11, 8, g, 21, filters, pixels, floats + 1, 13);
        mcu_pointwise_grad1_float(out + 200, 11, 3, g, 21, filters - 1, pixels, floats + 1, 13);
    } else if (form == 2) {
        mcu_pointwise_grad4_split(out, 9, 8, g, 17, filters, pixels, bytes, 5, bytes + 300, 4, places);
        mcu_pointwise_grad1_split(out + 200, 9, 5, g, 17, filters - 1, pixels, bytes, 5, bytes + 300, 4, places);
    } else {
        mcu_pointwise_grad4_split_float(out, 9, 8, g, 17, filters, pixels, floats, 5, floats + 300, 4, places);
        mcu_pointwise_grad1_split_float(out + 200, 9, 5, g, 17, filters - 1, pixels, floats, 5, floats + 300, 4,
                                        places);
    }
}

static void depthwise(int32_t number, float *out) {
    const int32_t size = 3 + 2 * (number % 2), stride = 1 + number / 2 % 2, ring = number / 4 % 2 * 4;
    const int32_t extent = (6 - 1) / stride + 1, y0 = number / 8, y1 = ring != 0 ? y0 + 1 : 6, edge = (size - 1) / 2;
    const int32_t rows = ring != 0 ? 2 : 0;
    mcu_depthwise_grad8(out, 9, 6, rows, g, 10, extent, extent, ring, size, size, stride, stride, edge, edge, y0, y1,
                        bytes);
    mcu_depthwise_grad8_float(out + 400, 9, 6, rows, g, 10, extent, extent, ring, size, size, stride, stride, edge,
                              edge, y0, y1, floats);
    mcu_depthwise_grad1(out + 800, 3, 6, rows, g, 4, extent, extent, ring, size, size, stride, stride, edge, edge, y0,
                        y1, bytes);
    mcu_depthwise_grad1_float(out + 1000, 3, 6, rows, g, 4, extent, extent, ring, size, size, stride, stride, edge,
                              edge, y0, y1, floats);
}

static void parameters(int32_t n, float *out) {
    const float *scale = floats + 100;
    mcu_bias_grad8(out, 16, g, 17, n);
    mcu_bias_grad1(out + 20, 3, g, 17, n);
    mcu_weight_grad8(out + 30, 7, 5, 6, g, 17, 16, n, bytes, -3);
    mcu_weight_grad8_float(out + 150, 7, 5, 6, g, 17, 16, n, floats);
    mcu_weight_grad1(out + 270, 5, 3, 6, g, 17, 6, n, bytes, 5);
    mcu_weight_grad1_float(out + 310, 5, 3, 6, g, 17, 6, n, floats);
    mcu_depthwise_weight_grad8(out + 350, 9, 8, 11, g, 17, n, bytes, 7);
    mcu_depthwise_weight_grad8_float(out + 430, 9, 8, 11, g, 17, n, floats);
    mcu_depthwise_weight_grad1(out + 510, 9, 3, 11, g, 17, n, bytes, 7);
    mcu_depthwise_weight_grad1_float(out + 540, 9, 3, 11, g, 17, n, floats);
    mcu_mask_scale8(out + 570, 9, g, 10, mask, 1, 1 + n, scale, 8);
    mcu_mask_scale8_by(out + 700, 8, g, 8, mask, 3, 1 + n, 0.3f);
    mcu_mask_scale1(out + 820, g, mask, 3, n, scale);
    mcu_mask_scale1_by(out + 840, g, mask, 5, n, 0.3f);
}

int32_t backward_case(int32_t number, float *out) {
    fill(out);
    if (number < 40) {
        pointwise(number, out);
    } else if (number < 56) {
        depthwise(number - 40, out);
    } else {
        parameters(number - 56, out);
    }
    return number < 56 + 9;
}
