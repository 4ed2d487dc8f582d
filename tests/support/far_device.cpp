#include "tests/support/far_device.h"

#include <set>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include "tests/support/test_device.h"

namespace ponder::test {
namespace {

// Added to the address of the memory: no address of x86-64 or AArch64 has this bit alone.
constexpr uintptr_t kFarBit = uintptr_t{1} << 60;

thread_local int capturing = 0;

bool is_far(const at::Tensor& x) {
  return x.defined() && x.device().type() == at::kPrivateUse1;
}

struct Guard final : c10::impl::NoOpDeviceGuardImpl<at::kPrivateUse1> {
  c10::Device exchangeDevice(c10::Device) const override { return kFar; }
  c10::Device getDevice() const override { return kFar; }
  c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
  c10::Stream getNewStream(c10::Device, int) const override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
  void record(void**, const c10::Stream&, c10::DeviceIndex, c10::EventFlag) const override {}
  void block(void*, const c10::Stream&) const override {}
  bool queryEvent(void*) const override { return true; }
  static c10::Stream stream() {
    return c10::Stream(c10::Stream::DEFAULT, c10::Device(at::kPrivateUse1, 0));
  }
};
C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard)

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return 1; }
  c10::DeviceIndex getCurrentDevice() const override { return 0; }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override { return 0; }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override { return 0; }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static const at::Generator generator = at::detail::createCPUGenerator();
    return generator;
  }
};
const bool hooks_registered = [] {
  c10::register_privateuse1_backend("far");
  at::RegisterPrivateUse1HooksInterface(new Hooks);
  return true;
}();

// The same memory as a tensor of the CPU; lives no longer than the far one.
at::Tensor near_alias(const at::Tensor& far) {
  const c10::Storage& own = far.storage();
  void* memory = near_pointer(own.data());
  c10::Storage storage(c10::Storage::use_byte_size_t(), own.nbytes(),
                       c10::DataPtr(memory, c10::Device(at::kCPU)), c10::GetAllocator(at::kCPU),
                       /*resizable=*/true);
  at::Tensor out = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::CPU), far.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(far.sizes(), far.strides(),
                                                   far.storage_offset());
  return out;
}

at::Tensor on_storage(c10::Storage storage, const at::Tensor& like, int64_t offset) {
  at::Tensor out = at::detail::make_tensor<c10::TensorImpl>(
      std::move(storage), c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), like.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), offset);
  return out;
}

// A part of `far` in the form of `like`. Its keys are the whole's: a view of a tensor that was made
// outside of c10::InferenceMode is none of its tensors.
at::Tensor view_of(const at::Tensor& far, const at::Tensor& like, int64_t offset) {
  at::Tensor out = at::detail::make_tensor<c10::TensorImpl>(
      c10::TensorImpl::VIEW, c10::Storage(far.storage()), far.key_set(), like.dtype());
  out.unsafeGetTensorImpl()->set_sizes_and_strides(like.sizes(), like.strides(), offset);
  return out;
}

// A tensor that owns a fresh result of the CPU.
at::Tensor adopt(const at::Tensor& near) {
  auto* owner = new at::Tensor(near);
  char* memory = static_cast<char*>(near.storage().mutable_data());
  void* address = memory == nullptr ? nullptr : memory + kFarBit;
  c10::DataPtr data(
      address, owner, [](void* p) { delete static_cast<at::Tensor*>(p); }, kFar);
  c10::Storage storage(c10::Storage::use_byte_size_t(), near.storage().nbytes(), std::move(data),
                       /*allocator=*/nullptr, /*resizable=*/false);
  return on_storage(std::move(storage), near, near.storage_offset());
}

// The tensors of one call, on both sides.
class Call {
 public:
  explicit Call(std::string name) : name_(std::move(name)) {}

  at::Tensor to_near(const at::Tensor& x) {
    if (!is_far(x)) {
      mixed_ |= x.defined() && x.dim() > 0;
      return x;
    }
    far_.push_back(x);
    near_.push_back(near_alias(x));
    return near_.back();
  }

  // An argument (a view of it) itself, or a new tensor.
  at::Tensor to_far(const at::Tensor& result) const {
    if (!result.defined()) return result;
    for (size_t i = 0; i < near_.size(); ++i) {
      if (!result.is_same(near_[i])) continue;
      if (result.sizes() != far_[i].sizes()) take_over(far_[i], adopt(result));
      return far_[i];
    }
    const auto* place = static_cast<const char*>(result.unsafeGetTensorImpl()->data());
    for (const at::Tensor& far : far_) {
      const auto* begin = static_cast<const char*>(near_pointer(far.storage().data()));
      const bool inside = place >= begin && place < begin + far.storage().nbytes();
      if (result.numel() > 0 && inside)
        return view_of(far, result, (place - begin) / static_cast<int64_t>(result.element_size()));
    }
    return adopt(result);
  }

