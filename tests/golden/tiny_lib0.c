/* Parameters, memory and entry points of tvmgen_tiny. Offsets are the plan's; plan.csv lists them all. */
#include "tvmgen_tiny.h"

#include <string.h>

#include "mcu_runtime.h"
#include "tvmgen_tiny_kernels.h"

/* parameter first_conv.weight: int8 8x3x3x3 */
static const int8_t p_first_conv_weight[216] = {
    89, 80, 15, 35, 38, 111, 3, 105, -57, -59, 1, 81, -49, 27, 44, -117,
    120, -127, -108, 59, -27, -123, 34, 91, -83, 11, 14, -119, -107, 44, 68, -51,
    7, 59, -5, 38, 88, -20, -62, -83, -25, 29, -105, -120, 67, 93, -126, -30,
    -122, -96, -10, 11, -125, 127, 78, -28, -20, 123, 96, -4, -31, -93, 56, 47,
    20, 99, 115, 56, -109, 38, 88, 111, 87, 6, 8, 48, -32, -36, 52, -48,
    44, 18, -44, 85, -63, 100, -25, -45, -60, 73, 56, -70, -47, 24, 55, -66,
    1, 31, 74, -41, -115, 96, 66, -106, -107, -28, -31, -113, 44, -69, 31, -42,
    68, 20, 19, -114, 102, -89, 18, -51, 92, -24, 103, -13, 127, 44, 101, -77,
    100, 76, 114, -77, 52, -104, 66, 113, -23, 31, -115, -15, -38, -34, -7, 126,
    35, 116, 26, -101, -78, 114, 3, 0, -123, 33, -115, -10, 67, -19, 85, 109,
    114, 66, -24, 60, 120, -1, 64, 109, -20, 54, 43, 7, 108, 119, -69, 110,
    95, 73, -80, -124, -108, -98, -97, -22, -94, 93, -56, 58, -106, 123, -30, 108,
    83, 82, 120, 117, -69, -60, -36, -5, -19, -90, -44, 10, 4, -68, 40, 121,
    100, -15, -34, 77, -90, 99, -92, 110
};

/* parameter first_conv.bias: int32 8 */
static const int32_t p_first_conv_bias[8] = {
    5925, -6473, 12129, 6198, 7202, 9943, 6723, 7205
};

/* parameter first_conv.scale: float32 8 */
static const float p_first_conv_scale[8] = {
    0x1.1dfa000000000p-10f, 0x1.9778e40000000p-9f, 0x1.6a7ad60000000p-9f, 0x1.14af920000000p-10f, 0x1.9294e60000000p-9f, 0x1.0b38700000000p-10f,
    0x1.a165480000000p-9f, 0x1.439d3e0000000p-9f
};

/* parameter blocks.0.pointwise1.weight: int8 16x1x1x8 */
static const int8_t p_blocks_0_pointwise1_weight[128] = {
    67, -61, -58, -66, -74, 99, -72, -70, -96, -96, 71, -54, 77, 22, 91, 14,
    67, 79, -112, 15, -12, -54, -12, -22, -2, 81, 83, 32, 54, 117, 35, -33,
    -107, 13, -68, 24, -121, 89, 113, -90, 81, -24, -117, 105, 112, -117, 24, 82,
    74, -22, 92, 84, -99, -125, -101, -34, -100, -107, -62, 39, 6, -58, 115, 52,
    34, 113, 73, -95, -118, 93, -24, -112, -6, -30, -18, -18, -47, -3, -2, 121,
    49, 70, -125, -49, 123, -59, 3, 93, 35, 97, -86, 3, 35, -40, 19, 126,
    60, -47, -111, -81, -58, 97, -58, 80, -58, 43, 7, 117, 17, 109, 118, 63,
    33, 92, 127, -64, 16, -91, -101, 43, -115, 55, 82, -85, 46, -27, 100, 105
};

/* parameter blocks.0.pointwise1.bias: int32 16 */
static const int32_t p_blocks_0_pointwise1_bias[16] = {
    -2132, -5579, 2535, 2801, -1655, 567, -4492, -1639, 4789, 471, 8030, -2736, 2016, -679, 1966, -25
};

/* parameter blocks.0.pointwise1.scale: float32 16 */
static const float p_blocks_0_pointwise1_scale[16] = {
    0x1.0410d40000000p-7f, 0x1.08fcf80000000p-7f, 0x1.32a0aa0000000p-8f, 0x1.f390a60000000p-8f, 0x1.f20f940000000p-8f, 0x1.eaf3800000000p-9f,
    0x1.7e4d320000000p-7f, 0x1.06f88a0000000p-7f, 0x1.8b005c0000000p-9f, 0x1.4177be0000000p-7f, 0x1.7d3b960000000p-7f, 0x1.0c57360000000p-7f,
    0x1.7b9d320000000p-8f, 0x1.2ec72c0000000p-8f, 0x1.245da80000000p-7f, 0x1.3332280000000p-8f
};

/* parameter blocks.0.depthwise.weight: int8 16x3x3 */
static const int8_t p_blocks_0_depthwise_weight[144] = {
    24, -109, -94, -110, -74, 94, 44, 34, 124, -1, -117, -86, -61, 44, -36, -46,
    -99, 54, -121, -10, 62, 2, 48, 74, -70, -104, -113, 20, -60, -77, 60, 79,
    116, -3, 6, 125, 1, -81, -62, 118, -116, 77, 38, -5, 85, 80, -15, 26,
    67, 40, -4, 105, 98, -111, 12, 85, -106, -30, 2, -44, 50, 126, -35, 72,
    -98, -4, -126, -20, -124, 96, 120, -105, 81, 53, -51, 74, 118, 76, 49, -45,
    27, 76, 55, -70, -22, -35, 50, -21, -21, 11, 20, -99, 108, -24, -83, -127,
    -17, 62, -52, 90, -77, -92, -28, 52, -51, 82, -122, 123, -115, 88, -127, -19,
    -49, 122, 39, 121, -22, 1, 1, 65, 2, 106, -79, -6, -65, 93, -92, 51,
    105, -53, -56, 68, 23, 18, 98, -104, -58, -28, 106, -109, -12, -6, -124, -18
};

/* parameter blocks.0.depthwise.bias: int32 16 */
static const int32_t p_blocks_0_depthwise_bias[16] = {
    2069, 1189, -116, -670, -2877, 252, 1880, -1203, -2114, 5611, -5043, 4700, 806, -3670, -1323, -4197
};

/* parameter blocks.0.depthwise.scale: float32 16 */
static const float p_blocks_0_depthwise_scale[16] = {
    0x1.b1c35c0000000p-9f, 0x1.0773a20000000p-8f, 0x1.0547520000000p-9f, 0x1.6afe1a0000000p-8f, 0x1.2374620000000p-8f, 0x1.4b7be40000000p-8f,
    0x1.6066fc0000000p-8f, 0x1.0699100000000p-8f, 0x1.ac0d5a0000000p-10f, 0x1.2b507e0000000p-8f, 0x1.0280c40000000p-8f, 0x1.4c1b780000000p-8f,
    0x1.efe24c0000000p-9f, 0x1.4877200000000p-8f, 0x1.7d1c120000000p-8f, 0x1.87d54c0000000p-9f
};

