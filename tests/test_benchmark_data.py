"""tools/benchmark_data: all ways of reading give the same images, and the tool runs."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import benchmark_data
import numpy as np
import pytest

IMAGES = np.random.default_rng(0).integers(0, 256, (40, 4, 6, 3), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_files_hold_the_same_images(tmp_path, channels):
    images = IMAGES[..., :channels]
    benchmark_data.write_files(images, tmp_path)
    files = benchmark_data.Files(tmp_path, 40)
    assert len(files) == 40
    for i in range(40):
        np.testing.assert_array_equal(files[i], images[i], strict=True)


def test_differences_are_reported():
    index = np.arange(40)
    one, same, other = (
        benchmark_data.from_arrays(images, index, batch=8, threads=0)
        for images in (IMAGES, IMAGES.copy(), IMAGES ^ 1)
    )
    benchmark_data.check(one, same)
    with pytest.raises(AssertionError):
        benchmark_data.check(one, other)


def test_rates_count_images_after_start_up():
    def begin(start):
        assert start == benchmark_data.FAR
        for batch in itertools.count():
            slow = {0: 0.2, benchmark_data.BEGINNING: 0.3}
            ready = 0.02 if batch > benchmark_data.BEGINNING else 0
            benchmark_data.time.sleep(slow.get(batch, ready))
            yield IMAGES[:8]

    rate, first = benchmark_data.measure(begin, 0.3)
    assert 0.2 <= first < 0.3
    assert 8 / 0.02 >= rate > 8 / 0.2


@pytest.mark.slow
def test_it_runs(tmp_path):
    script, out = Path(benchmark_data.__file__), tmp_path / "out.json"
    command = [sys.executable, script, "--quick", "--seconds", "0.2", "--data"]
    command += ["sprites2d/coloured", "--data_dir", tmp_path / "data", "--json", out]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(out.read_text())
    assert found["num_images"] == 4608
    assert {"decoded", "records"} <= set(found["results"])
    for name, result in found["results"].items():
        assert result["least"] <= result["images_per_second"] <= result["most"]
        assert f"\n{name:10}{result['images_per_second']:12,.0f}" in done.stdout
