/* a depthwise convolution */
void kernel(const int8_t* x, const int8_t* w, const int32_t* bias, const float* scale, int8_t* y, int16_t* rows, int32_t y0, int32_t y1) {
  for (int32_t oy = 0; oy < (y1 - y0); ++oy) {
    mcu_depthwise3_s1_full((&(x[0])), (&(w[0])), (&(bias[0])), (&(scale[0])), (&(y[((oy * 18) + (y0 * 18))])), (&(rows[0])), 6, 6, 3, 0, ((oy + y0) - 1), 6, 43, -10);
  }
}
