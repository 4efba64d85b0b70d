from __future__ import annotations

import pytest

from ttft import selftest
from ttft.selftest import Accuracy, quantile
from ttft.selftest import selftest as check


def test_the_real_client_meets_the_bundled_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_REQUESTS", {2: 3})
    (accuracy,) = check([2])
    assert (accuracy.users, accuracy.requests, accuracy.failures) == (2, 6, 0)
    assert accuracy.truth_p50_ms >= 50.0
    assert accuracy.measured_p50_ms >= 50.0
    assert accuracy.cpu_ms_per_request > 0


def test_it_prints_its_own_error() -> None:
    text = str(Accuracy(32, 960, 0, 50.1, 51.0, 50.5, 52.5, 1.6))
    assert "error +0.40" in text
    assert "error +1.50" in text


def test_quantiles_are_values_that_were_there() -> None:
    assert quantile([3, 1, 2], 0.5) == 2
    assert quantile([float(each) for each in range(100)], 0.99) == 99
