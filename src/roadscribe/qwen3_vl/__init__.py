"""All code that knows the insides of transformers' Qwen3-VL; README.md lists what is replaced and its proof."""
