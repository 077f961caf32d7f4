"""NumPy's functions for arrays larger than memory."""

# ruff: noqa: A004 - the names are NumPy's, some of which are builtins too
# ruff: noqa: RUF022 - sorted as Python sorts
# isort: off
# fmt: off

from __future__ import annotations

from chunkarr.functions.accumulating import (
    cumprod, cumsum, cumulative_prod, cumulative_sum, nancumprod, nancumsum,
)
from chunkarr.functions.algebra import (
    diagonal, dot, inner, matmul, matrix_transpose, outer, tensordot, trace, vdot, vecdot,
)
from chunkarr.functions.comparing import (
    compare,
)
from chunkarr.functions.assigning import (
    copyto, place, put, putmask,
)
from chunkarr.functions.creation import (
    arange, empty, empty_like, eye, fromfunction, full, full_like, identity, indices, linspace, meshgrid, ones,
    ones_like, tri, tril, triu, zeros, zeros_like,
)
from chunkarr.functions.describing import (
    can_cast, iscomplexobj, isrealobj, ndim, result_type, shape, size,
)
from chunkarr.functions.distinct import (
    unique, unique_all, unique_counts, unique_inverse, unique_values,
)
from chunkarr.functions.editing import (
    delete, insert,
)
from chunkarr.functions.elementwise import (
    allclose, angle, around, array_equal, array_equiv, clip, fix, i0, imag, isclose, iscomplex, isneginf,
    isposinf, isreal, nan_to_num, real, real_if_close, round, select, sinc, where,
)
from chunkarr.functions.filing import (
    frombuffer, fromfile, fromiter, savez, savez_compressed,
)
from chunkarr.functions.histograms import (
    bincount, digitize, histogram, histogram2d, histogram_bin_edges, histogramdd,
)
from chunkarr.functions.joining import (
    append, array_split, block, column_stack, concat, concatenate, dsplit, dstack, hsplit, hstack, pad, repeat,
    split, stack, tile, unstack, vsplit, vstack,
)
from chunkarr.functions.manipulation import (
    astype, atleast_1d, atleast_2d, atleast_3d, broadcast_arrays, broadcast_to, copy, expand_dims, flip, fliplr,
    flipud, moveaxis, permute_dims, ravel, reshape, roll, rollaxis, rot90, squeeze, swapaxes, transpose,
)
from chunkarr.functions.neighbours import (
    cross, diff, ediff1d, trapezoid,
)
from chunkarr.functions.ordering import (
    argpartition, lexsort, partition, put_along_axis, sort_complex, take_along_axis,
)
from chunkarr.functions.packing import (
    packbits, unpackbits,
)
from chunkarr.functions.picking import (
    argwhere, compress, extract, flatnonzero, nonzero, take,
)
from chunkarr.functions.quantiles import (
    median, nanmedian, nanpercentile, nanquantile, percentile, quantile,
)
from chunkarr.functions.reducing import (
    all, amax, amin, any, argmax, argmin, average, count_nonzero, max, mean, min, nanargmax, nanargmin, nanmax,
    nanmean, nanmin, nanprod, nanstd, nansum, nanvar, prod, ptp, std, sum, var,
)
from chunkarr.functions.sampling import (
    block_reduce,
)
from chunkarr.functions.searching import (
    searchsorted,
)
from chunkarr.functions.sets import (
    intersect1d, isin, setdiff1d, setxor1d, union1d,
)
from chunkarr.functions.sorting import (
    argsort, sort,
)
from chunkarr.functions.texts import (
    fromregex, loadtxt, savetxt,
)
from chunkarr.functions.ufuncs import (
    abs, absolute, acos, acosh, add, arccos, arccosh, arcsin, arcsinh, arctan, arctan2, arctanh, asin, asinh,
    atan, atan2, atanh, bitwise_and, bitwise_count, bitwise_invert, bitwise_left_shift, bitwise_not, bitwise_or,
    bitwise_right_shift, bitwise_xor, cbrt, ceil, conj, conjugate, copysign, cos, cosh, deg2rad, degrees, divide,
    divmod, equal, exp, exp2, expm1, fabs, float_power, floor, floor_divide, fmax, fmin, fmod, frexp, gcd,
    greater, greater_equal, heaviside, hypot, invert, isfinite, isinf, isnan, isnat, lcm, ldexp, left_shift, less,
    less_equal, log, log10, log1p, log2, logaddexp, logaddexp2, logical_and, logical_not, logical_or, logical_xor,
    maximum, minimum, mod, modf, multiply, negative, nextafter, not_equal, positive, pow, power, rad2deg, radians,
    reciprocal, remainder, right_shift, rint, sign, signbit, sin, sinh, spacing, sqrt, square, subtract, tan,
    tanh, true_divide, trunc,
)

