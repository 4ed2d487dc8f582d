#include <cmath>

#include <ATen/ATen.h>

#include "policy/decode/stages.h"

namespace ponder::policy::decode {
namespace {

using kernels::Past;

template <typename T>
Past past_of(const Pass<T>& pass, int64_t r, int64_t window) {
  const int64_t length = pass.rows.positions[r] + 1, first = pass.rows.first[pass.rows.sequence[r]];
  return {.table = pass.rows.block_tables[pass.rows.sequence[r]]->data(),
          .block_size = pass.rows.block_size,
          .first = window > 0 ? std::max(first, length - window) : first,
          .length = length};
}

// Norms and rotates the heads of row r, `count` of them at `heads`.
template <typename T>
void finish_heads(const Pass<T>& pass, const GqaLayer& layer, int64_t r, const at::Tensor& norm,
                  T* heads, int64_t count) {
  const int64_t dim = layer.config.head_dim;
  for (int64_t h = 0; h < count; ++h) {
    T* head = heads + h * dim;
    if (norm.defined())
      pass.k.rms_norm(head, data_of<T>(norm), head, dim, static_cast<float>(layer.norm_eps));
    rotate_head(pass, r, head, dim, /*interleave=*/false);
  }
}

// Keys and values of the rows, behind where their queries are.
template <typename T>
void project_keys_values(const Team& team, Pass<T>& pass, const GqaLayer& layer) {
  const int64_t keys = layer.num_heads * layer.config.head_dim,
                width = layer.config.num_key_value_heads * layer.config.head_dim;
  const T* const* inputs = pass.normed.pointers.data();
  project(team, pass, layer.k_proj, inputs, pass.num_rows, pass.q, keys);
  project(team, pass, layer.v_proj, inputs, pass.num_rows, pass.q, keys + width);
}

template <typename T>
void cache_row(Pass<T>& pass, const GqaLayer& layer, int64_t r, T* cache) {
  const int64_t dim = layer.config.head_dim, kv_heads = layer.config.num_key_value_heads,
                width = 2 * kv_heads * dim;
  T* k = pass.q.row(r) + layer.num_heads * dim;
  finish_heads(pass, layer, r, layer.k_norm, k, kv_heads);
  std::copy_n(k, width, cache + pass.slots[r] * width);
}

}  // namespace

template <typename T>
void cache_stage(const Team& team, Pass<T>& pass, const GqaLayer& layer, T* cache) {
  project_keys_values(team, pass, layer);
  Team::wait();
  const Span own = team.share(pass.num_rows, 1);
  for (int64_t r = own.begin; r < own.end; ++r) cache_row(pass, layer, r, cache);
}

template <typename T>
void attention_stage(const Team& team, Pass<T>& pass, const GqaLayer& layer, T* cache) {
  const int64_t dim = layer.config.head_dim, kv_heads = layer.config.num_key_value_heads,
                heads = layer.num_heads, group = heads / kv_heads, width = 2 * kv_heads * dim;
  project(team, pass, layer.q_proj, pass.normed.pointers.data(), pass.num_rows, pass.q, 0);
  project_keys_values(team, pass, layer);
  Team::wait();
  const Span own = team.share(pass.num_rows, 1);
  for (int64_t r = own.begin; r < own.end; ++r) {
    finish_heads(pass, layer, r, layer.q_norm, pass.q.row(r), heads);
    cache_row(pass, layer, r, cache);
  }
  Team::wait();
  const Span tasks = team.share(pass.num_rows * kv_heads, 1);
  auto& scratch = pass.scratch[team.thread];
  float* out = scratch.heads.reserve(group * dim);
  for (int64_t task = tasks.begin; task < tasks.end; ++task) {
    const int64_t r = task / kv_heads, head = task % kv_heads;
    const Past past = past_of(pass, r, layer.window);
    const kernels::CacheView<T> view{cache, width, head * dim, dim, (kv_heads + head) * dim, dim};
    pass.k.attend(pass.q.row(r) + head * group * dim, group, view, past,
                  static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim))),
                  scratch.scores.reserve(group * (past.count() + 16)), out);
    pass.k.round(out, pass.attended.row(r) + head * group * dim, group * dim);
  }
  Team::wait();
  add_projection(team, pass, layer.o_proj, pass.attended.pointers.data());
}

