# The BPF fast path of the Linux port: only where clang and libbpf are found; nothing else needs it.
if(TM_BPF)
  find_program(TM_BPF_CLANG clang)
  pkg_check_modules(BPF IMPORTED_TARGET libbpf>=0.7)
endif()
if(TM_BPF AND TM_BPF_CLANG AND BPF_FOUND)
  set(bpf_source ${CMAKE_SOURCE_DIR}/platform/linux/bpf/bulk.c)
  set(bpf_object ${CMAKE_BINARY_DIR}/tm_bulk.bpf.o)
  execute_process( # a clang without the BPF back end must not break the build
    COMMAND ${TM_BPF_CLANG} -target bpf -O2 -g -Wall -c ${bpf_source} -o ${bpf_object}
    RESULT_VARIABLE bpf_result OUTPUT_QUIET ERROR_VARIABLE bpf_error)
  if(bpf_result EQUAL 0)
    add_custom_command(OUTPUT ${bpf_object}
      COMMAND ${TM_BPF_CLANG} -target bpf -O2 -g -Wall -c ${bpf_source} -o ${bpf_object}
      DEPENDS ${bpf_source} ${CMAKE_SOURCE_DIR}/platform/linux/bulk_row.h)
    add_custom_target(tm_bulk_object DEPENDS ${bpf_object})
    add_dependencies(tm_platform tm_bulk_object)
    set_source_files_properties(${CMAKE_SOURCE_DIR}/platform/linux/bulk.c PROPERTIES
      OBJECT_DEPENDS ${bpf_object}
      COMPILE_DEFINITIONS "TM_HAVE_BPF;TM_BPF_OBJECT=\"${bpf_object}\"")
    target_link_libraries(tm_platform PUBLIC PkgConfig::BPF)
  else()
    message(STATUS "clang cannot compile for BPF, so the bulk reader is left out: ${bpf_error}")
  endif()
endif()
