/* an update */
void kernel(int8_t* w, const float* g, const float* scale, const uint32_t* settings, const float* rates, const uint32_t* counter, float* velocity, const int16_t* channels, int32_t y0, int32_t y1) {
  float rate = rates[0];
  for (int32_t s = 0; s < (y1 - y0); ++s) {
    for (int32_t i = 0; i < 18; ++i) {
      float g_1 = g[(((s * 18) + (y0 * 18)) + i)];
      float v = ((velocity[(((s * 18) + (y0 * 18)) + i)] * mcu_f32((uint32_t)1056964608)) + (((mcu_f32((uint32_t)4286578687) <= g_1) && (g_1 <= mcu_f32((uint32_t)2139095039))) ? g_1 : 0.000000e+00f));
      velocity[(((s * 18) + (y0 * 18)) + i)] = (((mcu_f32((uint32_t)4286578687) <= v) && (v <= mcu_f32((uint32_t)2139095039))) ? v : 0.000000e+00f);
    }
    for (int32_t n = 0; n < 2; ++n) {
      mcu_sgd_i8((&(w[0])), (&(velocity[(((s * 18) + (y0 * 18)) + (n * 9))])), (&(scale[0])), (&(settings[0])), (&(counter[0])), rate, ((int32_t)channels[(((s * 2) + (y0 * 2)) + n)]), 1, 9);
    }
  }
}
