/* an update */
void kernel(int8_t* w, const float* g, const float* scale, const uint32_t* settings, const float* rates, const uint32_t* counter, float* velocity, const int16_t* channels) {
  float factor[1];
  float rate = rates[0];
  for (int32_t o = 0; o < 2; ++o) {
    int32_t channel = ((int32_t)channels[o]);
    if (mcu_f32(settings[1]) < scale[channel]) {
      float unit = (scale[channel] * mcu_f32(settings[0]));
      factor[0] = ((rate / unit) / unit);
      for (int32_t i = 0; i < 9; ++i) {
        float g_1 = g[((o * 9) + i)];
        float v = ((velocity[((o * 9) + i)] * mcu_f32((uint32_t)1056964608)) + (((mcu_f32((uint32_t)4286578687) <= g_1) && (g_1 <= mcu_f32((uint32_t)2139095039))) ? g_1 : 0.000000e+00f));
        velocity[((o * 9) + i)] = (((mcu_f32((uint32_t)4286578687) <= v) && (v <= mcu_f32((uint32_t)2139095039))) ? v : 0.000000e+00f);
        w[((channel * 9) + i)] = mcu_update_i8(w[((channel * 9) + i)], (velocity[((o * 9) + i)] * factor[0]), mcu_hash((counter[0] ^ settings[2]), counter[1], ((uint32_t)((channel * 9) + i))));
      }
    }
  }
}
