#include <ATen/ATen.h>

#include "policy/device/kernels.h"
#include "policy/device/ops.h"
#include "policy/fp8_tile.h"

namespace ponder::policy::device {
namespace {

int64_t tiles(int64_t size, int64_t tile) {
  return (size + tile - 1) / tile;
}

// x [rows, cols], filled up with zeros to whole tiles, [tile rows, rows a tile, tile cols, cols a
// tile].
at::Tensor in_tiles(const at::Tensor& x, Fp8Tile tile) {
  const int64_t down = tiles(x.size(0), tile.rows), across = tiles(x.size(1), tile.cols);
  return at::constant_pad_nd(x,
                             {0, across * tile.cols - x.size(1), 0, down * tile.rows - x.size(0)})
      .view({down, tile.rows, across, tile.cols});
}

// As tile_scale() of fp8_tile.h.
at::Tensor scales_of(const at::Tensor& greatest, Fp8Scale kind) {
  const at::Tensor scale = greatest / kE4m3Max, one = at::ones_like(scale);
  const at::Tensor used = kind == Fp8Scale::kPowerOfTwo ? scale.log2().ceil().exp2() : scale;
  return at::where(scale > 0, used, one);
}

// A scale for every value of a matrix.
at::Tensor spread(const at::Tensor& scales, Fp8Tile tile, at::IntArrayRef shape) {
  return scales.repeat_interleave(tile.rows, 0)
      .narrow(0, 0, shape[0])
      .repeat_interleave(tile.cols, 1)
      .narrow(1, 0, shape[1]);
}

}  // namespace

Fp8Matrix quantize_fp8(const at::Tensor& x, Fp8Tile tile, Fp8Scale scale) {
  const at::NoGradGuard no_grad;
  const at::Tensor plain = x.detach().to(at::kFloat).contiguous();
  const int64_t rows = plain.size(0), cols = plain.size(1);
  if (const CudaPlugin* kernels = kernels_for(plain)) {
    Fp8Matrix out{at::empty({rows, cols}, plain.options().dtype(at::kFloat8_e4m3fn)),
                  at::empty({tiles(rows, tile.rows), tiles(cols, tile.cols)}, plain.options()),
                  tile};
    const Fp8Job job{.x = plain.const_data_ptr<float>(),
                     .codes = static_cast<uint8_t*>(out.values.data_ptr()),
                     .scales = out.scales.data_ptr<float>(),
                     .rows = rows,
                     .cols = cols,
                     .tile_rows = tile.rows,
                     .tile_cols = tile.cols,
                     .power_of_two = scale == Fp8Scale::kPowerOfTwo};
    check_launch(kernels->quantize_fp8(job, kernels->current_stream()), "quantize_fp8");
    return out;
  }
  const at::Tensor sizes = in_tiles(plain.abs().nan_to_num(0.0, kE4m3Max), tile);
  const at::Tensor scales = scales_of(sizes.amax(at::IntArrayRef{1, 3}), scale);
  const at::Tensor values =
      (plain / spread(scales, tile, plain.sizes())).clamp(-kE4m3Max, kE4m3Max);
  return {values.to(at::kFloat8_e4m3fn), scales, tile};
}

at::Tensor dequantize_fp8(const Fp8Matrix& matrix, at::ScalarType dtype) {
  const at::Tensor values = matrix.values.to(at::kFloat);
  return (values * spread(matrix.scales, matrix.tile, values.sizes())).to(dtype);
}

namespace {

constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;  // what cuBLAS advises for sm_90
constexpr int kNotSupported = 10015;                    // cuda/fp8_gemm.h

int64_t up_to(int64_t size, int64_t step) {
  return (size + step - 1) / step * step;
}

// A matrix as cuda/fp8_gemm.h wants it: filled up with zeros to multiples of 16, the scales laid
// out for its tiles.
struct Operand {
  at::Tensor values, scales;
  Fp8ScaleLayout layout;

  explicit Operand(const Fp8Matrix& matrix)
      : layout(matrix.tile.rows == 1 ? Fp8ScaleLayout::kRows : Fp8ScaleLayout::kBlocks) {
    const int64_t rows = matrix.values.size(0), depth = matrix.values.size(1);
    const int64_t more_rows = up_to(rows, 16) - rows, more_depth = up_to(depth, 16) - depth;
    values = at::constant_pad_nd(matrix.values.view(at::kByte), {0, more_depth, 0, more_rows})
                 .contiguous();
    const int64_t across = matrix.scales.size(1);
    scales =
        layout == Fp8ScaleLayout::kRows
            ? at::constant_pad_nd(matrix.scales.t(), {0, more_rows}, 1).contiguous()
            : at::constant_pad_nd(matrix.scales, {0, up_to(across, 4) - across}, 1).contiguous();
  }
};

}  // namespace

at::Tensor fp8_product(const Fp8Matrix& a, const Fp8Matrix& b) {
  const int64_t rows = a.values.size(0), columns = b.values.size(0);
  if (const CudaPlugin* kernels = kernels_for(a.values)) {
    const Operand first(a), second(b);
    const at::Tensor out = at::empty({first.values.size(0), second.values.size(0)},
                                     a.scales.options()),
                     workspace = at::empty({kWorkspaceBytes}, first.values.options());
    const Fp8GemmJob job{.a = first.values.const_data_ptr<uint8_t>(),
                         .b = second.values.const_data_ptr<uint8_t>(),
                         .a_scales = first.scales.const_data_ptr<float>(),
                         .b_scales = second.scales.const_data_ptr<float>(),
                         .a_layout = first.layout,
                         .b_layout = second.layout,
                         .out = out.data_ptr<float>(),
                         .workspace = workspace.data_ptr(),
                         .workspace_bytes = kWorkspaceBytes,
                         .a_rows = out.size(0),
                         .b_rows = out.size(1),
                         .depth = first.values.size(1)};
    const int status = kernels->fp8_gemm(job, kernels->current_stream());
    if (status != kNotSupported) {
      check_launch(status, "fp8_gemm");
      return out.narrow(0, 0, rows).narrow(1, 0, columns);
    }
  }
  return at::mm(device::dequantize_fp8(a, at::kFloat), device::dequantize_fp8(b, at::kFloat).t());
}

}  // namespace ponder::policy::device
