# Speed of the build and the sanitizers: what concerns every target.
find_program(PONDER_CCACHE ccache)
if(PONDER_CCACHE)
  # The sloppiness that a precompiled header needs (ccache's manual, "Precompiled headers").
  set(CMAKE_CXX_COMPILER_LAUNCHER
      ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime
      ${PONDER_CCACHE})
endif()
find_program(PONDER_MOLD mold)
if(PONDER_MOLD)
  add_link_options(-fuse-ld=mold)
endif()
if(PONDER_SANITIZE)
  add_compile_options(-fsanitize=${PONDER_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${PONDER_SANITIZE})
endif()