/* parameter blocks.0.pointwise2.weight: int8 8x1x1x16 */
static const int8_t p_blocks_0_pointwise2_weight[128] = {
    -83, 126, 45, -70, -35, 38, -43, 31, 113, -34, -77, -55, 3, 14, -121, 37,
    -86, 33, 98, -78, 74, -119, 14, 43, -71, 72, 15, -21, -124, -93, 54, -24,
    55, 118, 37, 62, 28, -51, -109, 29, -65, -97, 19, 28, -27, 33, 125, 66,
    108, -110, -89, -36, 23, 50, 50, 104, -93, -84, -48, -85, 55, -22, 102, -55,
    -40, -51, -67, 87, 82, -52, 22, 97, -6, 103, -62, -70, -109, 34, -123, -82,
    20, -15, -79, 3, 121, 123, -100, 65, -12, -9, -27, 86, -68, 22, 63, -22,
    37, -97, 58, -50, -106, -52, -38, 37, 5, 85, -19, 99, -117, -45, -78, -30,
    113, -93, -86, -23, 90, -125, 82, 71, -28, -117, -8, 51, 83, -87, 46, 14
};

/* parameter blocks.0.pointwise2.bias: int32 8 */
static const int32_t p_blocks_0_pointwise2_bias[8] = {
    -1891, -815, -2286, 2091, 350, 6274, -4311, 1426
};

/* parameter blocks.0.pointwise2.scale: float32 8 */
static const float p_blocks_0_pointwise2_scale[8] = {
    0x1.17ca6c0000000p-7f, 0x1.06c7c20000000p-7f, 0x1.3fa3f00000000p-7f, 0x1.2883e80000000p-7f, 0x1.06d40c0000000p-8f, 0x1.1563120000000p-7f,
    0x1.aee2700000000p-9f, 0x1.856b280000000p-8f
};

/* parameter blocks.1.pointwise1.weight: int8 16x1x1x8 */
static const int8_t p_blocks_1_pointwise1_weight[128] = {
    -32, 84, -1, -83, 113, 22, 71, 117, 28, 55, 91, 123, 9, 19, 43, 123,
    -12, 86, -57, 71, -99, 99, -41, 34, -91, -37, -103, 7, 124, -70, -59, 71,
    -79, -84, -73, 20, 1, 9, -121, 44, -48, 66, 85, -99, -52, 32, -83, -22,
    -38, 29, 62, 49, -47, 22, 77, 59, 73, 5, 21, -9, 29, -54, -10, -69,
    1, 50, 73, 50, -83, -78, -32, 120, -120, 44, -53, 8, -105, 87, 95, -3,
    71, -6, 58, -62, -46, -88, -12, 54, 72, 88, -79, 45, -59, -33, -33, 19,
    23, 16, -111, 111, 90, -29, 18, -85, 34, 96, 109, 101, -113, -115, 60, -77,
    -79, 35, -112, 74, -82, 27, 33, -79, -25, -98, 123, 2, -90, 80, 61, -72
};

/* parameter blocks.1.pointwise1.bias: int32 16 */
static const int32_t p_blocks_1_pointwise1_bias[16] = {
    -783, -12084, 1435, 1695, 5465, -1508, 291, -2186, -3645, -2209, -1069, 4200, 6, -2449, 439, 674
};

/* parameter blocks.1.pointwise1.scale: float32 16 */
static const float p_blocks_1_pointwise1_scale[16] = {
    0x1.99b1700000000p-9f, 0x1.bb84800000000p-8f, 0x1.075d320000000p-8f, 0x1.91f6040000000p-9f, 0x1.157b080000000p-7f, 0x1.2181d00000000p-7f,
    0x1.6eeef60000000p-8f, 0x1.3aa5b20000000p-8f, 0x1.3224e20000000p-8f, 0x1.5c31fe0000000p-8f, 0x1.c87cdc0000000p-8f, 0x1.afdec80000000p-8f,
    0x1.59602e0000000p-8f, 0x1.e6d5d60000000p-8f, 0x1.fa10ee0000000p-8f, 0x1.bf253a0000000p-8f
};

/* parameter blocks.1.depthwise.weight: int8 16x5x5 */
static const int8_t p_blocks_1_depthwise_weight[400] = {
    -28, -4, -67, -81, 109, 120, 0, 101, -4, 117, -116, 26, -117, 4, 98, 85,
    -73, 39, -85, -64, -19, 111, 44, -15, -75, 70, 23, 0, 39, -81, 106, -52,
    -6, 19, -83, -91, -6, -124, 27, -17, -67, 67, -44, 29, -74, -45, 32, 55,
    36, -4, -63, 127, 105, 70, -53, 84, 20, -61, 72, -89, 20, -77, -109, -17,
    -14, 3, -126, -78, -107, 71, -115, 94, -73, -47, -42, 2, -34, 24, -31, 57,
    125, -90, -97, -56, -76, 59, 57, 17, 126, 102, 123, -13, 14, -24, -56, -49,
    62, -68, -90, 38, 10, -60, -50, 92, -117, -58, 15, 44, 19, 17, 70, 33,
    33, 101, 66, -84, 119, -89, 113, -96, 123, -108, 99, 9, 16, -85, -94, 78,
    -65, -122, -12, -32, -12, -7, -111, -72, -59, -37, -19, -71, 77, -56, -16, 109,
    127, -21, -29, -29, -37, 28, 36, 42, 71, 41, -59, -106, -22, 21, 106, 60,
    -46, 75, 40, 23, 91, -94, -2, -106, 62, -45, 70, 109, 91, -7, 31, 101,
    -98, -10, -53, 65, 124, -4, -12, 53, -63, -47, -85, 99, 2, -60, 31, -126,
    -34, 56, 118, 45, -95, 40, 55, 48, -92, 22, -28, -98, 123, 43, 87, -126,
    -21, -81, 104, -20, 42, -31, 111, -97, -94, -19, 21, 32, 94, -31, 115, 53,
    19, -69, 62, -91, -113, 63, -65, 43, 16, -18, -12, -93, -50, 42, -31, 64,
    114, -86, -79, 48, -63, -37, 105, 106, 108, 64, -115, -58, 34, 112, -62, -121,
    51, -80, 97, -66, -95, 59, -75, 7, 120, -9, -52, -71, -1, 65, 60, -98,
    23, -64, -34, 78, 83, -12, -64, 96, 90, 26, -21, 74, -27, -80, 115, -47,
    48, -31, 120, -1, 18, -7, 98, 82, 10, -83, -41, 90, 121, 99, 117, -108,
    -20, -125, -110, -53, 20, -25, -24, 120, 127, -109, -39, 72, -35, -6, 4, -94,
    -13, -34, -22, -30, -127, -65, 49, -52, 125, -20, -35, 118, -77, -10, 78, 115,
    110, -120, 1, -111, -19, -120, -55, 42, 88, -71, -23, 19, 69, 75, 126, -43,
    12, -65, -126, 57, -10, -6, 3, -89, 58, -105, -110, 60, -31, 92, 83, 100,
    -78, 3, 117, -88, 86, -70, -51, -12, -2, 90, 87, 38, -13, -58, -58, 65,
    -34, -16, -52, 123, -24, -18, 95, 86, -95, -124, 94, 56, 108, -26, -72, 0
};

/* parameter blocks.1.depthwise.bias: int32 16 */
static const int32_t p_blocks_1_depthwise_bias[16] = {
    -14719, -1832, 840, 2815, 890, -3718, -677, 1724, -1567, -2175, 7324, -5537, -2044, -11882, 3164, 4845
};

/* parameter blocks.1.depthwise.scale: float32 16 */
static const float p_blocks_1_depthwise_scale[16] = {
    0x1.5bde620000000p-9f, 0x1.9cc1a20000000p-8f, 0x1.5c67780000000p-9f, 0x1.24805e0000000p-8f, 0x1.30306c0000000p-8f, 0x1.85872c0000000p-8f,
    0x1.057a240000000p-8f, 0x1.7c32240000000p-8f, 0x1.182ebc0000000p-8f, 0x1.a586000000000p-8f, 0x1.572b680000000p-8f, 0x1.9711340000000p-8f,
    0x1.a0f4c00000000p-8f, 0x1.7329000000000p-8f, 0x1.29e3700000000p-9f, 0x1.2b3c5a0000000p-9f
};

