/* a depthwise convolution */
void kernel(const int8_t* x, const int8_t* w, const int32_t* bias, const float* scale, int8_t* y, int16_t* rows, int32_t y0, int32_t y1) {
  int32_t acc[2];
  for (int32_t i = 0; i < 24; ++i) {
    rows[i] = (int16_t)0;
  }
  for (int32_t oy = 0; oy < (y1 - y0); ++oy) {
    for (int32_t c = 0; c < 3; ++c) {
      for (int32_t ky = 0; ky < 3; ++ky) {
        if ((1 <= ((oy + y0) + ky)) && (((oy + y0) + ky) < 7)) {
          for (int32_t ix = 0; ix < 6; ++ix) {
            rows[(((ky * 8) + ix) + 1)] = ((int16_t)(((int32_t)x[((((((oy * 18) + (ky * 18)) + (y0 * 18)) + (ix * 3)) + c) - 18)]) - 43));
          }
        } else {
          for (int32_t ix_1 = 0; ix_1 < 6; ++ix_1) {
            rows[(((ky * 8) + ix_1) + 1)] = (int16_t)0;
          }
        }
      }
      for (int32_t block = 0; block < 3; ++block) {
        acc[0] = bias[c];
        acc[1] = bias[c];
        int32_t wv = ((int32_t)w[(c * 9)]);
        acc[0] = (acc[0] + (wv * ((int32_t)rows[(block * 2)])));
        acc[1] = (acc[1] + (wv * ((int32_t)rows[((block * 2) + 1)])));
        int32_t wv_1 = ((int32_t)w[((c * 9) + 1)]);
        acc[0] = (acc[0] + (wv_1 * ((int32_t)rows[((block * 2) + 1)])));
        acc[1] = (acc[1] + (wv_1 * ((int32_t)rows[((block * 2) + 2)])));
        int32_t wv_2 = ((int32_t)w[((c * 9) + 2)]);
        acc[0] = (acc[0] + (wv_2 * ((int32_t)rows[((block * 2) + 2)])));
        acc[1] = (acc[1] + (wv_2 * ((int32_t)rows[((block * 2) + 3)])));
        int32_t wv_3 = ((int32_t)w[((c * 9) + 3)]);
        acc[0] = (acc[0] + (wv_3 * ((int32_t)rows[((block * 2) + 8)])));
        acc[1] = (acc[1] + (wv_3 * ((int32_t)rows[((block * 2) + 9)])));
        int32_t wv_4 = ((int32_t)w[((c * 9) + 4)]);
        acc[0] = (acc[0] + (wv_4 * ((int32_t)rows[((block * 2) + 9)])));
        acc[1] = (acc[1] + (wv_4 * ((int32_t)rows[((block * 2) + 10)])));
        int32_t wv_5 = ((int32_t)w[((c * 9) + 5)]);
        acc[0] = (acc[0] + (wv_5 * ((int32_t)rows[((block * 2) + 10)])));
        acc[1] = (acc[1] + (wv_5 * ((int32_t)rows[((block * 2) + 11)])));
        int32_t wv_6 = ((int32_t)w[((c * 9) + 6)]);
        acc[0] = (acc[0] + (wv_6 * ((int32_t)rows[((block * 2) + 16)])));
        acc[1] = (acc[1] + (wv_6 * ((int32_t)rows[((block * 2) + 17)])));
        int32_t wv_7 = ((int32_t)w[((c * 9) + 7)]);
        acc[0] = (acc[0] + (wv_7 * ((int32_t)rows[((block * 2) + 17)])));
        acc[1] = (acc[1] + (wv_7 * ((int32_t)rows[((block * 2) + 18)])));
        int32_t wv_8 = ((int32_t)w[((c * 9) + 8)]);
        acc[0] = (acc[0] + (wv_8 * ((int32_t)rows[((block * 2) + 18)])));
        acc[1] = (acc[1] + (wv_8 * ((int32_t)rows[((block * 2) + 19)])));
        int32_t v = (mcu_round_even((((float)acc[0]) * scale[c])) - 10);
        int32_t v_ = (v) < (127) ? (v) : (127);
        y[((((oy * 18) + (y0 * 18)) + (block * 6)) + c)] = ((int8_t)((v_) > (-128) ? (v_) : (-128)));
        int32_t v_1 = (mcu_round_even((((float)acc[1]) * scale[c])) - 10);
        int32_t v__1 = (v_1) < (127) ? (v_1) : (127);
        y[(((((oy * 18) + (y0 * 18)) + (block * 6)) + c) + 3)] = ((int8_t)((v__1) > (-128) ? (v__1) : (-128)));
      }
    }
  }
}