__all__ = [
    "abs", "absolute", "acos", "acosh", "add", "all", "allclose", "amax", "amin", "angle", "any", "append",
    "arange", "arccos", "arccosh", "arcsin", "arcsinh", "arctan", "arctan2", "arctanh", "argmax", "argmin",
    "argpartition", "argsort", "argwhere", "around", "array_equal", "array_equiv", "array_split", "asin", "asinh",
    "astype", "atan", "atan2", "atanh", "atleast_1d", "atleast_2d", "atleast_3d", "average", "bincount",
    "bitwise_and", "bitwise_count", "bitwise_invert", "bitwise_left_shift", "bitwise_not", "bitwise_or",
    "bitwise_right_shift", "bitwise_xor", "block", "block_reduce", "broadcast_arrays", "broadcast_to", "can_cast",
    "cbrt", "ceil", "clip", "column_stack", "compare", "compress", "concat", "concatenate", "conj", "conjugate",
    "copy", "copysign", "copyto", "cos", "cosh", "count_nonzero", "cross", "cumprod", "cumsum", "cumulative_prod",
    "cumulative_sum", "deg2rad", "degrees", "delete", "diagonal", "diff", "digitize", "divide", "divmod", "dot",
    "dsplit", "dstack", "ediff1d", "empty", "empty_like", "equal", "exp", "exp2", "expand_dims", "expm1",
    "extract", "eye", "fabs", "fix", "flatnonzero", "flip", "fliplr", "flipud", "float_power", "floor",
    "floor_divide", "fmax", "fmin", "fmod", "frexp", "frombuffer",
    "fromfile", "fromfunction", "fromiter", "fromregex", "full", "full_like", "gcd", "greater",
    "greater_equal", "heaviside", "histogram", "histogram2d", "histogram_bin_edges", "histogramdd", "hsplit",
    "hstack", "hypot", "i0", "identity", "imag", "indices", "inner", "insert", "intersect1d", "invert", "isclose",
    "iscomplex", "iscomplexobj", "isfinite", "isin", "isinf", "isnan", "isnat", "isneginf", "isposinf", "isreal",
    "isrealobj", "lcm", "ldexp", "left_shift", "less", "less_equal", "lexsort", "linspace", "loadtxt", "log", "log10",
    "log1p", "log2", "logaddexp", "logaddexp2", "logical_and", "logical_not", "logical_or", "logical_xor",
    "matmul", "matrix_transpose", "max", "maximum", "mean", "median", "meshgrid", "min", "minimum", "mod", "modf",
    "moveaxis", "multiply", "nan_to_num", "nanargmax", "nanargmin", "nancumprod", "nancumsum", "nanmax",
    "nanmean", "nanmedian", "nanmin", "nanpercentile", "nanprod", "nanquantile", "nanstd", "nansum", "nanvar",
    "ndim", "negative", "nextafter", "nonzero", "not_equal", "ones", "ones_like", "outer", "packbits", "pad",
    "partition",
    "percentile", "permute_dims", "place", "positive", "pow", "power", "prod", "ptp", "put", "put_along_axis",
    "putmask", "quantile", "rad2deg", "radians", "ravel", "real", "real_if_close", "reciprocal", "remainder",
    "repeat", "reshape", "result_type", "right_shift", "rint", "roll", "rollaxis", "rot90", "round",
    "savetxt", "savez", "savez_compressed",
    "searchsorted", "select", "setdiff1d", "setxor1d", "shape", "sign", "signbit", "sin", "sinc", "sinh", "size",
    "sort", "sort_complex", "spacing", "split", "sqrt", "square", "squeeze", "stack", "std", "subtract", "sum",
    "swapaxes", "take", "take_along_axis", "tan", "tanh", "tensordot", "tile", "trace", "transpose", "trapezoid",
    "tri", "tril", "triu", "true_divide", "trunc", "union1d", "unique", "unique_all", "unique_counts",
    "unique_inverse", "unique_values", "unpackbits", "unstack", "var", "vdot", "vecdot", "vsplit", "vstack", "where",
    "zeros",
    "zeros_like",
]
