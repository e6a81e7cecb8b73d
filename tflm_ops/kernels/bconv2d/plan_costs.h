// The planner's table, of bcnet_keras/device/plan_costs.json: `make sources` writes it here.
#ifndef TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_
#define TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_

#include "tflm_ops/kernels/bconv2d/bitsliced/digits.h"
#include "tflm_ops/kernels/bconv2d/plan.h"

namespace bcnet {

// clang-format off
constexpr Bconv2dCore kCoreArmv6M = {
    {{{{1726, 183, 256, 120}, {1888, 231, 395, 275}, {1734, 195, 276, 244}}, {{2732, 93, 131, 0}, {3044, 47, 129, 44}, {2732, 93, 131, 0}}}, 669, 220, 737, 1849, {12560, 925, 122}, {0, 0, 0}},
    {120, 63, 29, 56, 58, 6, 568, {564, 236, 226}},
    {68, 36},
#if BCNET_PLANS_HELIUM
    false, {}
#endif
};
constexpr Bconv2dCore kCoreArmv7M = {
    {{{{1209, 139, 186, 145}, {1256, 167, 284, 267}, {1209, 143, 202, 221}}, {{1831, 72, 106, 0}, {1948, 35, 113, 55}, {1831, 72, 106, 0}}}, 646, 152, 411, 1113, {5652, 824, 69}, {0, 0, 0}},
    {90, 39, 17, 28, 61, 7, 379, {306, 170, 168}},
    {68, 36},
#if BCNET_PLANS_HELIUM
    false, {}
#endif
};
constexpr Bconv2dCore kCoreArmv7EM = {
    {{{{1194, 122, 181, 123}, {1247, 147, 264, 239}, {1194, 126, 194, 204}}, {{1750, 63, 105, 0}, {1864, 30, 112, 42}, {1750, 63, 105, 0}}}, 533, 156, 408, 1086, {1775, 406, 80}, {0, 0, 0}},
    {89, 36, 26, 27, 64, 9, 384, {197, 182, 180}},
    {68, 36},
#if BCNET_PLANS_HELIUM
    false, {}
#endif
};
constexpr Bconv2dCore kCoreArmv7EMDouble = {
    {{{{635, 87, 98, 47}, {689, 106, 140, 111}, {634, 87, 109, 79}}, {{1011, 39, 57, 0}, {1081, 19, 60, 19}, {1011, 39, 57, 0}}}, 221, 73, 230, 614, {1004, 253, 49}, {0, 0, 0}},
    {47, 19, 10, 18, 34, 0, 236, {98, 89, 87}},
    {68, 36},
#if BCNET_PLANS_HELIUM
    false, {}
#endif
};
constexpr Bconv2dCore kCoreArmv8M = {
    {{{{1115, 126, 157, 104}, {1166, 152, 229, 210}, {1115, 131, 169, 168}}, {{1686, 67, 100, 0}, {1797, 33, 109, 36}, {1686, 67, 100, 0}}}, 468, 132, 344, 981, {1481, 380, 70}, {0, 0, 0}},
    {82, 36, 16, 27, 47, 5, 328, {164, 157, 154}},
    {68, 36},
#if BCNET_PLANS_HELIUM
    false, {}
#endif
};
constexpr Bconv2dCore kCoreHelium = {
    {{{{970, 138, 154, 163}, {0, 0, 1393, 0}, {0, 176, 1134, 0}}, {{1441, 62, 101, 99}, {1559, 34, 98, 130}, {1441, 62, 101, 99}}}, 548, 113, 237, 938, {1271, 1088, 0}, {0, 0, 0}},
    {83, 36, 16, 27, 42, 4, 292, {146, 140, 135}},
    {68, 36},
#if BCNET_PLANS_HELIUM
    true,
    {{{{420, 99, 197, 50}, {497, 51, 187, 31}, {432, 99, 187, 28}}, {{720, 80, 172, 0}, {783, 36, 167, 51}, {720, 80, 172, 0}}}, 391, 333, 161, 1438, {407, 408, 159}, {32, 3, 0}}
#endif
};

// What was measured on a core like the one that this is compiled for.
#if BCNET_THUMB1
constexpr Bconv2dCore kCoreMeasured = kCoreArmv6M;
#elif defined(__ARM_ARCH_7M__)
constexpr Bconv2dCore kCoreMeasured = kCoreArmv7M;
#elif defined(__ARM_ARCH_7EM__) && !BCNET_DOUBLE_PRECISION
constexpr Bconv2dCore kCoreMeasured = kCoreArmv7EM;
#elif defined(__ARM_ARCH_7EM__)
constexpr Bconv2dCore kCoreMeasured = kCoreArmv7EMDouble;
#elif !BCNET_HELIUM
constexpr Bconv2dCore kCoreMeasured = kCoreArmv8M;
#else
constexpr Bconv2dCore kCoreMeasured = kCoreHelium;
#endif
// clang-format on

}  // namespace bcnet

#endif  // TFLM_OPS_KERNELS_BCONV2D_PLAN_COSTS_H_
