/* Makes the Python module of the onnxruntime-training wheel loadable as an ordinary libonnxruntime.so.
 *
 * The module holds the complete C API but exports nothing of it, and it refers to Python's, which is not there. This
 * library is linked against the module, so that the loader brings the module in with it and finds Python's names here.
 * No Python code runs: a call into one of these names is a defect and ends the process.
 *
 * Compile with -DAPI_BASE=<offset of the module's OrtApiBase from where the module is loaded>. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

extern void *PyInit_onnxruntime_pybind11_state(void);

/* The one entry point of ONNX Runtime's C API; its result is a const OrtApiBase *. */
const void *OrtGetApiBase(void) {
    Dl_info module;
    if (!dladdr((void *)PyInit_onnxruntime_pybind11_state, &module)) return NULL;
    return (const char *)module.dli_fbase + API_BASE;
}

static void absent(const char *name) {
    fprintf(stderr, "ONNX Runtime called %s, but there is no Python in this process\n", name);
    abort();
}

#define FUNCTION(name) void name(void) { absent(#name); }
/* As large as the largest of them, a PyTypeObject, with room to spare. */
#define DATA(name) _Alignas(16) char name[1024];

/* Made of the module itself: FUNCTION or DATA for each of Python's names that it refers to. */
#include "python.h"
