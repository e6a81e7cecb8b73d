// The operators of binary and cooperating nets, for any number of exported nets in a firmware.
// Written by bcnet export (bcnet-keras @version@).
#ifndef BCNET_OPS_H_
#define BCNET_OPS_H_

// Tells these sources from those of other versions; each exported net checks it.
#define BCNET_OPS_ID @ops_id@

#include "tflm_ops/micro/bcnet_ops.h"

#endif  // BCNET_OPS_H_
