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

FUNCTION(PyBool_FromLong) FUNCTION(PyBuffer_Release) FUNCTION(PyByteArray_AsString) FUNCTION(PyByteArray_Size)
FUNCTION(PyBytes_AsString) FUNCTION(PyBytes_AsStringAndSize) FUNCTION(PyBytes_FromStringAndSize)
FUNCTION(PyBytes_Size) FUNCTION(PyCMethod_New) FUNCTION(PyCallable_Check) FUNCTION(PyCapsule_GetContext)
FUNCTION(PyCapsule_GetName) FUNCTION(PyCapsule_GetPointer) FUNCTION(PyCapsule_New) FUNCTION(PyCapsule_SetContext)
FUNCTION(PyCapsule_SetName) FUNCTION(PyCapsule_SetPointer) FUNCTION(PyDict_Contains) FUNCTION(PyDict_Copy)
FUNCTION(PyDict_DelItemString) FUNCTION(PyDict_GetItemWithError) FUNCTION(PyDict_New) FUNCTION(PyDict_Next)
FUNCTION(PyDict_Size) FUNCTION(PyErr_Clear) FUNCTION(PyErr_ExceptionMatches) FUNCTION(PyErr_Fetch)
FUNCTION(PyErr_Format) FUNCTION(PyErr_NewException) FUNCTION(PyErr_NormalizeException) FUNCTION(PyErr_Occurred)
FUNCTION(PyErr_Print) FUNCTION(PyErr_Restore) FUNCTION(PyErr_SetString) FUNCTION(PyErr_WriteUnraisable)
FUNCTION(PyEval_AcquireThread) FUNCTION(PyEval_GetBuiltins) FUNCTION(PyEval_RestoreThread) FUNCTION(PyEval_SaveThread)
FUNCTION(PyException_SetCause) FUNCTION(PyException_SetContext) FUNCTION(PyException_SetTraceback)
FUNCTION(PyFloat_AsDouble) FUNCTION(PyFloat_FromDouble) FUNCTION(PyFrame_GetBack) FUNCTION(PyFrame_GetCode)
FUNCTION(PyFrame_GetLineNumber) FUNCTION(PyGILState_Check) FUNCTION(PyGILState_Ensure)
FUNCTION(PyGILState_GetThisThreadState) FUNCTION(PyGILState_Release) FUNCTION(PyImport_ImportModule)
FUNCTION(PyIndex_Check) FUNCTION(PyInstanceMethod_New) FUNCTION(PyIter_Check) FUNCTION(PyIter_Next)
FUNCTION(PyList_Append) FUNCTION(PyList_GetItem) FUNCTION(PyList_New) FUNCTION(PyList_Size) FUNCTION(PyLong_AsLong)
FUNCTION(PyLong_AsLongLong) FUNCTION(PyLong_AsUnsignedLong) FUNCTION(PyLong_FromLong) FUNCTION(PyLong_FromSize_t)
FUNCTION(PyLong_FromSsize_t) FUNCTION(PyMem_Calloc) FUNCTION(PyMem_Free) FUNCTION(PyModule_AddObject)
FUNCTION(PyModule_Create2) FUNCTION(PyNumber_And) FUNCTION(PyNumber_Check) FUNCTION(PyNumber_Float)
FUNCTION(PyNumber_Invert) FUNCTION(PyNumber_Long) FUNCTION(PyNumber_Or) FUNCTION(PyNumber_Xor)
FUNCTION(PyObject_CallFunctionObjArgs) FUNCTION(PyObject_CallObject) FUNCTION(PyObject_ClearWeakRefs)
FUNCTION(PyObject_GC_UnTrack) FUNCTION(PyObject_GenericGetDict) FUNCTION(PyObject_GenericSetDict)
FUNCTION(PyObject_GetAttrString) FUNCTION(PyObject_GetItem) FUNCTION(PyObject_GetIter)
FUNCTION(PyObject_HasAttrString) FUNCTION(PyObject_IsInstance) FUNCTION(PyObject_Malloc) FUNCTION(PyObject_Repr)
FUNCTION(PyObject_RichCompareBool) FUNCTION(PyObject_SetAttr) FUNCTION(PyObject_SetAttrString)
FUNCTION(PyObject_SetItem) FUNCTION(PyObject_Str) FUNCTION(PyObject_Type) FUNCTION(PySequence_Check)
FUNCTION(PySequence_GetItem) FUNCTION(PySequence_Size) FUNCTION(PySequence_Tuple) FUNCTION(PySet_Add)
FUNCTION(PySet_New) FUNCTION(PySet_Size) FUNCTION(PyStaticMethod_New) FUNCTION(PyThreadState_Clear)
FUNCTION(PyThreadState_DeleteCurrent) FUNCTION(PyThreadState_Get) FUNCTION(PyThreadState_New)
FUNCTION(PyThread_tss_alloc) FUNCTION(PyThread_tss_create) FUNCTION(PyThread_tss_get) FUNCTION(PyThread_tss_set)
FUNCTION(PyTuple_GetItem) FUNCTION(PyTuple_New) FUNCTION(PyTuple_SetItem) FUNCTION(PyTuple_Size)
FUNCTION(PyType_IsSubtype) FUNCTION(PyType_Ready) FUNCTION(PyUnicode_AsEncodedString) FUNCTION(PyUnicode_AsUTF8)
FUNCTION(PyUnicode_AsUTF8AndSize) FUNCTION(PyUnicode_AsUTF8String) FUNCTION(PyUnicode_DecodeUTF8)
FUNCTION(PyUnicode_FromFormat) FUNCTION(PyUnicode_FromKindAndData) FUNCTION(PyUnicode_FromString)
FUNCTION(PyWeakref_NewRef) FUNCTION(Py_BuildValue) FUNCTION(Py_GetVersion) FUNCTION(_PyObject_GetDictPtr)
FUNCTION(_PyThreadState_UncheckedGet) FUNCTION(_PyType_Lookup) FUNCTION(_Py_Dealloc)

DATA(PyBaseObject_Type) DATA(PyByteArray_Type) DATA(PyCFunction_Type) DATA(PyCapsule_Type) DATA(PyDict_Type)
DATA(PyExc_BufferError) DATA(PyExc_Exception) DATA(PyExc_ImportError) DATA(PyExc_IndexError) DATA(PyExc_MemoryError)
DATA(PyExc_ModuleNotFoundError) DATA(PyExc_OverflowError) DATA(PyExc_RuntimeError) DATA(PyExc_StopIteration)
DATA(PyExc_SystemError) DATA(PyExc_TypeError) DATA(PyExc_ValueError) DATA(PyFloat_Type) DATA(PyFrozenSet_Type)
DATA(PyInstanceMethod_Type) DATA(PyMethod_Type) DATA(PyModule_Type) DATA(PyProperty_Type) DATA(PySet_Type)
DATA(PyStaticMethod_Type) DATA(PyType_Type) DATA(_Py_FalseStruct) DATA(_Py_NoneStruct) DATA(_Py_NotImplementedStruct)
DATA(_Py_TrueStruct)