namespace {

// The row's latent into the cache.
template <typename T>
void cache_row(Pass<T>& pass, const MlaLayer& layer, int64_t r, T* cache) {
  const MlaConfig& c = layer.config;
  const T* latent = pass.low.row(r);
  T* slot = cache + pass.slots[r] * (c.kv_lora_rank + c.qk_rope_head_dim);
  pass.k.rms_norm(latent, data_of<T>(layer.kv_a_layernorm), slot, c.kv_lora_rank,
                  static_cast<float>(layer.norm_eps));
  std::copy_n(latent + c.kv_lora_rank, c.qk_rope_head_dim, slot + c.kv_lora_rank);
  rotate_head(pass, r, slot + c.kv_lora_rank, c.qk_rope_head_dim, c.rope_interleave);
}

// Latents into the cache, and queries that are ready for their last projection.
template <typename T>
void latent_rows(const Team& team, Pass<T>& pass, const MlaLayer& layer, T* cache) {
  const MlaConfig& c = layer.config;
  const Span own = team.share(pass.num_rows, 1);
  for (int64_t r = own.begin; r < own.end; ++r) {
    cache_row(pass, layer, r, cache);
    if (c.q_lora_rank > 0) {
      T* low = pass.low.row(r) + c.kv_lora_rank + c.qk_rope_head_dim;
      pass.k.rms_norm(low, data_of<T>(layer.q_a_layernorm), low, c.q_lora_rank,
                      static_cast<float>(layer.norm_eps));
    }
  }
}

// Pointers to column `column` of the rows.
template <typename T>
std::vector<const T*> columns_of(const Rows<T>& matrix, Span rows, int64_t column) {
  std::vector<const T*> out;
  for (int64_t r = rows.begin; r < rows.end; ++r) out.push_back(matrix.row(r) + column);
  return out;
}

// Head h of the rows' queries turned into latent space, arXiv:2405.04434 §2.1.2: q_nope times the
// head's first rows of kv_b_proj; the rotated part is copied behind it. y: rows * kv_lora_rank.
template <typename T>
void absorb_queries(Pass<T>& pass, const MlaLayer& layer, int64_t h, Span rows, float* y) {
  const MlaConfig& c = layer.config;
  const int64_t width = c.kv_lora_rank + c.qk_rope_head_dim, head = c.qk_head_dim();
  const T* w = data_of<T>(layer.kv_b_proj.matrix()) +
               h * (c.qk_nope_head_dim + c.v_head_dim) * c.kv_lora_rank;
  const std::vector<const T*> queries = columns_of(pass.q, rows, h * head);
  pass.k.linear_transposed(queries.data(), rows.end - rows.begin, w, c.kv_lora_rank,
                           c.qk_nope_head_dim, y, c.kv_lora_rank, c.kv_lora_rank);
  for (int64_t r = rows.begin; r < rows.end; ++r, y += c.kv_lora_rank) {
    T* out = pass.latent_q.row(r) + h * width;
    pass.k.round(y, out, c.kv_lora_rank);
    std::copy_n(queries[r - rows.begin] + c.qk_nope_head_dim, c.qk_rope_head_dim,
                out + c.kv_lora_rank);
    rotate_head(pass, r, out + c.kv_lora_rank, c.qk_rope_head_dim, c.rope_interleave);
  }
}

// Head h of the rows' means of latents turned into values by the head's last rows of kv_b_proj. y:
// rows * v_head_dim.
template <typename T>
void expand_values(Pass<T>& pass, const MlaLayer& layer, int64_t h, Span rows, float* y) {
  const MlaConfig& c = layer.config;
  const T* w = data_of<T>(layer.kv_b_proj.matrix()) +
               (h * (c.qk_nope_head_dim + c.v_head_dim) + c.qk_nope_head_dim) * c.kv_lora_rank;
  const std::vector<const T*> means = columns_of(pass.mean, rows, h * c.kv_lora_rank);
  pass.k.linear(means.data(), rows.end - rows.begin, w, c.kv_lora_rank, y, c.v_head_dim, 0,
                c.v_head_dim);
  for (int64_t r = rows.begin; r < rows.end; ++r, y += c.v_head_dim)
    pass.k.round(y, pass.attended.row(r) + h * c.v_head_dim, c.v_head_dim);
}

}  // namespace

