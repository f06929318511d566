/* a sliced convolution */
void kernel(const int8_t* x, const int8_t* w0, const int8_t* w1, const int32_t* bias, const float* scale, const int16_t* channels0, const int16_t* channels1, int8_t* y, uint8_t* mask, int16_t* columns, int32_t y0, int32_t y1) {
  for (int32_t oy = 0; oy < (y1 - y0); ++oy) {
    for (int32_t i = 0; i < 2; ++i) {
      mask[(((oy * 2) + (y0 * 2)) + i)] = (uint8_t)0;
    }
    for (int32_t ox = 0; ox < 2; ++ox) {
      mcu_windows_listed((&(columns[80])), (&(x[0])), 4, 4, 4, 0, 3, 3, (((oy * 2) + (y0 * 2)) - 1), ((ox * 2) - 1), 2, 1, 66, (&(channels0[0])), 2);
      mcu_columns1((&(columns[0])), (&(columns[80])), 20, 20, 66);
      mcu_windows_listed((&(columns[80])), (&(x[0])), 4, 4, 4, 0, 3, 3, (((oy * 2) + (y0 * 2)) - 1), ((ox * 2) - 1), 2, 1, 66, (&(channels1[0])), 2);
      mcu_columns1((&(columns[20])), (&(columns[80])), 20, 20, 66);
      mcu_conv1_even_mask((&(columns[0])), (&(w0[0])), 18, (&(w1[0])), 18, (&(bias[0])), (&(scale[0])), (&(y[(((oy * 12) + (y0 * 12)) + (ox * 6))])), 6, -51, -128, 127, (&(mask[((oy * 2) + (y0 * 2))])), (ox * 6));
    }
  }
}
