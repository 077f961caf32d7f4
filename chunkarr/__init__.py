"""NumPy for arrays larger than memory.

>>> import chunkarr as ca
>>> a = ca.arange(10)
>>> float((a * 2).mean())
9.0
"""

# ruff: noqa: A004 - the names are NumPy's, some of which are builtins too
# ruff: noqa: RUF022 - sorted as Python sorts
# isort: off
# fmt: off

from __future__ import annotations

from numpy import (
    bool, complex128, complex64, e, euler_gamma, finfo, float16, float32, float64, iinfo, inf, int16, int32,
    int64, int8, isdtype, nan, newaxis, pi, uint16, uint32, uint64, uint8,
)

from chunkarr.array import Array
from chunkarr.errors import (
    ArrayLockedError, CancelledError, ChunkarrError, CommittedNotAppliedError, CorruptChunkError, ForeignChangeError,
    FormatError, GenerationChangedError, GridError, MemoryBudgetError, MetadataError, MissingChunkError, OptionError,
    ResumeMismatchError, StaleExpressionError, TargetExistsError, TextError, UnsafeInputError, UnsupportedError,
)
from chunkarr.functions import (
    abs, absolute, acos, acosh, add, all, allclose, amax, amin, angle, any, append, arange, arccos, arccosh, arcsin,
    arcsinh, arctan, arctan2, arctanh, argmax, argmin, argpartition, argsort, argwhere, around, array_equal,
    array_equiv, array_split, asin, asinh, astype, atan, atan2, atanh, atleast_1d, atleast_2d, atleast_3d, average,
    bincount, bitwise_and, bitwise_count, bitwise_invert, bitwise_left_shift, bitwise_not, bitwise_or,
    bitwise_right_shift, bitwise_xor, block, block_reduce, broadcast_arrays, broadcast_to, can_cast, cbrt, ceil, clip,
    column_stack, compare, compress, concat, concatenate, conj, conjugate, copy, copysign, copyto, cos, cosh,
    count_nonzero, cross, cumprod, cumsum, cumulative_prod, cumulative_sum, deg2rad, degrees, delete, diagonal, diff,
    digitize, divide, divmod, dot, dsplit, dstack, ediff1d, empty, empty_like, equal, exp, exp2, expand_dims, expm1,
    extract, eye, fabs, fix, flatnonzero, flip, fliplr, flipud, float_power, floor, floor_divide, fmax, fmin, fmod,
    frexp, frombuffer, fromfile, fromfunction, fromiter, fromregex,
    full, full_like, gcd, greater, greater_equal, heaviside, histogram, histogram2d,
    histogram_bin_edges, histogramdd, hsplit, hstack, hypot, i0, identity, imag, indices, inner, insert, intersect1d,
    invert, isclose, iscomplex, iscomplexobj, isfinite, isin, isinf, isnan, isnat, isneginf, isposinf, isreal,
    isrealobj, lcm, ldexp, left_shift, less, less_equal, lexsort, linspace, loadtxt, log, log10, log1p, log2, logaddexp,
    logaddexp2, logical_and, logical_not, logical_or, logical_xor, matmul, matrix_transpose, max, maximum, mean, median,
    meshgrid, min, minimum, mod, modf, moveaxis, multiply, nan_to_num, nanargmax, nanargmin, nancumprod, nancumsum,
    nanmax, nanmean, nanmedian, nanmin, nanpercentile, nanprod, nanquantile, nanstd, nansum, nanvar, ndim, negative,
    nextafter, nonzero, not_equal, ones, ones_like, outer, packbits, pad, partition, percentile, permute_dims, place,
    positive,
    pow, power, prod, ptp, put, put_along_axis, putmask, quantile, rad2deg, radians, ravel, real, real_if_close,
    reciprocal, remainder, repeat, reshape, result_type, right_shift, rint, roll, rollaxis, rot90, round, savetxt,
    savez,
    savez_compressed, searchsorted, select,
    setdiff1d, setxor1d, shape, sign, signbit, sin, sinc, sinh, size, sort, sort_complex, spacing, split, sqrt,
    square, squeeze, stack, std, subtract, sum, swapaxes, take, take_along_axis, tan, tanh, tensordot, tile, trace,
    transpose, trapezoid, tri, tril, triu, true_divide, trunc, union1d, unique, unique_all, unique_counts,
    unique_inverse, unique_values, unpackbits, unstack, var, vdot, vecdot, vsplit, vstack, where, zeros, zeros_like,
)
from chunkarr.io import asarray, compute, create, load, open, save
from chunkarr.jobs import convert, rechunk
from chunkarr.settings import config
from chunkarr.upkeep import adopt, recover