template <typename T>
void cache_stage(const Team& team, Pass<T>& pass, const MlaLayer& layer, T* cache) {
  project(team, pass, layer.kv_a_proj_with_mqa, pass.normed.pointers.data(), pass.num_rows,
          pass.low, 0);
  Team::wait();
  const Span own = team.share(pass.num_rows, 1);
  for (int64_t r = own.begin; r < own.end; ++r) cache_row(pass, layer, r, cache);
}

template <typename T>
void attention_stage(const Team& team, Pass<T>& pass, const MlaLayer& layer, T* cache) {
  const MlaConfig& c = layer.config;
  const int64_t width = c.kv_lora_rank + c.qk_rope_head_dim, heads = layer.num_heads;
  const T* const* inputs = pass.normed.pointers.data();
  project(team, pass, layer.kv_a_proj_with_mqa, inputs, pass.num_rows, pass.low, 0);
  if (c.q_lora_rank > 0) {
    project(team, pass, layer.q_a_proj, inputs, pass.num_rows, pass.low, width);
  } else {
    project(team, pass, layer.q_proj, inputs, pass.num_rows, pass.q, 0);
  }
  Team::wait();
  latent_rows(team, pass, layer, cache);
  Team::wait();
  if (c.q_lora_rank > 0) {
    const auto low = columns_of(pass.low, Span{0, pass.num_rows}, width);
    project(team, pass, layer.q_b_proj, low.data(), pass.num_rows, pass.q, 0);
    Team::wait();
  }
  auto& scratch = pass.scratch[team.thread];
  const Span own = team.share(pass.num_rows, 1);
  const int64_t most = std::max(heads, own.end - own.begin);  // of rows and of heads at once
  float* y = scratch.heads.reserve(most * std::max(c.kv_lora_rank, c.v_head_dim));
  for (int64_t h = 0; h < heads; ++h) absorb_queries(pass, layer, h, own, y);
  for (int64_t r = own.begin; r < own.end; ++r) {
    const Past past = past_of(pass, r, /*window=*/0);
    const kernels::CacheView<T> view{cache, width, 0, width, 0, c.kv_lora_rank};
    pass.k.attend(pass.latent_q.row(r), heads, view, past, static_cast<float>(layer.softmax_scale),
                  scratch.scores.reserve(heads * (past.count() + 16)), y);
    pass.k.round(y, pass.mean.row(r), heads * c.kv_lora_rank);
  }
  for (int64_t h = 0; h < heads; ++h) expand_values(pass, layer, h, own, y);
  Team::wait();
  add_projection(team, pass, layer.o_proj, pass.attended.pointers.data());
}

template void cache_stage(const Team&, Pass<float>&, const GqaLayer&, float*);
template void cache_stage(const Team&, Pass<kernels::Bf16>&, const GqaLayer&, kernels::Bf16*);
template void cache_stage(const Team&, Pass<float>&, const MlaLayer&, float*);
template void cache_stage(const Team&, Pass<kernels::Bf16>&, const MlaLayer&, kernels::Bf16*);
template void attention_stage(const Team&, Pass<float>&, const GqaLayer&, float*);
template void attention_stage(const Team&, Pass<kernels::Bf16>&, const GqaLayer&, kernels::Bf16*);
template void attention_stage(const Team&, Pass<float>&, const MlaLayer&, float*);
template void attention_stage(const Team&, Pass<kernels::Bf16>&, const MlaLayer&, kernels::Bf16*);

}  // namespace ponder::policy::decode
