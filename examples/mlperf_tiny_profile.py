"""What MLPerf Tiny's ResNet-8 and DS-CNN cost on five cores, alone and as a pair, before anything is trained.

    python examples/mlperf_tiny_profile.py                   # the nets' topologies
    python examples/mlperf_tiny_profile.py model.tflite ...  # files, such as those of the benchmark's reference models

Costs do not depend on the weights.
"""

import sys

import bcnet_keras as bc

from bcnet_keras.models.networks import ds_cnn, resnet8

CORES = ("cortex-m0plus", "cortex-m4", "cortex-m7", "cortex-m33", "cortex-m55")

for path in sys.argv[1:]:
    for core in CORES:
        profile = bc.Profile.of(path, core=core)
        print(core, *(f"{what}: {value};" for what, value in profile.summary()))

if not sys.argv[1:]:
    for net in (resnet8((32, 32, 3), 10), ds_cnn((49, 10, 1), 12)):
        pair = bc.BCNet.from_keras(net, verbose=0)
        for core in CORES:
            print(f"\n{net.name} on {core}\n{pair.profile(core=core).text()}")
