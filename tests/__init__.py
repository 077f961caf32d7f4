"""The tests of chunkarr; a package so that tests share `tests.strategies` and `tests.oracle`."""
