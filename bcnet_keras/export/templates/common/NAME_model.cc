// Written by bcnet export (bcnet-keras @version@) from @origin@.
#include "@name@_model.h"
@labels_defined@
alignas(16) const unsigned char @name@_model[@NAME@_MODEL_SIZE] = {
@model_bytes@
};
