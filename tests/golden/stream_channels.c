    /* blocks.2.pointwise2:conv2d_input_grad: blocks.2.pointwise2:g_x float32 1x4x4x24 @14288 (1 of 3 blocks) <- blocks.2.pointwise2:g_acc float32 1x4x4x12 @9632, blocks.2.pointwise2.weight int8 12x1x1x24 in flash */
    /* blocks.2.depthwise:mask_scale: blocks.2.depthwise:g_acc float32 1x4x4x24 @14288 (1 of 3 blocks) <- blocks.2.pointwise2:g_x float32 1x4x4x24 @14288 (1 of 3 blocks), blocks.2.depthwise:mask uint8 1x4x12 @6288, blocks.2.depthwise.scale float32 24 in flash */
    /* blocks.2.depthwise:conv2d_bias_grad: blocks.2.depthwise:g_bias float32 24 @10400 <- blocks.2.depthwise:g_acc float32 1x4x4x24 @14288 (1 of 3 blocks) */
    /* blocks.2.depthwise:conv2d_input_grad: blocks.2.depthwise:g_x float32 1x4x4x24 @14800 (1 of 3 blocks) <- blocks.2.depthwise:g_acc float32 1x4x4x24 @14288 (1 of 3 blocks), blocks.2.depthwise.weight int8 24x3x3 in flash */
    /* blocks.2.pointwise1:mask_scale: blocks.2.pointwise1:g_acc float32 1x4x4x24 @14800 (1 of 3 blocks) <- blocks.2.depthwise:g_x float32 1x4x4x24 @14800 (1 of 3 blocks), blocks.2.pointwise1:mask uint8 1x4x12 @5760, blocks.2.pointwise1.scale float32 24 in flash */
    /* blocks.2.pointwise1:conv2d_bias_grad: blocks.2.pointwise1:g_bias float32 24 @12032 <- blocks.2.pointwise1:g_acc float32 1x4x4x24 @14800 (1 of 3 blocks) */
    /* blocks.2.pointwise1:conv2d_weight_grad: blocks.2.pointwise1:g_weight float32 24x1x1x12 @15312 (1 of 3 blocks) <- blocks.1.pointwise2 int8 1x4x4x12 @5152, blocks.2.pointwise1:g_acc float32 1x4x4x24 @14800 (1 of 3 blocks) */
    /* blocks.2.pointwise1:conv2d_input_grad: blocks.2.pointwise1:g_x float32 1x4x4x12 @10496 <- blocks.2.pointwise1:g_acc float32 1x4x4x24 @14800 (1 of 3 blocks), blocks.2.pointwise1.weight int8 24x1x1x12 @256 */
    /* blocks.2.pointwise1.weight:sgd: blocks.2.pointwise1.weight int8 24x1x1x12 @256 <- blocks.2.pointwise1.weight int8 24x1x1x12 @256, blocks.2.pointwise1:g_weight float32 24x1x1x12 @15312 (1 of 3 blocks), blocks.2.pointwise1.scale float32 24 in flash, blocks.2.pointwise1.weight.update uint32 3 in flash, learning_rate float32 2 @944, counter uint32 2 @960 */
    {
        int32_t row0 = 0; /* blocks of channels done of blocks.2.pointwise2:conv2d_input_grad */
        int32_t row1 = 0; /* blocks of channels done of blocks.2.depthwise:mask_scale */
        int32_t row2 = 0; /* blocks of channels done of blocks.2.depthwise:conv2d_input_grad */
        int32_t row3 = 0; /* blocks of channels done of blocks.2.pointwise1:mask_scale */
        int32_t row4 = 0; /* blocks of channels done of blocks.2.pointwise1:conv2d_weight_grad */
        int32_t row5 = 0; /* blocks of channels done of blocks.2.pointwise1.weight:sgd */
        for (; row5 < 3; ++row5) {
            for (; row4 < mcu_min(3, row5 * 1 + 1); ++row4) {
                for (; row3 < mcu_min(3, row4 * 1 + 1); ++row3) {
                    for (; row2 < mcu_min(3, row3 * 1 + 1); ++row2) {
                        for (; row1 < mcu_min(3, row2 * 1 + 1); ++row1) {
                            for (; row0 < mcu_min(3, row1 * 1 + 1); ++row0) {
                                MCU_OP(24);
                                tvmgen_streams_conv2d_input_grad_conv1x1_4x4x12_k34(AT(float, 9632), p_blocks_2_pointwise2_weight, AT(float, 14288), row0, row0 + 1);
                            }
                            MCU_OP(25);
                            tvmgen_streams_mask_scale_4x4x24_k35(AT(float, 14288), AT(uint8_t, 6288), p_blocks_2_depthwise_scale, AT(float, 14288), row1, row1 + 1);
                            MCU_OP(26);
                            tvmgen_streams_conv2d_bias_grad_4x4x24_k37(AT(float, 14288), AT(float, 10400), row1, row1 + 1);
                        }
                        MCU_OP(27);
                        tvmgen_streams_conv2d_input_grad_depthwise3x3_4x4x24_k36(AT(float, 14288), p_blocks_2_depthwise_weight, AT(float, 14800), row2, row2 + 1);
                    }
                    MCU_OP(28);
                    tvmgen_streams_mask_scale_4x4x24_k35(AT(float, 14800), AT(uint8_t, 5760), p_blocks_2_pointwise1_scale, AT(float, 14800), row3, row3 + 1);
                    MCU_OP(29);
                    tvmgen_streams_conv2d_bias_grad_4x4x24_k37(AT(float, 14800), AT(float, 12032), row3, row3 + 1);
                    MCU_OP(31);
                    tvmgen_streams_conv2d_input_grad_conv1x1_4x4x24_k38(AT(float, 14800), AT(int8_t, 256), AT(float, 10496), row3, row3 + 1);
                }
                MCU_OP(30);
                tvmgen_streams_conv2d_weight_grad_conv1x1_4x4x12_k39(AT(int8_t, 5152), AT(float, 14800), AT(float, 15312), row4, row4 + 1);
            }
            MCU_GRADIENT(2, tvmgen_streams_arena + 15312, 384);
            MCU_OP(32);
            tvmgen_streams_sgd_1x1x12_k40(AT(int8_t, 256), AT(float, 15312), p_blocks_2_pointwise1_scale, p_blocks_2_pointwise1_weight_update, AT(float, 944), AT(uint32_t, 960), row5, row5 + 1);
        }
    }
