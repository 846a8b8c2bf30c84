"""Small random models of many families, built from their configurations; nothing is downloaded."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

VOCABULARY, POSITIONS = 97, 512
WORDS = "the tide comes in twice a day and the boats go out with it and come back with it\n"
COMMON: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": POSITIONS,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.25,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
GPT: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "n_embd": 64,
    "n_layer": 3,
    "n_head": 4,
    "n_positions": POSITIONS,
    "initializer_range": 0.25,
}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}

ROTARY: dict[str, dict[str, Any]] = {
    "llama": COMMON,
    "mistral": COMMON | {"sliding_window": None},
    "qwen2": COMMON,
    "qwen3": COMMON | {"head_dim": 16},
    "qwen3_moe": COMMON | EXPERTS | {"head_dim": 16},
    "mixtral": COMMON | {"num_local_experts": 4, "sliding_window": None},
    "gemma": COMMON | {"head_dim": 16},
    "gpt_neox": COMMON,
    "phi": COMMON,
    "phi3": COMMON | {"sliding_window": None},
    "stablelm": COMMON,
    "olmo2": COMMON,
    "glm": COMMON | {"head_dim": 16},
    "glm4": COMMON | {"head_dim": 16},
    "cohere": COMMON,
    "starcoder2": COMMON | {"sliding_window": None},
    "granite": COMMON,
    "nemotron": COMMON,
    "persimmon": COMMON,
}
PARTLY = {"smollm3": COMMON | {"no_rope_layers": [1, 0, 1], "no_rope_layer_interval": 2}}
ABSOLUTE: dict[str, dict[str, Any]] = {
    "gpt2": GPT | ENDS,
    "opt": COMMON | {"ffn_dim": 96, "word_embed_proj_dim": 64},
    "gpt_bigcode": GPT | ENDS,
    "gptj": GPT | ENDS | {"rotary_dim": 8},
    "codegen": GPT | ENDS | {"rotary_dim": 8, "n_ctx": POSITIONS},
}
SLIDING: dict[str, dict[str, Any]] = {
    "gemma2": COMMON | {"head_dim": 16, "sliding_window": 24},
    "gemma3_text": COMMON | {"head_dim": 16, "sliding_window": 24, "num_hidden_layers": 6},
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "mistral": (COMMON | {"sliding_window": 24}, "sliding"),
    "gpt_oss": (COMMON | {"head_dim": 16, "num_local_experts": 4, "num_experts_per_tok": 2}, "sink logit"),
    "deepseek_v3": (
        COMMON
        | {
            "num_key_value_heads": 4,
            "n_routed_experts": 4,
            "num_experts_per_tok": 2,
            "n_group": 1,
            "topk_group": 1,
            "moe_intermediate_size": 32,
            "first_k_dense_replace": 1,
            "q_lora_rank": 32,
            "kv_lora_rank": 16,
            "qk_rope_head_dim": 8,
            "qk_nope_head_dim": 16,
            "v_head_dim": 16,
        },
        "latent",
    ),
    "falcon": (COMMON, "attention interface"),
    "bloom": (COMMON | {"n_layer": 3, "n_head": 4}, "attention interface"),
    "gpt_neo": (
        COMMON | {"num_layers": 3, "num_heads": 4, "attention_types": [[["global"], 3]]},
        "attention interface",
    ),
    "mamba": (COMMON | {"state_size": 8}, "attention interface"),
    "llama4_text": (
        COMMON | {"head_dim": 16, "num_local_experts": 2, "intermediate_size_mlp": 96, "attention_chunk_size": 64},
        "chunks",
    ),
}


def tiny(family: str, config: dict[str, Any], seed: int = 0, **more: Any) -> Any:
    """A small random model of a family, in evaluation mode."""
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **config), **more).eval()


def text(rows: int, n: int, seed: int = 1) -> torch.Tensor:
    """Random tokens (rows, n), without those that end or pad."""
    made = torch.Generator().manual_seed(seed)
    return torch.randint(3, VOCABULARY, (rows, n), generator=made, dtype=torch.int64)


def save_tiny(folder: Path, **config: Any) -> Path:
    """Save a small random model of letters, and its tokeniser, as transformers loads them."""
    alphabet = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE(vocab={letter: number for number, letter in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=alphabet[0]).save_pretrained(folder)
    tiny("llama", COMMON | {"vocab_size": len(alphabet)} | config).save_pretrained(folder)
    return folder


def save_places(folder: Path) -> tuple[Path, Path]:
    """Save a small model of letters and a folder of two texts, and return where they are."""
    save_tiny(folder / "model")
    (folder / "texts").mkdir()
    for name in ("one", "two"):
        (folder / "texts" / f"{name}.txt").write_text(WORDS * 9)
    return folder / "model", folder / "texts"
