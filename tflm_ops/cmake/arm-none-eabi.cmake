# GNU Arm Embedded for the core that BCNET_CORE names, and the memory of the QEMU board that the tests run on.
set(CMAKE_SYSTEM_NAME Generic)
set(CMAKE_SYSTEM_PROCESSOR arm)
set(CMAKE_C_COMPILER arm-none-eabi-gcc)
set(CMAKE_CXX_COMPILER arm-none-eabi-g++)
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_TRY_COMPILE_PLATFORM_VARIABLES BCNET_CORE)
set(BCNET_CORE "" CACHE STRING "Core to build for")

# Most boards of QEMU have code at 0 and data at 0x20000000.
set(memory -Wl,--defsym=ROM_START=0x00000000 -Wl,--defsym=RAM_START=0x20000000)
if(BCNET_CORE STREQUAL "cortex-m0plus" OR BCNET_CORE STREQUAL "cortex-m3")
  set(fpu -mfloat-abi=soft)
elseif(BCNET_CORE STREQUAL "cortex-m4")
  set(fpu -mfloat-abi=hard -mfpu=fpv4-sp-d16)
elseif(BCNET_CORE STREQUAL "cortex-m7")
  set(fpu -mfloat-abi=hard -mfpu=fpv5-d16)
elseif(BCNET_CORE STREQUAL "cortex-m33")
  set(fpu -mfloat-abi=hard -mfpu=fpv5-sp-d16)
  # The core starts in its secure state: secure aliases of the board's memories.
  set(memory -Wl,--defsym=ROM_START=0x10000000 -Wl,--defsym=RAM_START=0x38000000)
elseif(BCNET_CORE STREQUAL "cortex-m55")
  set(fpu -mfloat-abi=hard -mfpu=auto)
  set(memory -Wl,--defsym=ROM_START=0x00000000 -Wl,--defsym=RAM_START=0x21000000)
else()
  message(FATAL_ERROR "BCNET_CORE must be cortex-m0plus, cortex-m3, cortex-m4, cortex-m7, cortex-m33 or cortex-m55, "
    "not '${BCNET_CORE}'")
endif()
set(BCNET_BOARD_MEMORY ${memory})

list(JOIN fpu " " fpu)
set(CMAKE_C_FLAGS_INIT "-mcpu=${BCNET_CORE} -mthumb ${fpu}")
set(CMAKE_CXX_FLAGS_INIT "-mcpu=${BCNET_CORE} -mthumb ${fpu}")
set(CMAKE_EXE_LINKER_FLAGS_INIT "--specs=nano.specs --specs=nosys.specs")
