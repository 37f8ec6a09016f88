"""HDR to SDR: a fixed mapping of PQ and HLG code values to the broadcast luma that trunks were trained on.

Absolute light first: PQ (SMPTE ST 2084) says it outright; HLG (ARIB STD-B67) is taken to a display of 1000 cd/m2 with
system gamma 1.2 (ITU-R BT.2100). Then light over that of diffuse white, 203 cd/m2 (ITU-R BT.2408), linear up to half of
it and rolled off smoothly above, so that highlights keep their texture:

    y = x                               x <= 0.5
    y = 0.5 + 0.5 (1 - exp(1 - 2x))     x > 0.5

Last the inverse of BT.1886 without its black lift, ``y ** (1 / 2.4)``. Diffuse white lands at 92 % of SDR luma and
1000 cd/m2 at 100 %. Luma is mapped as if it were grey; colour differences are scaled by the mapping's slope there, as
the mapping does to small ones. Primaries stay as they are.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

#: Diffuse white, cd/m2 (ITU-R BT.2408, table 1).
WHITE_NITS = 203.0
#: Display that HLG is taken to, cd/m2, and its system gamma (ITU-R BT.2100, table 5).
_HLG_NITS, _HLG_GAMMA = 1000.0, 1.2
_KNEE = 0.5
_SDR_GAMMA = 2.4
#: Colour differences are not enlarged beyond this: in near black the slope says little.
_MOST_CHROMA_GAIN = 4.0
_AVCOL_TRC = {16: "pq", 18: "hlg"}


class Transfer(StrEnum):
    """How light is coded."""

    SDR = "sdr"
    PQ = "pq"
    HLG = "hlg"


def transfer_of(characteristic: int) -> Transfer:
    """From FFmpeg's transfer characteristic (numbers of ITU-T H.273); whatever is no HDR is SDR."""
    return Transfer(_AVCOL_TRC.get(characteristic, "sdr"))


def nits(signal: npt.ArrayLike, transfer: Transfer) -> F64:
    """Light in cd/m2 of grey coded as ``signal`` in [0, 1].

    Raises:
        ValueError: The transfer is SDR, which knows no absolute light.
    """
    code = np.clip(np.asarray(signal, np.float64), 0.0, 1.0)
    if transfer is Transfer.PQ:
        # SMPTE ST 2084, equation 4.1.
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        power = code ** (1 / m2)
        light: F64 = 10_000.0 * (np.maximum(power - c1, 0.0) / (c2 - c3 * power)) ** (1 / m1)
        return light
    if transfer is Transfer.HLG:
        # ARIB STD-B67, inverse OETF.
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(code <= 0.5, code**2 / 3, (np.exp((code - c) / a) + b) / 12)
        light = _HLG_NITS * scene**_HLG_GAMMA
        return light
    raise ValueError("SDR says nothing of absolute light")


def sdr_signal(signal: npt.ArrayLike, transfer: Transfer) -> F64:
    """SDR signal in [0, 1] for an HDR one in [0, 1]."""
    light = nits(signal, transfer) / WHITE_NITS
    # Where it is not taken the exponential may overflow.
    rolled = _KNEE + (1 - _KNEE) * -np.expm1(-np.maximum(light - _KNEE, 0.0) / (1 - _KNEE))
    mapped: F64 = np.where(light <= _KNEE, light, rolled) ** (1 / _SDR_GAMMA)
    return mapped


@cache
def luma_table(transfer: Transfer, bits: int, full_range: bool) -> U8:
    """(2 ** bits,) limited-range 8-bit luma for each code value."""
    mapped = 16 + 219 * sdr_signal(_signal(bits, full_range), transfer)
    table: U8 = np.floor(mapped + 0.5).astype(np.uint8)
    return table


@cache
def chroma_gain(transfer: Transfer, bits: int, full_range: bool) -> F32:
    """(2 ** bits,) by what colour differences are multiplied beside each luma code."""
    signal = _signal(bits, full_range)
    # Over four code values to each side: the slope of the curve, not of its quantisation.
    width = 4 / (2**bits if full_range else 219 << (bits - 8))
    rise = sdr_signal(signal + width, transfer) - sdr_signal(signal - width, transfer)
    gain: F32 = np.minimum(rise / (2 * width), _MOST_CHROMA_GAIN).astype(np.float32)
    return gain


def _signal(bits: int, full_range: bool) -> F64:
    codes = np.arange(2**bits, dtype=np.float64)
    limited: F64 = np.clip((codes / (1 << (bits - 8)) - 16) / 219, 0.0, 1.0)
    return codes / (2**bits - 1) if full_range else limited
