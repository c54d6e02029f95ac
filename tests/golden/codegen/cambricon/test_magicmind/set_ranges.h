// UAIR's ranges of the activations of model.onnx, for programs that build a network with MagicMind's C++ interface:
// call uair::SetRange for the input tensors of convolutions and matrix products, with the tensor's name in model.onnx.
#ifndef UAIR_SET_RANGES_H_
#define UAIR_SET_RANGES_H_

#include <map>
#include <string>

namespace uair {

struct Range {
  float scale;
  int zero_point;
  int bits;
  const char *algorithm;
};

// By the name of the tensor in model.onnx.
inline const std::map<std::string, Range> &Ranges() {
  static const std::map<std::string, Range> ranges = {
      {"flat:0", {0.037162601947784424F, 0, 8, "symmetric"}},
      {"image", {0.03056526370346546F, 0, 8, "symmetric"}},
      {"stem/relu:0", {0.045550212264060974F, 0, 8, "symmetric"}},
      {"sum:0", {0.042979609221220016F, 0, 8, "symmetric"}},
  };
  return ranges;
}

// Sets the range of `tensor`, a magicmind::ITensor *; false when UAIR has none for the name. MagicMind's headers are
// included before this file.
template <typename Tensor>
bool SetRange(Tensor *tensor, const std::string &name) {
  const auto found = Ranges().find(name);
  if (found == Ranges().end()) return false;
  const Range &range = found->second;
  return tensor
      ->SetDynamicRange(
          magicmind::UniformQuantParamToRangeWithQuantAlg({range.scale, range.zero_point}, range.bits,
                                                           range.algorithm), true)
      .ok();
}

}  // namespace uair

#endif  // UAIR_SET_RANGES_H_
