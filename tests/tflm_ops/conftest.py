from hypothesis import settings

import bcnet_keras  # noqa: F401  (before TensorFlow, which the helpers import)

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")