/* parameter blocks.1.pointwise2.weight: int8 12x1x1x16 */
static const int8_t p_blocks_1_pointwise2_weight[192] = {
    -22, 58, -81, -26, 72, 79, -58, -2, 17, 91, 37, 6, -77, -2, -119, 39,
    124, 24, 81, -27, -96, -29, 89, 34, -62, 68, -64, -64, 70, -49, 66, 127,
    88, 78, -93, 9, 63, 98, -8, -72, -44, -18, 60, -88, 88, 122, -45, 102,
    -88, -80, 125, 22, 107, -1, -54, -63, 80, -104, -105, 29, 105, -67, 70, 47,
    -77, 51, -52, 4, 24, -83, -37, 52, 60, -77, 24, -98, -75, 110, 28, 109,
    -124, -95, -99, -43, -86, -13, -37, 46, -124, -15, 110, 90, -66, -77, -58, 101,
    -32, -93, 112, 74, -38, 33, -18, -123, -51, -18, 121, 4, -34, -91, -106, 26,
    40, 32, 55, -90, -33, 4, -74, 44, -23, 93, -16, -60, 126, 124, 91, 2,
    31, -76, -78, 79, 48, 0, 66, -82, -108, 2, -31, -69, -44, -69, 18, -15,
    39, -122, -81, -34, -8, 80, 126, -118, -123, 84, -33, 104, -42, 79, -24, -110,
    94, -85, -16, -66, 98, -36, 19, -115, -19, -84, -63, -92, 83, 100, 37, 1,
    -73, 16, -94, -10, -96, -90, 104, -11, -25, -17, 82, -5, 101, -56, -70, -75
};

/* parameter blocks.1.pointwise2.bias: int32 12 */
static const int32_t p_blocks_1_pointwise2_bias[12] = {
    -693, -99, -235, -3198, 1079, 5040, -5194, 5, -426, 2696, -367, -90
};

/* parameter blocks.1.pointwise2.scale: float32 12 */
static const float p_blocks_1_pointwise2_scale[12] = {
    0x1.131d160000000p-9f, 0x1.2843140000000p-8f, 0x1.7591160000000p-10f, 0x1.e0ab420000000p-9f, 0x1.18f7ca0000000p-9f, 0x1.2691f40000000p-8f,
    0x1.b346540000000p-9f, 0x1.d89b760000000p-9f, 0x1.4fac620000000p-9f, 0x1.a7109c0000000p-9f, 0x1.9605ca0000000p-10f, 0x1.320c240000000p-8f
};

/* parameter blocks.2.pointwise1.scale: float32 24 */
static const float p_blocks_2_pointwise1_scale[24] = {
    0x1.8380320000000p-8f, 0x1.ea5d460000000p-8f, 0x1.02d2240000000p-8f, 0x1.f1f6ba0000000p-9f, 0x1.3d462c0000000p-9f, 0x1.f1098c0000000p-9f,
    0x1.4b210c0000000p-9f, 0x1.36b2800000000p-9f, 0x1.6f2b5e0000000p-8f, 0x1.ac9c680000000p-9f, 0x1.51cc180000000p-9f, 0x1.02ffc20000000p-7f,
    0x1.8f85400000000p-9f, 0x1.62d8f60000000p-9f, 0x1.0e2e060000000p-7f, 0x1.9e81ca0000000p-8f, 0x1.b6de0a0000000p-8f, 0x1.73826a0000000p-8f,
    0x1.4e97720000000p-9f, 0x1.e6fc9c0000000p-8f, 0x1.3759f80000000p-8f, 0x1.2cc2640000000p-8f, 0x1.8465040000000p-9f, 0x1.7216740000000p-9f
};

/* parameter blocks.2.depthwise.weight: int8 24x3x3 */
static const int8_t p_blocks_2_depthwise_weight[216] = {
    -16, -62, -65, 42, 83, 124, -17, 68, 88, 26, -60, -94, 113, 28, -99, -21,
    69, 0, -122, -56, -67, -16, 94, -37, -38, 96, 110, -122, 110, -61, 77, -80,
    -26, -14, 91, 120, -11, 15, -95, -112, 90, 117, 81, -74, -93, 10, 93, 105,
    5, -21, 62, 104, -59, 16, -73, 78, 89, -59, 26, -69, -90, -118, -34, -37,
    92, 55, -8, -72, -42, -96, -41, -18, 83, 99, -12, -53, 114, 109, -48, 89,
    65, -27, -55, -106, 68, -14, -123, -91, -94, 78, -61, 27, 94, -20, -45, -67,
    -4, 79, -100, 78, 17, 97, -103, 124, -91, -40, 77, 18, -65, 101, -112, 8,
    26, 119, -90, -86, -114, -100, 84, 8, -26, -69, 93, -5, 62, -5, -76, -86,
    -106, -122, -84, 35, -1, 43, -36, -59, 85, 92, -8, 95, 14, 53, -29, -123,
    65, -3, 48, -37, 47, 119, 69, 83, -26, 11, -97, 107, 81, 4, -39, 15,
    49, 121, 125, -46, 51, 117, 104, 32, -124, -116, 26, -100, -103, 127, 95, -44,
    117, 15, -119, 40, -94, -38, 85, 124, 48, -51, 123, -124, 65, 49, 24, -62,
    10, -66, -125, 59, 72, -70, -30, 110, -100, 106, 12, 5, -33, 11, 27, -121,
    -123, 86, -85, 112, 10, -59, 28, -40
};

/* parameter blocks.2.depthwise.scale: float32 24 */
static const float p_blocks_2_depthwise_scale[24] = {
    0x1.3659740000000p-8f, 0x1.77e87a0000000p-8f, 0x1.8ceda80000000p-9f, 0x1.1187860000000p-8f, 0x1.8cada60000000p-8f, 0x1.4ba8920000000p-8f,
    0x1.59aea60000000p-9f, 0x1.a0001c0000000p-8f, 0x1.b051d40000000p-9f, 0x1.72761c0000000p-8f, 0x1.f7032a0000000p-9f, 0x1.6770d60000000p-8f,
    0x1.916a820000000p-8f, 0x1.8b976a0000000p-8f, 0x1.6c30440000000p-8f, 0x1.a4179e0000000p-9f, 0x1.8ec30e0000000p-8f, 0x1.3783460000000p-9f,
    0x1.7be8ca0000000p-9f, 0x1.398abe0000000p-8f, 0x1.5a219c0000000p-8f, 0x1.eb29d00000000p-10f, 0x1.8175580000000p-9f, 0x1.c193400000000p-9f
};