__all__ = [
    "Array", "ArrayLockedError", "CancelledError", "ChunkarrError", "CommittedNotAppliedError", "CorruptChunkError",
    "ForeignChangeError", "FormatError", "GenerationChangedError", "GridError", "MemoryBudgetError", "MetadataError",
    "MissingChunkError", "OptionError", "ResumeMismatchError", "StaleExpressionError", "TargetExistsError",
    "TextError", "UnsafeInputError", "UnsupportedError", "abs", "absolute", "acos", "acosh", "add", "adopt", "all",
    "allclose",
    "amax", "amin", "angle", "any", "append", "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2",
    "arctanh", "argmax", "argmin", "argpartition", "argsort", "argwhere", "around", "array_equal", "array_equiv",
    "array_split", "asarray", "asin", "asinh", "astype", "atan", "atan2", "atanh", "atleast_1d", "atleast_2d",
    "atleast_3d", "average", "bincount", "bitwise_and", "bitwise_count", "bitwise_invert", "bitwise_left_shift",
    "bitwise_not", "bitwise_or", "bitwise_right_shift", "bitwise_xor", "block", "block_reduce", "bool",
    "broadcast_arrays", "broadcast_to", "can_cast", "cbrt", "ceil", "clip", "column_stack", "compare", "complex128",
    "complex64", "compress", "compute", "concat", "concatenate", "config", "conj", "conjugate", "convert", "copy",
    "copysign", "copyto", "cos", "cosh", "count_nonzero", "create", "cross", "cumprod", "cumsum", "cumulative_prod",
    "cumulative_sum", "deg2rad", "degrees", "delete", "diagonal", "diff", "digitize", "divide", "divmod", "dot",
    "dsplit", "dstack", "e", "ediff1d", "empty", "empty_like", "equal", "euler_gamma", "exp", "exp2", "expand_dims",
    "expm1", "extract", "eye", "fabs", "finfo", "fix", "flatnonzero", "flip", "fliplr", "flipud", "float16", "float32",
    "float64", "float_power", "floor", "floor_divide", "fmax", "fmin", "fmod", "frexp", "frombuffer",
    "fromfile", "fromfunction", "fromiter", "fromregex", "full",
    "full_like", "gcd", "greater", "greater_equal", "heaviside", "histogram", "histogram2d", "histogram_bin_edges",
    "histogramdd", "hsplit", "hstack", "hypot", "i0", "identity", "iinfo", "imag", "indices", "inf", "inner", "insert",
    "int16", "int32", "int64", "int8", "intersect1d", "invert", "isclose", "iscomplex", "iscomplexobj", "isdtype",
    "isfinite", "isin", "isinf", "isnan", "isnat", "isneginf", "isposinf", "isreal", "isrealobj", "lcm", "ldexp",
    "left_shift", "less", "less_equal", "lexsort", "linspace", "load", "loadtxt", "log", "log10", "log1p", "log2",
    "logaddexp",
    "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor", "matmul", "matrix_transpose", "max",
    "maximum", "mean", "median", "meshgrid", "min", "minimum", "mod", "modf", "moveaxis", "multiply", "nan",
    "nan_to_num", "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax", "nanmean", "nanmedian", "nanmin",
    "nanpercentile", "nanprod", "nanquantile", "nanstd", "nansum", "nanvar", "ndim", "negative", "newaxis", "nextafter",
    "nonzero", "not_equal", "ones", "ones_like", "open", "outer", "packbits", "pad", "partition", "percentile",
    "permute_dims",
    "pi", "place", "positive", "pow", "power", "prod", "ptp", "put", "put_along_axis", "putmask", "quantile", "rad2deg",
    "radians", "ravel", "real", "real_if_close", "rechunk", "reciprocal", "recover", "remainder", "repeat", "reshape",
    "result_type", "right_shift", "rint", "roll", "rollaxis", "rot90", "round", "save", "savetxt", "savez",
    "savez_compressed", "searchsorted", "select",
    "setdiff1d", "setxor1d", "shape", "sign", "signbit", "sin", "sinc", "sinh", "size", "sort", "sort_complex",
    "spacing", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum", "swapaxes", "take",
    "take_along_axis", "tan", "tanh", "tensordot", "tile", "trace", "transpose", "trapezoid", "tri", "tril", "triu",
    "true_divide", "trunc", "uint16", "uint32", "uint64", "uint8", "union1d", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "unpackbits", "unstack", "var", "vdot", "vecdot", "vsplit", "vstack", "where",
    "zeros",
    "zeros_like",
]

__version__ = "0.1.0"
