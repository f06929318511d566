    /* blocks.1.pointwise1:qconv2d: blocks.1.pointwise1 int8 1x8x8x16 @12944 (5 of 8 rows) <- blocks.0.residual int8 1x8x8x8 @4640, blocks.1.pointwise1.weight int8 16x1x1x8 in flash, blocks.1.pointwise1.bias int32 16 in flash, blocks.1.pointwise1.scale float32 16 in flash */
    /* blocks.1.depthwise:qconv2d: blocks.1.depthwise int8 1x4x4x16 @13584 (1 of 4 rows) <- blocks.1.pointwise1 int8 1x8x8x16 @12944 (5 of 8 rows), blocks.1.depthwise.weight int8 16x5x5 in flash, blocks.1.depthwise.bias int32 16 in flash, blocks.1.depthwise.scale float32 16 in flash */
    /* blocks.1.pointwise2:qconv2d_with_mask: blocks.1.pointwise2 int8 1x4x4x12 @5152, blocks.1.pointwise2:mask uint8 1x4x6 @5344 <- blocks.1.depthwise int8 1x4x4x16 @13584 (1 of 4 rows), blocks.1.pointwise2.weight int8 12x1x1x16 in flash, blocks.1.pointwise2.bias int32 12 @208, blocks.1.pointwise2.scale float32 12 in flash */
    {
        int32_t row0 = 0; /* rows done of blocks.1.pointwise1:qconv2d */
        int32_t row1 = 0; /* rows done of blocks.1.depthwise:qconv2d */
        int32_t row2 = 0; /* rows done of blocks.1.pointwise2:qconv2d_with_mask */
        for (; row2 < 4; ++row2) {
            for (; row1 < mcu_min(4, row2 * 1 + 1); ++row1) {
                for (; row0 < mcu_min(8, row1 * 2 + 3); ++row0) {
                    MCU_OP(5);
                    tvmgen_streams_qconv2d_conv1x1_8x8x8_k30(AT(int8_t, 4640), p_blocks_1_pointwise1_weight, p_blocks_1_pointwise1_bias, p_blocks_1_pointwise1_scale, AT(int8_t, 12944), AT(int16_t, 13648), row0, row0 + 1);
                }
                MCU_OP(6);
                tvmgen_streams_qconv2d_depthwise5x5_s2_8x8x16_k31(AT(int8_t, 12944), p_blocks_1_depthwise_weight, p_blocks_1_depthwise_bias, p_blocks_1_depthwise_scale, AT(int8_t, 13584), AT(int16_t, 13648), row1, row1 + 1);
            }
            MCU_OP(7);
            tvmgen_streams_qconv2d_with_mask_conv1x1_4x4x16_k33(AT(int8_t, 13584), p_blocks_1_pointwise2_weight, AT(int32_t, 208), p_blocks_1_pointwise2_scale, AT(int8_t, 5152), AT(uint8_t, 5344), AT(int16_t, 13648), row2, row2 + 1);
        }
    }
