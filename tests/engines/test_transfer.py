from __future__ import annotations

import numpy as np
import pytest

from engines.transfer import WHITE_NITS, Transfer, chroma_gain, luma_table, nits, sdr_signal, transfer_of


def test_pq_and_hlg_signals_give_the_light_that_their_standards_say() -> None:
    # BT.2408 table 1: diffuse white is 58 % of PQ and 75 % of HLG, both 203 cd/m2.
    assert nits(0.58, Transfer.PQ) == pytest.approx(WHITE_NITS, rel=0.02)
    assert nits(0.75, Transfer.HLG) == pytest.approx(WHITE_NITS, rel=0.02)
    assert nits([0.0, 1.0], Transfer.PQ) == pytest.approx([0, 10_000], abs=1e-6)
    assert nits([0.0, 1.0], Transfer.HLG) == pytest.approx([0, 1000], abs=0.1)
    with pytest.raises(ValueError, match="absolute"):
        nits(0.5, Transfer.SDR)


@pytest.mark.parametrize("transfer", [Transfer.PQ, Transfer.HLG])
def test_the_mapping_grows_from_black_to_white_without_a_step(transfer: Transfer) -> None:
    mapped = sdr_signal(np.linspace(0, 1, 4001), transfer)
    assert mapped[0] == 0
    assert mapped[-1] == pytest.approx(1, abs=0.001)
    assert np.all(np.diff(mapped) >= 0)
    assert np.diff(mapped).max() < 0.005
    white = {Transfer.PQ: 0.58, Transfer.HLG: 0.75}[transfer]
    assert sdr_signal(white, transfer) == pytest.approx(0.92, abs=0.01)


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("full", [False, True])
def test_tables_cover_every_code_and_end_at_the_limits_of_broadcast(bits: int, full: bool) -> None:
    table, gain = luma_table(Transfer.PQ, bits, full), chroma_gain(Transfer.PQ, bits, full)
    assert table.shape == gain.shape == (2**bits,)
    assert (table[0], table[-1]) == (16, 235)
    assert gain.min() >= 0
    assert gain.max() <= 4
    assert gain[round(2**bits * 0.5)] > 1  # mid grey: SDR spends more of its signal there


def test_whatever_is_no_hdr_is_sdr() -> None:
    found = [transfer_of(n) for n in (0, 1, 2, 6, 14, 15, 16, 18, 99)]
    assert found == [Transfer.SDR] * 6 + [Transfer.PQ, Transfer.HLG, Transfer.SDR]
