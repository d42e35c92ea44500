# What other programs link: libtidemark.so, libtidemark.a and the module for stock Lua. Each is one
# relocatable object in which everything but a list of names was made local, so that neither our
# symbols nor those of the Lua inside ever meet the host's (a LuaJIT, say).

file(STRINGS ${CMAKE_SOURCE_DIR}/core/tidemark.h abi REGEX "^#define TM_ABI ")
string(REGEX REPLACE "[^0-9]" "" TM_ABI "${abi}")
find_library(LUA_ARCHIVE liblua5.4.a REQUIRED)

# tm_bundle(NAME SYMBOLS FILE ROOT ARCHIVE LIBS...): build/NAME.o, in which only the names listed in
# FILE are visible. All of ROOT goes in, of the others what it needs.
function(tm_bundle name)
  cmake_parse_arguments(B "" "SYMBOLS;ROOT" "LIBS" ${ARGN})
  set(object ${CMAKE_BINARY_DIR}/${name}.o)
  set(lto "")
  if(CMAKE_INTERPROCEDURAL_OPTIMIZATION)
    set(lto -O2 -flto=auto -flinker-output=nolto-rel)
  endif()
  add_custom_command(OUTPUT ${object}
    COMMAND ${CMAKE_C_COMPILER} -r -nostdlib ${lto} -o ${object}.all
      -Wl,--whole-archive ${B_ROOT} -Wl,--no-whole-archive -Wl,--start-group ${B_LIBS} -Wl,--end-group
    COMMAND ${CMAKE_OBJCOPY} --keep-global-symbols=${B_SYMBOLS} ${object}.all ${object}
    COMMAND ${CMAKE_COMMAND} -E rm ${object}.all
    DEPENDS ${B_ROOT} ${B_LIBS} ${B_SYMBOLS}
    COMMENT "Bundling ${name}.o" VERBATIM COMMAND_EXPAND_LISTS)
  set_source_files_properties(${object} PROPERTIES EXTERNAL_OBJECT TRUE GENERATED TRUE)
endfunction()

# A version script that shows the names of a list.
function(tm_version_script file symbols)
  file(STRINGS ${symbols} names)
  list(JOIN names ";\n    " names)
  file(CONFIGURE OUTPUT ${file} CONTENT "TIDEMARK_${TM_ABI} {\n  global:\n    ${names};\n  local: *;\n};\n" @ONLY)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${symbols})
endfunction()

set(floors "")
foreach(floor host bind engine live read write analyze symbol net model platform base)
  list(APPEND floors $<TARGET_FILE:tm_${floor}>)
endforeach()
list(APPEND floors $<TARGET_FILE:llhttp>)

# See core/tidemark_stdio.c.
set(lua_copy ${CMAKE_BINARY_DIR}/lua5.4_pic.a)
add_custom_command(OUTPUT ${lua_copy}
  COMMAND ${CMAKE_OBJCOPY} --redefine-sym stdin=tm_lua_stdin --redefine-sym stdout=tm_lua_stdout
    --redefine-sym stderr=tm_lua_stderr ${LUA_ARCHIVE} ${lua_copy}
  DEPENDS ${LUA_ARCHIVE} VERBATIM)

# The libraries behind the floors, without Lua: what a program needs that links the archive.
set(outside PkgConfig::UV PkgConfig::SQLITE PkgConfig::ZLIB PkgConfig::XXHASH PkgConfig::ZSTD)
set(TM_PC_REQUIRES "libuv sqlite3 zlib libxxhash libzstd")
foreach(pair DEFLATE:libdeflate DW:libdw DW:libelf CURL:libcurl BPF:libbpf)
  string(REPLACE ":" ";" pair ${pair})
  list(GET pair 0 have)
  list(GET pair 1 package)
  if(TARGET PkgConfig::${have})
    list(APPEND outside PkgConfig::${have})
    string(APPEND TM_PC_REQUIRES " ${package}")
  endif()
endforeach()
list(REMOVE_DUPLICATES outside)
list(APPEND outside Threads::Threads m)