/* parameter blocks.2.pointwise2.weight: int8 12x1x1x24 */
static const int8_t p_blocks_2_pointwise2_weight[288] = {
    -87, 12, 10, 96, 39, 40, 4, 27, 21, -119, 38, -1, 94, -43, 14, -39,
    26, 117, -49, -86, 75, -105, -8, -50, -47, 36, -35, -59, -41, 52, -12, 50,
    125, -16, 26, 85, -29, -45, -11, 31, 24, 10, -79, -109, -2, -39, -118, 16,
    -85, 121, 70, 72, 54, -5, -47, -77, -60, -59, 52, -117, 127, 21, -33, -19,
    26, 40, 73, 8, -125, -21, 72, -38, -52, -117, -81, 123, 76, -108, 119, -121,
    18, -73, 26, -93, -49, 75, 118, -89, 106, -41, -115, -124, 42, 110, -38, -46,
    -110, 87, -9, 118, 82, 58, 56, -61, 94, -2, -71, 72, -125, 51, 127, 84,
    60, 11, -88, 40, -42, -35, 121, -79, 116, 50, 16, -127, 86, 72, -114, -126,
    -62, 30, -42, 24, 39, -101, 101, 24, -95, 66, -10, 9, 111, 44, 43, 53,
    69, -75, 122, 109, 55, -44, -120, 21, 81, -101, 65, 127, -87, 39, 2, -10,
    112, 17, -107, -121, -57, -66, 76, 121, -8, -107, 61, -91, 76, 19, -37, 70,
    -113, 90, -77, 92, -12, 66, -68, -39, 125, 21, -45, 80, -2, -92, 107, -107,
    21, -11, 23, -48, -45, -127, 120, 4, 94, -32, 106, 98, -4, -42, -105, 41,
    1, 17, -65, -51, 17, -8, 31, -34, 32, -67, -35, -105, 74, -114, -115, -71,
    50, -106, 116, -89, 78, -96, -66, -32, 88, -67, 43, -126, -65, -119, -67, 125,
    31, -65, 65, -117, -76, 32, 44, 13, -118, -28, 64, 59, -104, 111, 34, -26,
    114, -32, -41, 4, -125, -68, -21, -83, 74, -28, 12, 45, -104, -124, 49, -92,
    107, 79, -99, -43, 119, 15, -67, -113, -103, 13, 84, -120, -39, -75, 53, -13
};

/* parameter blocks.2.pointwise2.bias: int32 12 */
static const int32_t p_blocks_2_pointwise2_bias[12] = {
    9061, -3611, -3398, 5420, 3507, 5885, 4644, 1671, -5667, -2099, 881, -76
};

/* parameter blocks.2.pointwise2.scale: float32 12 */
static const float p_blocks_2_pointwise2_scale[12] = {
    0x1.646a120000000p-8f, 0x1.7d6baa0000000p-9f, 0x1.497aca0000000p-8f, 0x1.cf24640000000p-8f, 0x1.b015160000000p-8f, 0x1.2412fa0000000p-8f,
    0x1.58e8e40000000p-8f, 0x1.d6d7c00000000p-8f, 0x1.f013560000000p-9f, 0x1.89d2680000000p-9f, 0x1.0ec4400000000p-7f, 0x1.f59d700000000p-8f
};

/* parameter blocks.2.pointwise1.weight.frozen: int8 24x1x1x9 */
static const int8_t p_blocks_2_pointwise1_weight_frozen[216] = {
    -119, -74, 32, -1, -10, -80, 2, 98, 41, 98, 13, 53, -12, 18, 77, -40,
    85, -39, 67, -65, -121, 40, -119, -23, 91, 101, -36, 92, 9, -31, 54, 127,
    53, 38, 46, 65, 87, 20, 4, 4, 120, 99, 87, -34, 94, 87, 1, -106,
    -13, 26, -53, 97, 7, -122, 90, -82, -6, 21, 49, 69, -68, 112, 83, 13,
    108, -42, 67, 25, 67, -29, 13, -39, -83, -29, -53, 119, -88, 37, 56, 104,
    120, -52, -18, 17, -37, -61, -11, 112, 25, 69, -120, -41, -127, -4, -8, 28,
    82, -104, 65, -66, 78, 87, -29, -51, 80, -82, -57, -58, 53, 12, -15, 40,
    75, -124, 97, -86, -40, -53, 46, 53, 46, 11, 68, 102, -107, 39, -100, 91,
    -37, 17, -110, 1, 6, 32, -62, -108, 69, -96, 46, -77, -25, 118, -2, -126,
    44, -33, -116, 118, -43, 6, -62, 62, -31, 8, 82, 16, -96, -55, 36, 107,
    -83, -99, 83, 46, 112, 33, 85, -70, 49, 15, 1, 69, 54, -40, 40, -64,
    111, -106, 47, -13, -34, 105, 84, 91, 66, -100, -71, -53, -106, 74, -57, -109,
    47, 64, 76, 23, 36, -79, -40, 15, -122, 16, 19, 91, 60, -108, -103, -30,
    -85, -31, -124, 4, 84, 70, -1, -44
};

/* parameter blocks.2.pointwise1.bias.update: uint32 3 */
static const uint32_t p_blocks_2_pointwise1_bias_update[3] = {
    1024967875u, 867242149u, 1816913153u
};

/* parameter blocks.2.pointwise1.weight.update: uint32 3 */
static const uint32_t p_blocks_2_pointwise1_weight_update[3] = {
    1064102275u, 867242149u, 983453922u
};

/* parameter blocks.2.depthwise.bias.update: uint32 3 */
static const uint32_t p_blocks_2_depthwise_bias_update[3] = {
    1028783250u, 864571557u, 3815149667u
};

/* initial state blocks.2.pointwise1.bias: int32 24 */
static const int32_t p_blocks_2_pointwise1_bias[24] = {
    -1566, -3845, 793, -2186, -177, -310, -146, -139, -2622, -4237, -2670, 4307, 1504, 2359, 5547, -4741,
    2050, -4321, -1344, 1946, 6489, -3144, -381, 4648
};

/* initial state blocks.2.depthwise.bias: int32 24 */
static const int32_t p_blocks_2_depthwise_bias[24] = {
    2258, -54, 1049, 3555, -2783, 2684, 2572, 2864, 6154, 2478, -2112, 6765, -4165, -1740, -3628, -386,
    4071, 4882, 1743, -2292, -2082, -2269, 3584, -3410
};

/* initial state blocks.2.pointwise1.weight.trained: int8 24x1x1x3 */
static const int8_t p_blocks_2_pointwise1_weight_trained[72] = {
    -30, -30, 74, 4, -100, 103, 70, 46, 64, 97, -94, 42, 127, -69, 97, -17,
    33, -127, 0, 22, -115, -21, -13, -1, -16, 96, 114, 18, 8, 33, -102, -126,
    22, 51, 124, 42, 126, 99, 96, 87, -85, -57, 107, 114, 29, -121, 54, 104,
    118, 88, -110, 109, 121, -119, 24, -45, 31, -57, 78, -66, 14, -90, -21, 5,
    62, -118, -92, 45, -83, -109, -61, 62
};

/* initial state learning_rate: float32 2 */
static const float p_learning_rate[2] = {
    0x1.0624de0000000p-10f, 0x1.47ae140000000p-7f
};

/* initial state counter: uint32 2 */
static const uint32_t p_counter[2] = {
    1u, 0u
};

/* channel numbers */
static const int16_t channels_0[9] = {
    0, 2, 4, 6, 7, 8, 9, 10, 11
};

/* channel numbers */
static const int16_t channels_1[3] = {
    1, 3, 5
};

/* All memory of the model: inputs, outputs, trained state, activations, gradients, scratch. */
_Alignas(16) uint8_t tvmgen_tiny_arena[18208];

/* The tensor at this byte of the arena; every offset is aligned for its type. */
#define AT(type, offset) ((type *)(void *)(tvmgen_tiny_arena + (offset)))

static int32_t ready; /* the trained state has been put into the arena */