  // An argument that the operation has given another size, `out` for example.
  static void take_over(const at::Tensor& far, const at::Tensor& grown) {
    c10::TensorImpl* impl = far.unsafeGetTensorImpl();
    impl->set_storage_keep_dtype(grown.storage());
    impl->set_sizes_and_strides(grown.sizes(), grown.strides(), grown.storage_offset());
  }

  void check() const {
    TORCH_CHECK(!mixed_ || far_.empty(), "far device: ", name_,
                " of tensors on the device and on the CPU");
    static const std::set<std::string> from_values = {"aten::_local_scalar_dense",
                                                      "aten::nonzero",
                                                      "aten::masked_select",
                                                      "aten::bincount",
                                                      "aten::_unique2",
                                                      "aten::equal",
                                                      "aten::repeat_interleave"};
    TORCH_CHECK(capturing == 0 || from_values.count(name_) == 0, "far device: ", name_,
                " while a graph is captured");
  }

 private:
  std::string name_;
  bool mixed_ = false;
  std::vector<at::Tensor> far_, near_;
};

c10::IValue to_near(const c10::IValue& value, Call& call) {
  if (value.isTensor()) return call.to_near(value.toTensor());
  if (value.isTensorList()) {
    c10::List<at::Tensor> out;
    for (const at::Tensor& x : value.toTensorVector()) out.push_back(call.to_near(x));
    return out;
  }
  if (value.isOptionalTensorList()) {
    c10::List<c10::optional<at::Tensor>> out;
    for (const c10::optional<at::Tensor>& x : value.toOptionalTensorVector())
      out.push_back(x ? c10::optional<at::Tensor>(call.to_near(*x)) : x);
    return out;
  }
  if (value.isDevice() && value.toDevice().type() == at::kPrivateUse1) return c10::Device(at::kCPU);
  return value;
}

c10::IValue to_far(const c10::IValue& value, const Call& call) {
  if (value.isTensor()) return call.to_far(value.toTensor());
  if (!value.isTensorList()) return value;
  c10::List<at::Tensor> out;
  for (const at::Tensor& x : value.toTensorVector()) out.push_back(call.to_far(x));
  return out;
}

// Every operation that LibTorch does not make of others.
void run_near(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  Call call(op.schema().name());
  const size_t count = op.schema().arguments().size();
  std::vector<c10::IValue> arguments;
  for (const c10::IValue& value : torch::jit::last(*stack, count))
    arguments.push_back(to_near(value, call));
  call.check();
  torch::jit::drop(*stack, count);
  for (c10::IValue& value : arguments) stack->push_back(std::move(value));
  {
    const at::AutoDispatchBelowADInplaceOrView below;
    op.callBoxed(stack);
  }
  for (size_t i = stack->size() - op.schema().returns().size(); i < stack->size(); ++i)
    (*stack)[i] = to_far((*stack)[i], call);
}

at::Tensor copy_between(const at::Tensor& from, const at::Tensor& to, bool) {
  TORCH_CHECK(capturing == 0 || from.device() == to.device(),
              "far device: a copy between host and device while a graph is captured");
  (is_far(to) ? near_alias(to) : to).copy_(is_far(from) ? near_alias(from) : from);
  return to;
}

// Attention by plain products, on whatever device.
int64_t plain_attention(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                        const std::optional<at::Tensor>&, double, bool, std::optional<double>,
                        bool) {
  return 0;
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, m) {
  m.fallback(torch::CppFunction::makeFromBoxedFunction<&run_near>());
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, m) {
  m.impl("_copy_from", copy_between);
  m.impl("_fused_sdp_choice", plain_attention);
}

}  // namespace

at::Device a_device() {
  return kFar;
}

void* near_pointer(const void* far) {
  const auto address = reinterpret_cast<uintptr_t>(far);
  return reinterpret_cast<void*>(address == 0 ? 0 : address - kFarBit);
}

CaptureRules::CaptureRules() {
  ++capturing;
}
CaptureRules::~CaptureRules() {
  --capturing;
}

}  // namespace ponder::test
