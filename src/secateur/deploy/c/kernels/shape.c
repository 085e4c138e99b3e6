/* The shape of a convolution, of one group where there are several; `inputs` and `outputs` are channels.
   Its input is laid out as planes, one for each (channel, column of the kernel, phase of the rows): plane (c, i, p) has
   in row j, column k what output column k reads through kernel column i, zeros where that is outside, of input row
   (first + j) * stride + p * dilation % stride - padding. All rows are as wide as the output: what one weight reads for
   a run of outputs, over row ends too, lies side by side, and begins at a multiple of that width. */
typedef struct {
    int groups, inputs, outputs;
    int height, width, out_height, out_width;
    int kernel_height, kernel_width, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x;
    int phases; /* of the rows: as many as kernel rows fall on different input rows modulo the stride */
    int rows;   /* of a plane */
    int band;   /* output rows that are computed from planes filled once */
    int direct; /* the input itself is as such planes would be: a 1x1 kernel without stride or padding */
    int activation;
} convolution;
