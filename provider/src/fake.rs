//! A scripted provider in memory, for tests.