set(symbols ${CMAKE_SOURCE_DIR}/spec/c/symbols.txt)
tm_bundle(tidemark_bundle SYMBOLS ${symbols} ROOT $<TARGET_FILE:tm_facade> LIBS ${floors} ${lua_copy})
tm_version_script(${CMAKE_BINARY_DIR}/tidemark.map ${symbols})
add_library(tidemark_shared SHARED ${CMAKE_BINARY_DIR}/tidemark_bundle.o)
set_target_properties(tidemark_shared PROPERTIES OUTPUT_NAME tidemark LINKER_LANGUAGE C
  VERSION ${TM_ABI}.${PROJECT_VERSION_MINOR}.${PROJECT_VERSION_PATCH} SOVERSION ${TM_ABI} LINK_DEPENDS ${CMAKE_BINARY_DIR}/tidemark.map)
target_link_options(tidemark_shared PRIVATE -Wl,--version-script=${CMAKE_BINARY_DIR}/tidemark.map
  -Wl,-z,defs -Wl,--as-needed)
target_link_libraries(tidemark_shared PRIVATE ${outside})

set(archive ${CMAKE_BINARY_DIR}/libtidemark.a)
add_custom_command(OUTPUT ${archive}
  COMMAND ${CMAKE_COMMAND} -E rm -f ${archive}
  COMMAND ${CMAKE_AR} rcs ${archive} ${CMAKE_BINARY_DIR}/tidemark_bundle.o
  DEPENDS ${CMAKE_BINARY_DIR}/tidemark_bundle.o tidemark_shared VERBATIM)
add_custom_target(tidemark_archive ALL DEPENDS ${archive})

# The module of stock Lua: no Lua of its own.
add_library(tm_module STATIC core/host/module/lua_module.c)
target_compile_options(tm_module PRIVATE ${TM_WARNINGS})
target_link_libraries(tm_module PRIVATE tm_host)
set(symbols ${CMAKE_SOURCE_DIR}/spec/c/symbols_lua.txt)
tm_bundle(tidemark_lua_bundle SYMBOLS ${symbols} ROOT $<TARGET_FILE:tm_module> LIBS ${floors})
tm_version_script(${CMAKE_BINARY_DIR}/tidemark_lua.map ${symbols})
add_library(tidemark_lua MODULE ${CMAKE_BINARY_DIR}/tidemark_lua_bundle.o)
set_target_properties(tidemark_lua PROPERTIES PREFIX "" OUTPUT_NAME tidemark LINKER_LANGUAGE C
  LIBRARY_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/lua5.4)
target_link_options(tidemark_lua PRIVATE -Wl,--version-script=${CMAKE_BINARY_DIR}/tidemark_lua.map
  -Wl,--as-needed)
target_link_libraries(tidemark_lua PRIVATE ${outside})

# ---- installing ----

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(TM_LUA_DIR ${CMAKE_INSTALL_LIBDIR}/lua/5.4 CACHE STRING "where Lua looks for C modules")
set(package ${CMAKE_INSTALL_LIBDIR}/cmake/tidemark)
file(RELATIVE_PATH TM_PC_UP "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
configure_file(cmake/tidemark.pc.in tidemark.pc @ONLY)
configure_file(cmake/tidemark-static.pc.in tidemark-static.pc @ONLY)
configure_package_config_file(cmake/tidemarkConfig.cmake.in tidemarkConfig.cmake
  INSTALL_DESTINATION ${package} PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(tidemarkConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(TARGETS tidemark_shared
  LIBRARY COMPONENT library NAMELINK_COMPONENT development)
install(FILES ${archive} DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT development)
install(FILES core/tidemark.h agent/tidemark_session.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development)
install(FILES ${CMAKE_BINARY_DIR}/tidemark.pc ${CMAKE_BINARY_DIR}/tidemark-static.pc
  DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig COMPONENT development)
install(FILES ${CMAKE_BINARY_DIR}/tidemarkConfig.cmake ${CMAKE_BINARY_DIR}/tidemarkConfigVersion.cmake
  DESTINATION ${package} COMPONENT development)
install(TARGETS tidemark_lua LIBRARY DESTINATION ${TM_LUA_DIR} COMPONENT lua)
install(FILES LICENSE README.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT program)
install(FILES docs/embedding.md DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT development)