int32_t tvmgen_tiny_init(void) {
    uint8_t *const arena = tvmgen_tiny_arena;
    (void)arena;
    memcpy(arena + 208, p_blocks_2_pointwise1_bias, 96); /* blocks.2.pointwise1.bias */
    memcpy(arena + 304, p_blocks_2_depthwise_bias, 96); /* blocks.2.depthwise.bias */
    memset(arena + 400, 0, 192); /* classifier.weight */
    memset(arena + 592, 0, 16); /* classifier.bias */
    memcpy(arena + 608, p_blocks_2_pointwise1_weight_trained, 72); /* blocks.2.pointwise1.weight.trained */
    memcpy(arena + 688, p_learning_rate, 8); /* learning_rate */
    memcpy(arena + 704, p_counter, 8); /* counter */
    ready = 1;
    return MCU_OK;
}

static void tvmgen_tiny_infer_ops(void) {
    /* first_conv:qconv2d: first_conv int8 1x8x8x8 @720 <- x int8 1x8x8x3 @0, first_conv.weight int8 8x3x3x3 in flash, first_conv.bias int32 8 in flash, first_conv.scale float32 8 in flash */
    MCU_OP(0);
    tvmgen_tiny_qconv2d_conv3x3_8x8x3_k0(AT(int8_t, 0), p_first_conv_weight, p_first_conv_bias, p_first_conv_scale, AT(int8_t, 720), AT(int16_t, 1232), 0, 8);
    /* blocks.0.pointwise1:qconv2d: blocks.0.pointwise1 int8 1x8x8x16 @1568 <- first_conv int8 1x8x8x8 @720, blocks.0.pointwise1.weight int8 16x1x1x8 in flash, blocks.0.pointwise1.bias int32 16 in flash, blocks.0.pointwise1.scale float32 16 in flash */
    MCU_OP(1);
    tvmgen_tiny_qconv2d_conv1x1_8x8x8_k1(AT(int8_t, 720), p_blocks_0_pointwise1_weight, p_blocks_0_pointwise1_bias, p_blocks_0_pointwise1_scale, AT(int8_t, 1568), AT(int16_t, 2592), 0, 8);
    /* blocks.0.depthwise:qconv2d: blocks.0.depthwise int8 1x8x8x16 @2656 <- blocks.0.pointwise1 int8 1x8x8x16 @1568, blocks.0.depthwise.weight int8 16x3x3 in flash, blocks.0.depthwise.bias int32 16 in flash, blocks.0.depthwise.scale float32 16 in flash */
    MCU_OP(2);
    tvmgen_tiny_qconv2d_depthwise3x3_8x8x16_k2(AT(int8_t, 1568), p_blocks_0_depthwise_weight, p_blocks_0_depthwise_bias, p_blocks_0_depthwise_scale, AT(int8_t, 2656), AT(int16_t, 3680), 0, 8);
    /* blocks.0.pointwise2:qconv2d: blocks.0.pointwise2 int8 1x8x8x8 @3744 <- blocks.0.depthwise int8 1x8x8x16 @2656, blocks.0.pointwise2.weight int8 8x1x1x16 in flash, blocks.0.pointwise2.bias int32 8 in flash, blocks.0.pointwise2.scale float32 8 in flash */
    MCU_OP(3);
    tvmgen_tiny_qconv2d_conv1x1_8x8x16_k3(AT(int8_t, 2656), p_blocks_0_pointwise2_weight, p_blocks_0_pointwise2_bias, p_blocks_0_pointwise2_scale, AT(int8_t, 3744), AT(int16_t, 4256), 0, 8);
    /* blocks.0.residual:qadd: blocks.0.residual int8 1x8x8x8 @4384 <- first_conv int8 1x8x8x8 @720, blocks.0.pointwise2 int8 1x8x8x8 @3744 */
    MCU_OP(4);
    tvmgen_tiny_qadd_8x8x8_k4(AT(int8_t, 720), AT(int8_t, 3744), AT(int8_t, 4384), 0, 8);
    /* blocks.1.pointwise1:qconv2d: blocks.1.pointwise1 int8 1x8x8x16 @4896 <- blocks.0.residual int8 1x8x8x8 @4384, blocks.1.pointwise1.weight int8 16x1x1x8 in flash, blocks.1.pointwise1.bias int32 16 in flash, blocks.1.pointwise1.scale float32 16 in flash */
    MCU_OP(5);
    tvmgen_tiny_qconv2d_conv1x1_8x8x8_k5(AT(int8_t, 4384), p_blocks_1_pointwise1_weight, p_blocks_1_pointwise1_bias, p_blocks_1_pointwise1_scale, AT(int8_t, 4896), AT(int16_t, 5920), 0, 8);
    /* blocks.1.depthwise:qconv2d: blocks.1.depthwise int8 1x4x4x16 @5984 <- blocks.1.pointwise1 int8 1x8x8x16 @4896, blocks.1.depthwise.weight int8 16x5x5 in flash, blocks.1.depthwise.bias int32 16 in flash, blocks.1.depthwise.scale float32 16 in flash */
    MCU_OP(6);
    tvmgen_tiny_qconv2d_depthwise5x5_s2_8x8x16_k6(AT(int8_t, 4896), p_blocks_1_depthwise_weight, p_blocks_1_depthwise_bias, p_blocks_1_depthwise_scale, AT(int8_t, 5984), AT(int16_t, 6240), 0, 4);
    /* blocks.1.pointwise2:qconv2d: blocks.1.pointwise2 int8 1x4x4x12 @6880 <- blocks.1.depthwise int8 1x4x4x16 @5984, blocks.1.pointwise2.weight int8 12x1x1x16 in flash, blocks.1.pointwise2.bias int32 12 in flash, blocks.1.pointwise2.scale float32 12 in flash */
    MCU_OP(7);
    tvmgen_tiny_qconv2d_conv1x1_4x4x16_k7(AT(int8_t, 5984), p_blocks_1_pointwise2_weight, p_blocks_1_pointwise2_bias, p_blocks_1_pointwise2_scale, AT(int8_t, 6880), AT(int16_t, 7072), 0, 4);
    /* blocks.2.pointwise1:qconv2d: blocks.2.pointwise1 int8 1x4x4x24 @7200 <- blocks.1.pointwise2 int8 1x4x4x12 @6880, blocks.2.pointwise1.weight.frozen int8 24x1x1x9 in flash, blocks.2.pointwise1.weight.trained int8 24x1x1x3 @608, blocks.2.pointwise1.bias int32 24 @208, blocks.2.pointwise1.scale float32 24 in flash */
    MCU_OP(8);
    tvmgen_tiny_qconv2d_conv1x1_4x4x12_k32(AT(int8_t, 6880), p_blocks_2_pointwise1_weight_frozen, AT(int8_t, 608), AT(int32_t, 208), p_blocks_2_pointwise1_scale, channels_0, channels_1, AT(int8_t, 7200), AT(int16_t, 7632), 0, 4);
    /* blocks.2.depthwise:qconv2d: blocks.2.depthwise int8 1x4x4x24 @7808 <- blocks.2.pointwise1 int8 1x4x4x24 @7200, blocks.2.depthwise.weight int8 24x3x3 in flash, blocks.2.depthwise.bias int32 24 @304, blocks.2.depthwise.scale float32 24 in flash */
    MCU_OP(9);
    tvmgen_tiny_qconv2d_depthwise3x3_4x4x24_k33(AT(int8_t, 7200), p_blocks_2_depthwise_weight, AT(int32_t, 304), p_blocks_2_depthwise_scale, AT(int8_t, 7808), AT(int16_t, 8240), 0, 4);
    /* blocks.2.pointwise2:qconv2d: blocks.2.pointwise2 int8 1x4x4x12 @8288 <- blocks.2.depthwise int8 1x4x4x24 @7808, blocks.2.pointwise2.weight int8 12x1x1x24 in flash, blocks.2.pointwise2.bias int32 12 in flash, blocks.2.pointwise2.scale float32 12 in flash */
    MCU_OP(10);
    tvmgen_tiny_qconv2d_conv1x1_4x4x24_k34(AT(int8_t, 7808), p_blocks_2_pointwise2_weight, p_blocks_2_pointwise2_bias, p_blocks_2_pointwise2_scale, AT(int8_t, 8288), AT(int16_t, 8512), 0, 4);
    /* blocks.2.residual:qadd: blocks.2.residual int8 1x4x4x12 @8704 <- blocks.1.pointwise2 int8 1x4x4x12 @6880, blocks.2.pointwise2 int8 1x4x4x12 @8288 */
    MCU_OP(11);
    tvmgen_tiny_qadd_4x4x12_k35(AT(int8_t, 6880), AT(int8_t, 8288), AT(int8_t, 8704), 0, 4);
    /* global_pool:qmean: global_pool int8 1x1x1x12 @8928 <- blocks.2.residual int8 1x4x4x12 @8704 */
    MCU_OP(12);
    tvmgen_tiny_qmean_4x4x12_k12(AT(int8_t, 8704), AT(int8_t, 8928));
    /* classifier:dense: classifier float32 4 @8944 <- global_pool int8 1x1x1x12 @8928, classifier.weight float32 4x12 @400, classifier.bias float32 4 @592 */
    MCU_OP(13);
    tvmgen_tiny_dense_1x1x12_k13(AT(int8_t, 8928), AT(float, 400), AT(float, 592), AT(float, 8944));
}

