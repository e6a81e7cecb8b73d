// The planner's table, of bcnet_keras/device/plan_costs.py: `make sources` writes it here.
#ifndef TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_
#define TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_

#include "tflm_ops/kernels/bconv2d/plan.h"

namespace bcnet {

// clang-format off
constexpr Bconv2dCore kCoreThumb1 = {
    {{{1790, 170, 227, 443}, {2710, 86, 114, 134}}, 1780, 220, 0, {1200, 980, 0}},
    {15, 175, 880},
    {{{0, 0, 0, 0}, {0, 0, 0, 0}}, 0, 0, 0, {0, 0, 0}},
    false,
    {68, 36}};
constexpr Bconv2dCore kCoreThumb2 = {
    {{{930, 85, 131, 440}, {1200, 50, 87, 90}}, 1200, 110, 0, {400, 180, 0}},
    {9, 110, 0},
    {{{0, 0, 0, 0}, {0, 0, 0, 0}}, 0, 0, 0, {0, 0, 0}},
    false,
    {68, 36}};
constexpr Bconv2dCore kCoreHelium = {
    {{{930, 85, 131, 440}, {1200, 50, 87, 90}}, 1200, 110, 0, {400, 180, 0}},
    {9, 110, 0},
    {{{300, 80, 132, 105}, {660, 72, 120, 105}}, 600, 200, 150, {2600, 720, 0}},
    true,
    {68, 36}};
// clang-format on

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_
