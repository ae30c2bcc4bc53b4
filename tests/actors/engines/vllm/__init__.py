"""Tests of `actors.engines.vllm`."""
