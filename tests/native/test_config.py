"""Settings from the environment."""

import os

import pytest
from tapegrad._config import Settings


def test_defaults():
    settings = Settings.from_environment({})
    assert settings.cache_bytes == 256 << 20
    assert settings.num_threads is None
    assert settings.blas_coretype is None
    assert "tapegrad" in settings.cache_dir


def test_variables():
    settings = Settings.from_environment(
        {
            "TAPEGRAD_CACHE_DIR": "some/where",
            "TAPEGRAD_CACHE_MB": "10",
            "TAPEGRAD_NUM_THREADS": "3",
            "OMP_NUM_THREADS": "5",
            "TAPEGRAD_BLAS_CORETYPE": "ZEN",
        }
    )
    assert settings == Settings(os.path.abspath("some/where"), 10 << 20, 3, "ZEN")


@pytest.mark.parametrize("value", ["", "0", "-2", "many"])
def test_useless_values_count_as_unset(value):
    assert (
        Settings.from_environment({"TAPEGRAD_NUM_THREADS": value, "OMP_NUM_THREADS": "2,3"}).num_threads == 2
    )


def test_no_cache():
    assert Settings.from_environment({"TAPEGRAD_CACHE_DIR": ""}).cache_dir == ""


@pytest.mark.skipif(os.name != "posix" or os.uname().sysname != "Linux", reason="XDG folders")
def test_xdg_folder():
    assert Settings.from_environment({"XDG_CACHE_HOME": "/x"}).cache_dir == "/x/tapegrad"
    assert Settings.from_environment({"XDG_CACHE_HOME": "not/absolute"}).cache_dir.startswith(
        os.path.expanduser("~")
    )
