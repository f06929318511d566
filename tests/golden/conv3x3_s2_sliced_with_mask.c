/* a sliced convolution */
void kernel(const int8_t* x, const int8_t* w0, const int8_t* w1, const int32_t* bias, const float* scale, const int16_t* channels0, const int16_t* channels1, int8_t* y, uint8_t* mask, int16_t* columns, int32_t y0, int32_t y1) {
  int32_t acc[4];
  for (int32_t oy = 0; oy < (y1 - y0); ++oy) {
    for (int32_t i = 0; i < 2; ++i) {
      mask[(((oy * 2) + (y0 * 2)) + i)] = (uint8_t)0;
    }
    for (int32_t block = 0; block < 1; ++block) {
      for (int32_t ky = 0; ky < 3; ++ky) {
        for (int32_t kx = 0; kx < 3; ++kx) {
          if (((1 <= (((oy * 2) + (y0 * 2)) + ky)) && ((((oy * 2) + (y0 * 2)) + ky) < 5)) && (1 <= kx)) {
            for (int32_t c = 0; c < 2; ++c) {
              columns[(((ky * 6) + (kx * 2)) + c)] = ((int16_t)(((int32_t)x[((((((oy * 32) + (y0 * 32)) + (ky * 16)) + (kx * 4)) + ((int32_t)channels0[c])) - 20)]) - 66));
            }
          } else {
            for (int32_t c_1 = 0; c_1 < 2; ++c_1) {
              columns[(((ky * 6) + (kx * 2)) + c_1)] = (int16_t)0;
            }
          }
        }
      }
      for (int32_t ky_1 = 0; ky_1 < 3; ++ky_1) {
        for (int32_t kx_1 = 0; kx_1 < 3; ++kx_1) {
          if (((1 <= (((oy * 2) + (y0 * 2)) + ky_1)) && ((((oy * 2) + (y0 * 2)) + ky_1) < 5)) && (1 <= kx_1)) {
            for (int32_t c_2 = 0; c_2 < 2; ++c_2) {
              columns[((((ky_1 * 6) + (kx_1 * 2)) + c_2) + 18)] = ((int16_t)(((int32_t)x[((((((oy * 32) + (y0 * 32)) + (ky_1 * 16)) + (kx_1 * 4)) + ((int32_t)channels1[c_2])) - 20)]) - 66));
            }
          } else {
            for (int32_t c_3 = 0; c_3 < 2; ++c_3) {
              columns[((((ky_1 * 6) + (kx_1 * 2)) + c_3) + 18)] = (int16_t)0;
            }
          }
        }
      }
      for (int32_t ky_2 = 0; ky_2 < 3; ++ky_2) {
        for (int32_t kx_2 = 0; kx_2 < 3; ++kx_2) {
          if ((1 <= (((oy * 2) + (y0 * 2)) + ky_2)) && ((((oy * 2) + (y0 * 2)) + ky_2) < 5)) {
            for (int32_t c_4 = 0; c_4 < 2; ++c_4) {
              columns[((((ky_2 * 6) + (kx_2 * 2)) + c_4) + 36)] = ((int16_t)(((int32_t)x[((((((oy * 32) + (y0 * 32)) + (ky_2 * 16)) + (kx_2 * 4)) + ((int32_t)channels0[c_4])) - 12)]) - 66));
            }
          } else {
            for (int32_t c_5 = 0; c_5 < 2; ++c_5) {
              columns[((((ky_2 * 6) + (kx_2 * 2)) + c_5) + 36)] = (int16_t)0;
            }
          }
        }
      }
      for (int32_t ky_3 = 0; ky_3 < 3; ++ky_3) {
        for (int32_t kx_3 = 0; kx_3 < 3; ++kx_3) {
          if ((1 <= (((oy * 2) + (y0 * 2)) + ky_3)) && ((((oy * 2) + (y0 * 2)) + ky_3) < 5)) {
            for (int32_t c_6 = 0; c_6 < 2; ++c_6) {
              columns[((((ky_3 * 6) + (kx_3 * 2)) + c_6) + 54)] = ((int16_t)(((int32_t)x[((((((oy * 32) + (y0 * 32)) + (ky_3 * 16)) + (kx_3 * 4)) + ((int32_t)channels1[c_6])) - 12)]) - 66));
            }
          } else {
            for (int32_t c_7 = 0; c_7 < 2; ++c_7) {
              columns[((((ky_3 * 6) + (kx_3 * 2)) + c_7) + 54)] = (int16_t)0;
            }
          }
        }
      }
      for (int32_t ob = 0; ob < 3; ++ob) {
        acc[0] = bias[(ob * 2)];
        acc[1] = bias[((ob * 2) + 1)];
        acc[2] = bias[(ob * 2)];
        acc[3] = bias[((ob * 2) + 1)];
        for (int32_t k = 0; k < 6; ++k) {
          int32_t wv = ((int32_t)w0[((ob * 36) + (k * 3))]);
          int32_t wv_1 = ((int32_t)w0[(((ob * 36) + (k * 3)) + 18)]);
          int32_t xv = ((int32_t)columns[(k * 3)]);
          acc[0] = (acc[0] + (wv * xv));
          acc[1] = (acc[1] + (wv_1 * xv));
          int32_t xv_1 = ((int32_t)columns[((k * 3) + 36)]);
          acc[2] = (acc[2] + (wv * xv_1));
          acc[3] = (acc[3] + (wv_1 * xv_1));
          int32_t wv_2 = ((int32_t)w0[(((ob * 36) + (k * 3)) + 1)]);
          int32_t wv_3 = ((int32_t)w0[(((ob * 36) + (k * 3)) + 19)]);
          int32_t xv_2 = ((int32_t)columns[((k * 3) + 1)]);
          acc[0] = (acc[0] + (wv_2 * xv_2));
          acc[1] = (acc[1] + (wv_3 * xv_2));
          int32_t xv_3 = ((int32_t)columns[((k * 3) + 37)]);
          acc[2] = (acc[2] + (wv_2 * xv_3));
          acc[3] = (acc[3] + (wv_3 * xv_3));
          int32_t wv_4 = ((int32_t)w0[(((ob * 36) + (k * 3)) + 2)]);
          int32_t wv_5 = ((int32_t)w0[(((ob * 36) + (k * 3)) + 20)]);
          int32_t xv_4 = ((int32_t)columns[((k * 3) + 2)]);
          acc[0] = (acc[0] + (wv_4 * xv_4));
          acc[1] = (acc[1] + (wv_5 * xv_4));
          int32_t xv_5 = ((int32_t)columns[((k * 3) + 38)]);
          acc[2] = (acc[2] + (wv_4 * xv_5));
          acc[3] = (acc[3] + (wv_5 * xv_5));
        }
        for (int32_t k_1 = 0; k_1 < 6; ++k_1) {
          int32_t wv_6 = ((int32_t)w1[((ob * 36) + (k_1 * 3))]);
          int32_t wv_7 = ((int32_t)w1[(((ob * 36) + (k_1 * 3)) + 18)]);
          int32_t xv_6 = ((int32_t)columns[((k_1 * 3) + 18)]);
          acc[0] = (acc[0] + (wv_6 * xv_6));
          acc[1] = (acc[1] + (wv_7 * xv_6));
          int32_t xv_7 = ((int32_t)columns[((k_1 * 3) + 54)]);
          acc[2] = (acc[2] + (wv_6 * xv_7));
          acc[3] = (acc[3] + (wv_7 * xv_7));
          int32_t wv_8 = ((int32_t)w1[(((ob * 36) + (k_1 * 3)) + 1)]);
          int32_t wv_9 = ((int32_t)w1[(((ob * 36) + (k_1 * 3)) + 19)]);
          int32_t xv_8 = ((int32_t)columns[((k_1 * 3) + 19)]);
          acc[0] = (acc[0] + (wv_8 * xv_8));
          acc[1] = (acc[1] + (wv_9 * xv_8));
          int32_t xv_9 = ((int32_t)columns[((k_1 * 3) + 55)]);
          acc[2] = (acc[2] + (wv_8 * xv_9));
          acc[3] = (acc[3] + (wv_9 * xv_9));
          int32_t wv_10 = ((int32_t)w1[(((ob * 36) + (k_1 * 3)) + 2)]);
          int32_t wv_11 = ((int32_t)w1[(((ob * 36) + (k_1 * 3)) + 20)]);
          int32_t xv_10 = ((int32_t)columns[((k_1 * 3) + 20)]);
          acc[0] = (acc[0] + (wv_10 * xv_10));
          acc[1] = (acc[1] + (wv_11 * xv_10));
          int32_t xv_11 = ((int32_t)columns[((k_1 * 3) + 56)]);
          acc[2] = (acc[2] + (wv_10 * xv_11));
          acc[3] = (acc[3] + (wv_11 * xv_11));
        }
        int32_t v = (mcu_round_even((((float)acc[0]) * scale[(ob * 2)])) - 51);
        int32_t v_ = (v) < (127) ? (v) : (127);
        y[(((oy * 12) + (y0 * 12)) + (ob * 2))] = ((int8_t)((v_) > (-128) ? (v_) : (-128)));
        mask[(((oy * 2) + (y0 * 2)) + ((ob * 2) >> 3))] = ((uint8_t)(((int32_t)mask[(((oy * 2) + (y0 * 2)) + ((ob * 2) >> 3))]) | ((((int32_t)(-128 <= v)) & ((int32_t)(v <= 127))) << ((ob * 2) & 7))));
        int32_t v_1 = (mcu_round_even((((float)acc[1]) * scale[((ob * 2) + 1)])) - 51);
        int32_t v__1 = (v_1) < (127) ? (v_1) : (127);
        y[((((oy * 12) + (y0 * 12)) + (ob * 2)) + 1)] = ((int8_t)((v__1) > (-128) ? (v__1) : (-128)));
        mask[(((oy * 2) + (y0 * 2)) + (((ob * 2) + 1) >> 3))] = ((uint8_t)(((int32_t)mask[(((oy * 2) + (y0 * 2)) + (((ob * 2) + 1) >> 3))]) | ((((int32_t)(-128 <= v_1)) & ((int32_t)(v_1 <= 127))) << (((ob * 2) + 1) & 7))));
        int32_t v_2 = (mcu_round_even((((float)acc[2]) * scale[(ob * 2)])) - 51);
        int32_t v__2 = (v_2) < (127) ? (v_2) : (127);
        y[((((oy * 12) + (y0 * 12)) + (ob * 2)) + 6)] = ((int8_t)((v__2) > (-128) ? (v__2) : (-128)));
        mask[(((oy * 2) + (y0 * 2)) + (((ob * 2) + 6) >> 3))] = ((uint8_t)(((int32_t)mask[(((oy * 2) + (y0 * 2)) + (((ob * 2) + 6) >> 3))]) | ((((int32_t)(-128 <= v_2)) & ((int32_t)(v_2 <= 127))) << (((ob * 2) + 6) & 7))));
        int32_t v_3 = (mcu_round_even((((float)acc[3]) * scale[((ob * 2) + 1)])) - 51);
        int32_t v__3 = (v_3) < (127) ? (v_3) : (127);
        y[((((oy * 12) + (y0 * 12)) + (ob * 2)) + 7)] = ((int8_t)((v__3) > (-128) ? (v__3) : (-128)));
        mask[(((oy * 2) + (y0 * 2)) + (((ob * 2) + 7) >> 3))] = ((uint8_t)(((int32_t)mask[(((oy * 2) + (y0 * 2)) + (((ob * 2) + 7) >> 3))]) | ((((int32_t)(-128 <= v_3)) & ((int32_t)(v_3 <= 127))) << (((ob * 2) + 7) & 7))));
      }
    }
  }
}