static void tvmgen_tiny_train_ops(void) {
    /* first_conv:qconv2d: first_conv int8 1x8x8x8 @720 <- x int8 1x8x8x3 @0, first_conv.weight int8 8x3x3x3 in flash, first_conv.bias int32 8 in flash, first_conv.scale float32 8 in flash */
    MCU_OP(0);
    tvmgen_tiny_qconv2d_conv3x3_8x8x3_k0(AT(int8_t, 0), p_first_conv_weight, p_first_conv_bias, p_first_conv_scale, AT(int8_t, 720), AT(int16_t, 1232), 0, 8);
    /* blocks.0.pointwise1:qconv2d: blocks.0.pointwise1 int8 1x8x8x16 @1568 <- first_conv int8 1x8x8x8 @720, blocks.0.pointwise1.weight int8 16x1x1x8 in flash, blocks.0.pointwise1.bias int32 16 in flash, blocks.0.pointwise1.scale float32 16 in flash */
    MCU_OP(1);
    tvmgen_tiny_qconv2d_conv1x1_8x8x8_k1(AT(int8_t, 720), p_blocks_0_pointwise1_weight, p_blocks_0_pointwise1_bias, p_blocks_0_pointwise1_scale, AT(int8_t, 1568), AT(int16_t, 2592), 0, 8);
    /* blocks.0.depthwise:qconv2d: blocks.0.depthwise int8 1x8x8x16 @2656 <- blocks.0.pointwise1 int8 1x8x8x16 @1568, blocks.0.depthwise.weight int8 16x3x3 in flash, blocks.0.depthwise.bias int32 16 in flash, blocks.0.depthwise.scale float32 16 in flash */
    MCU_OP(2);
    tvmgen_tiny_qconv2d_depthwise3x3_8x8x16_k2(AT(int8_t, 1568), p_blocks_0_depthwise_weight, p_blocks_0_depthwise_bias, p_blocks_0_depthwise_scale, AT(int8_t, 2656), AT(int16_t, 3680), 0, 8);
    /* blocks.0.pointwise2:qconv2d: blocks.0.pointwise2 int8 1x8x8x8 @3744 <- blocks.0.depthwise int8 1x8x8x16 @2656, blocks.0.pointwise2.weight int8 8x1x1x16 in flash, blocks.0.pointwise2.bias int32 8 in flash, blocks.0.pointwise2.scale float32 8 in flash */
    MCU_OP(3);
    tvmgen_tiny_qconv2d_conv1x1_8x8x16_k3(AT(int8_t, 2656), p_blocks_0_pointwise2_weight, p_blocks_0_pointwise2_bias, p_blocks_0_pointwise2_scale, AT(int8_t, 3744), AT(int16_t, 4256), 0, 8);
    /* blocks.0.residual:qadd: blocks.0.residual int8 1x8x8x8 @4384 <- first_conv int8 1x8x8x8 @720, blocks.0.pointwise2 int8 1x8x8x8 @3744 */
    MCU_OP(4);
    tvmgen_tiny_qadd_8x8x8_k4(AT(int8_t, 720), AT(int8_t, 3744), AT(int8_t, 4384), 0, 8);
    /* blocks.1.pointwise1:qconv2d: blocks.1.pointwise1 int8 1x8x8x16 @4896 <- blocks.0.residual int8 1x8x8x8 @4384, blocks.1.pointwise1.weight int8 16x1x1x8 in flash, blocks.1.pointwise1.bias int32 16 in flash, blocks.1.pointwise1.scale float32 16 in flash */
    MCU_OP(5);
    tvmgen_tiny_qconv2d_conv1x1_8x8x8_k5(AT(int8_t, 4384), p_blocks_1_pointwise1_weight, p_blocks_1_pointwise1_bias, p_blocks_1_pointwise1_scale, AT(int8_t, 4896), AT(int16_t, 5920), 0, 8);
    /* blocks.1.depthwise:qconv2d: blocks.1.depthwise int8 1x4x4x16 @5984 <- blocks.1.pointwise1 int8 1x8x8x16 @4896, blocks.1.depthwise.weight int8 16x5x5 in flash, blocks.1.depthwise.bias int32 16 in flash, blocks.1.depthwise.scale float32 16 in flash */
    MCU_OP(6);
    tvmgen_tiny_qconv2d_depthwise5x5_s2_8x8x16_k6(AT(int8_t, 4896), p_blocks_1_depthwise_weight, p_blocks_1_depthwise_bias, p_blocks_1_depthwise_scale, AT(int8_t, 5984), AT(int16_t, 6240), 0, 4);
    /* blocks.1.pointwise2:qconv2d: blocks.1.pointwise2 int8 1x4x4x12 @6880 <- blocks.1.depthwise int8 1x4x4x16 @5984, blocks.1.pointwise2.weight int8 12x1x1x16 in flash, blocks.1.pointwise2.bias int32 12 in flash, blocks.1.pointwise2.scale float32 12 in flash */
    MCU_OP(7);
    tvmgen_tiny_qconv2d_conv1x1_4x4x16_k7(AT(int8_t, 5984), p_blocks_1_pointwise2_weight, p_blocks_1_pointwise2_bias, p_blocks_1_pointwise2_scale, AT(int8_t, 6880), AT(int16_t, 7072), 0, 4);
    /* blocks.2.pointwise1:qconv2d_with_mask: blocks.2.pointwise1 int8 1x4x4x24 @7200, blocks.2.pointwise1:mask uint8 1x4x12 @7584 <- blocks.1.pointwise2 int8 1x4x4x12 @6880, blocks.2.pointwise1.weight.frozen int8 24x1x1x9 in flash, blocks.2.pointwise1.weight.trained int8 24x1x1x3 @608, blocks.2.pointwise1.bias int32 24 @208, blocks.2.pointwise1.scale float32 24 in flash */
    MCU_OP(8);
    tvmgen_tiny_qconv2d_with_mask_conv1x1_4x4x12_k8(AT(int8_t, 6880), p_blocks_2_pointwise1_weight_frozen, AT(int8_t, 608), AT(int32_t, 208), p_blocks_2_pointwise1_scale, channels_0, channels_1, AT(int8_t, 7200), AT(uint8_t, 7584), AT(int16_t, 7632), 0, 4);
    /* blocks.2.depthwise:qconv2d_with_mask: blocks.2.depthwise int8 1x4x4x24 @7808, blocks.2.depthwise:mask uint8 1x4x12 @8192 <- blocks.2.pointwise1 int8 1x4x4x24 @7200, blocks.2.depthwise.weight int8 24x3x3 in flash, blocks.2.depthwise.bias int32 24 @304, blocks.2.depthwise.scale float32 24 in flash */
    MCU_OP(9);
    tvmgen_tiny_qconv2d_with_mask_depthwise3x3_4x4x24_k9(AT(int8_t, 7200), p_blocks_2_depthwise_weight, AT(int32_t, 304), p_blocks_2_depthwise_scale, AT(int8_t, 7808), AT(uint8_t, 8192), AT(int16_t, 8240), 0, 4);
    /* blocks.2.pointwise2:qconv2d_with_mask: blocks.2.pointwise2 int8 1x4x4x12 @8288, blocks.2.pointwise2:mask uint8 1x4x6 @8480 <- blocks.2.depthwise int8 1x4x4x24 @7808, blocks.2.pointwise2.weight int8 12x1x1x24 in flash, blocks.2.pointwise2.bias int32 12 in flash, blocks.2.pointwise2.scale float32 12 in flash */
    MCU_OP(10);
    tvmgen_tiny_qconv2d_with_mask_conv1x1_4x4x24_k10(AT(int8_t, 7808), p_blocks_2_pointwise2_weight, p_blocks_2_pointwise2_bias, p_blocks_2_pointwise2_scale, AT(int8_t, 8288), AT(uint8_t, 8480), AT(int16_t, 8512), 0, 4);
    /* blocks.2.residual:qadd_with_mask: blocks.2.residual int8 1x4x4x12 @8704, blocks.2.residual:mask uint8 1x4x6 @8896 <- blocks.1.pointwise2 int8 1x4x4x12 @6880, blocks.2.pointwise2 int8 1x4x4x12 @8288 */
    MCU_OP(11);
    tvmgen_tiny_qadd_with_mask_4x4x12_k11(AT(int8_t, 6880), AT(int8_t, 8288), AT(int8_t, 8704), AT(uint8_t, 8896), 0, 4);
    /* global_pool:qmean: global_pool int8 1x1x1x12 @8928 <- blocks.2.residual int8 1x4x4x12 @8704 */
    MCU_OP(12);
    tvmgen_tiny_qmean_4x4x12_k12(AT(int8_t, 8704), AT(int8_t, 8928));
    /* classifier:dense: classifier float32 4 @8944 <- global_pool int8 1x1x1x12 @8928, classifier.weight float32 4x12 @400, classifier.bias float32 4 @592 */
    MCU_OP(13);
    tvmgen_tiny_dense_1x1x12_k13(AT(int8_t, 8928), AT(float, 400), AT(float, 592), AT(float, 8944));
    /* loss:cross_entropy: loss float32 scalar @8960 <- classifier float32 4 @8944, label int32 1 @192 */
    MCU_OP(14);
    tvmgen_tiny_cross_entropy_4_k14(AT(float, 8944), AT(int32_t, 192), AT(float, 8960));
    /* loss:cross_entropy_grad: loss:g_logits float32 4 @8976 <- classifier float32 4 @8944, label int32 1 @192 */
    MCU_OP(15);
    tvmgen_tiny_cross_entropy_grad_4_k15(AT(float, 8944), AT(int32_t, 192), AT(float, 8976));
    /* classifier:dense_input_grad: classifier:g_x float32 1x1x1x12 @8992 <- loss:g_logits float32 4 @8976, classifier.weight float32 4x12 @400 */
    MCU_OP(16);
    tvmgen_tiny_dense_input_grad_4_k16(AT(float, 8976), AT(float, 400), AT(float, 8992));
    /* classifier:dense_weight_grad: classifier:g_weight float32 4x12 @9040 <- global_pool int8 1x1x1x12 @8928, loss:g_logits float32 4 @8976 */
    MCU_OP(17);
    tvmgen_tiny_dense_weight_grad_1x1x12_k17(AT(int8_t, 8928), AT(float, 8976), AT(float, 9040), 0, 1);
    /* global_pool:spread: global_pool:g_x float32 1x4x4x12 @9232 <- classifier:g_x float32 1x1x1x12 @8992 */
    MCU_OP(18);
    tvmgen_tiny_spread_1x1x12_k18(AT(float, 8992), AT(float, 9232));
    /* blocks.2.residual:mask_scale_by: blocks.2.residual:g_operand float32 1x4x4x12 @10000 <- global_pool:g_x float32 1x4x4x12 @9232, blocks.2.residual:mask uint8 1x4x6 @8896 */
    MCU_OP(19);
    tvmgen_tiny_mask_scale_by_4x4x12_k19(AT(float, 9232), AT(uint8_t, 8896), AT(float, 10000), 0, 4);
    /* blocks.2.pointwise2:mask_scale: blocks.2.pointwise2:g_acc float32 1x4x4x12 @10768 <- blocks.2.residual:g_operand float32 1x4x4x12 @10000, blocks.2.pointwise2:mask uint8 1x4x6 @8480, blocks.2.pointwise2.scale float32 12 in flash */
    MCU_OP(20);
    tvmgen_tiny_mask_scale_4x4x12_k20(AT(float, 10000), AT(uint8_t, 8480), p_blocks_2_pointwise2_scale, AT(float, 10768), 0, 4);
    /* blocks.2.pointwise2:conv2d_input_grad: blocks.2.pointwise2:g_x float32 1x4x4x24 @11536 <- blocks.2.pointwise2:g_acc float32 1x4x4x12 @10768, blocks.2.pointwise2.weight int8 12x1x1x24 in flash */
    MCU_OP(21);
    tvmgen_tiny_conv2d_input_grad_conv1x1_4x4x12_k21(AT(float, 10768), p_blocks_2_pointwise2_weight, AT(float, 11536), 0, 4);
    /* blocks.2.depthwise:mask_scale: blocks.2.depthwise:g_acc float32 1x4x4x24 @13072 <- blocks.2.pointwise2:g_x float32 1x4x4x24 @11536, blocks.2.depthwise:mask uint8 1x4x12 @8192, blocks.2.depthwise.scale float32 24 in flash */
    MCU_OP(22);
    tvmgen_tiny_mask_scale_4x4x24_k22(AT(float, 11536), AT(uint8_t, 8192), p_blocks_2_depthwise_scale, AT(float, 13072), 0, 4);
    /* blocks.2.depthwise:conv2d_input_grad: blocks.2.depthwise:g_x float32 1x4x4x24 @14608 <- blocks.2.depthwise:g_acc float32 1x4x4x24 @13072, blocks.2.depthwise.weight int8 24x3x3 in flash */
    MCU_OP(23);
    tvmgen_tiny_conv2d_input_grad_depthwise3x3_4x4x24_k23(AT(float, 13072), p_blocks_2_depthwise_weight, AT(float, 14608), 0, 4);
    /* blocks.2.depthwise:conv2d_bias_grad: blocks.2.depthwise:g_bias float32 24 @16144 <- blocks.2.depthwise:g_acc float32 1x4x4x24 @13072 */
    MCU_OP(24);
    tvmgen_tiny_conv2d_bias_grad_4x4x24_k24(AT(float, 13072), AT(float, 16144), 0, 4);
    /* blocks.2.pointwise1:mask_scale: blocks.2.pointwise1:g_acc float32 1x4x4x24 @16240 <- blocks.2.depthwise:g_x float32 1x4x4x24 @14608, blocks.2.pointwise1:mask uint8 1x4x12 @7584, blocks.2.pointwise1.scale float32 24 in flash */
    MCU_OP(25);
    tvmgen_tiny_mask_scale_4x4x24_k22(AT(float, 14608), AT(uint8_t, 7584), p_blocks_2_pointwise1_scale, AT(float, 16240), 0, 4);
    /* blocks.2.pointwise1:take_channels: blocks.2.pointwise1:saved int8 1x4x4x3 @17776 <- blocks.1.pointwise2 int8 1x4x4x12 @6880 */
    MCU_OP(26);
    tvmgen_tiny_take_channels_4x4x12_k25(AT(int8_t, 6880), channels_1, AT(int8_t, 17776));
    /* blocks.2.pointwise1:conv2d_bias_grad: blocks.2.pointwise1:g_bias float32 24 @17824 <- blocks.2.pointwise1:g_acc float32 1x4x4x24 @16240 */
    MCU_OP(27);
    tvmgen_tiny_conv2d_bias_grad_4x4x24_k24(AT(float, 16240), AT(float, 17824), 0, 4);
    /* blocks.2.pointwise1:conv2d_weight_grad: blocks.2.pointwise1:g_weight float32 24x1x1x3 @17920 <- blocks.2.pointwise1:saved int8 1x4x4x3 @17776, blocks.2.pointwise1:g_acc float32 1x4x4x24 @16240 */
    MCU_OP(28);
    tvmgen_tiny_conv2d_weight_grad_conv1x1_4x4x3_k26(AT(int8_t, 17776), AT(float, 16240), AT(float, 17920), 0, 4);
    /* blocks.2.pointwise1.bias:sgd: blocks.2.pointwise1.bias int32 24 @208 <- blocks.2.pointwise1.bias int32 24 @208, blocks.2.pointwise1:g_bias float32 24 @17824, blocks.2.pointwise1.scale float32 24 in flash, blocks.2.pointwise1.bias.update uint32 3 in flash, learning_rate float32 2 @688, counter uint32 2 @704 */
    MCU_GRADIENT(0, tvmgen_tiny_arena + 17824, 96);
    MCU_OP(29);
    tvmgen_tiny_sgd_24_k27(AT(int32_t, 208), AT(float, 17824), p_blocks_2_pointwise1_scale, p_blocks_2_pointwise1_bias_update, AT(float, 688), AT(uint32_t, 704));
    /* blocks.2.pointwise1.weight:sgd: blocks.2.pointwise1.weight.trained int8 24x1x1x3 @608 <- blocks.2.pointwise1.weight.trained int8 24x1x1x3 @608, blocks.2.pointwise1:g_weight float32 24x1x1x3 @17920, blocks.2.pointwise1.scale float32 24 in flash, blocks.2.pointwise1.weight.update uint32 3 in flash, learning_rate float32 2 @688, counter uint32 2 @704 */
    MCU_GRADIENT(1, tvmgen_tiny_arena + 17920, 288);
    MCU_OP(30);
    tvmgen_tiny_sgd_1x1x3_k28(AT(int8_t, 608), AT(float, 17920), p_blocks_2_pointwise1_scale, p_blocks_2_pointwise1_weight_update, AT(float, 688), AT(uint32_t, 704), 0, 3);
    /* blocks.2.depthwise.bias:sgd: blocks.2.depthwise.bias int32 24 @304 <- blocks.2.depthwise.bias int32 24 @304, blocks.2.depthwise:g_bias float32 24 @16144, blocks.2.depthwise.scale float32 24 in flash, blocks.2.depthwise.bias.update uint32 3 in flash, learning_rate float32 2 @688, counter uint32 2 @704 */
    MCU_GRADIENT(2, tvmgen_tiny_arena + 16144, 96);
    MCU_OP(31);
    tvmgen_tiny_sgd_24_k27(AT(int32_t, 304), AT(float, 16144), p_blocks_2_depthwise_scale, p_blocks_2_depthwise_bias_update, AT(float, 688), AT(uint32_t, 704));
    /* classifier.weight:sgd: classifier.weight float32 4x12 @400 <- classifier.weight float32 4x12 @400, classifier:g_weight float32 4x12 @9040, learning_rate float32 2 @688, counter uint32 2 @704 */
    MCU_GRADIENT(3, tvmgen_tiny_arena + 9040, 192);
    MCU_OP(32);
    tvmgen_tiny_sgd_4x12_k29(AT(float, 400), AT(float, 9040), AT(float, 688), AT(uint32_t, 704), 0, 1);
    /* classifier.bias:sgd: classifier.bias float32 4 @592 <- classifier.bias float32 4 @592, loss:g_logits float32 4 @8976, learning_rate float32 2 @688, counter uint32 2 @704 */
    MCU_GRADIENT(4, tvmgen_tiny_arena + 8976, 16);
    MCU_OP(33);
    tvmgen_tiny_sgd_4_k30(AT(float, 592), AT(float, 8976), AT(float, 688), AT(uint32_t, 704));
    /* counter:next_step: counter uint32 2 @704 <- counter uint32 2 @704 */
    MCU_OP(34);
    tvmgen_tiny_next_step_2_k31(AT(uint32_t, 704));
}


int8_t *tvmgen_tiny_input(void) { return AT(int8_t, 0); }

int32_t tvmgen_tiny_infer_arena(void) {
    if (!ready) {
        return MCU_ERROR_STATE;
    }
    tvmgen_tiny_infer_ops();
    return MCU_OK;
}

static int32_t tvmgen_tiny_take_input(const void *input) {
    if (input == NULL) {
        return MCU_ERROR_NULL;
    }
    if (input != (const void *)(tvmgen_tiny_arena + 0)) {
        memcpy(tvmgen_tiny_arena + 0, input, 192);
    }
    return ready ? MCU_OK : tvmgen_tiny_init();
}

int32_t tvmgen_tiny_run(struct tvmgen_tiny_inputs *inputs, struct tvmgen_tiny_outputs *outputs) {
    if (inputs == NULL || outputs == NULL || outputs->output == NULL) {
        return MCU_ERROR_NULL;
    }
    const int32_t status = tvmgen_tiny_take_input(inputs->input);
    if (status != MCU_OK) {
        return status;
    }
    tvmgen_tiny_infer_ops();
    memcpy(outputs->output, tvmgen_tiny_arena + 8944, 16);
    return MCU_OK;
}

float *tvmgen_tiny_learning_rate(void) { return AT(float, 688); }

int32_t tvmgen_tiny_train_arena(void) {
    int32_t label;
    if (!ready) {
        return MCU_ERROR_STATE;
    }
    memcpy(&label, tvmgen_tiny_arena + 192, sizeof label);
    if (label < 0 || label >= 4) {
        return MCU_ERROR_LABEL;
    }
    tvmgen_tiny_train_ops();
    return MCU_OK;
}

int32_t tvmgen_tiny_train_step(struct tvmgen_tiny_train_inputs *inputs, struct tvmgen_tiny_train_outputs *outputs) {
    if (inputs == NULL || outputs == NULL || inputs->label == NULL || outputs->loss == NULL) {
        return MCU_ERROR_NULL;
    }
    int32_t status = tvmgen_tiny_take_input(inputs->input);
    if (status != MCU_OK) {
        return status;
    }
    memcpy(tvmgen_tiny_arena + 192, inputs->label, 4);
    status = tvmgen_tiny_train_arena();
    if (status != MCU_OK) {
        return status;
    }
    memcpy(outputs->loss, tvmgen_tiny_arena + 8960, sizeof(float));
    if (outputs->output != NULL) {
        memcpy(outputs->output, tvmgen_tiny_arena + 8944, 16);
    }
    return MCU_OK;
}
