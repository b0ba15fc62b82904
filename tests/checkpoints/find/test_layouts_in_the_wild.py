"""Folders as training programs and public suites write them: what is understood, what is asked.

One table. Each case is a kind of folder, the files in it (``{0,1}`` stands for both), and what
hmmdyn makes of them: path -> (group, run, seed, step or epoch), or `Ask` with a piece of what it
says. The root folder is called "root". Names are those of the programs' documentation or of the
published repositories.
"""

import re
from dataclasses import dataclass
from itertools import product

import pytest

from hmmdyn.checkpoints.find.discover import discover
from hmmdyn.errors import DuplicateCheckpointError, LayoutError


@dataclass(frozen=True)
class Ask:
    """Ambiguous: the command stops, and its message matches."""

    message: str


WILD = {
    # ------------------------------------------------------------------ Hugging Face and friends
    "Hugging Face Trainer": (
        """seed_3/checkpoint-500/{model.safetensors,optimizer.pt,scheduler.pt,rng_state.pth}
        seed_3/checkpoint-500/{training_args.bin,trainer_state.json} seed_3/model.safetensors""",
        {"seed_3/checkpoint-500/model.safetensors": ("root", "seed_3", 3, 500)},
    ),
    "Hugging Face Trainer, sharded": (
        """checkpoint-500/model-0000{1,2}-of-00002.safetensors
        checkpoint-500/model.safetensors.index.json""",
        {"checkpoint-500": ("root", "root", None, 500)},
    ),
    "Hugging Face Trainer on DeepSpeed": (
        """out/checkpoint-500/{pytorch_model.bin,latest,zero_to_fp32.py}
        out/checkpoint-500/global_step502/{mp_rank_00_model_states.pt,
        zero_pp_rank_0_mp_rank_00optim_states.pt,zero_pp_rank_1_mp_rank_00optim_states.pt}""",
        {"out/checkpoint-500/pytorch_model.bin": ("root", "out", None, 500)},
    ),
    "Hugging Face Hub, one model in three formats (MultiBERTs)": (
        "multiberts-seed_{0,1}-step_20k/{pytorch_model.bin,tf_model.h5,flax_model.msgpack}",
        {
            f"multiberts-seed_{seed}-step_20k/pytorch_model.bin": (
                "multiberts",
                f"seed_{seed}",
                seed,
                20_000,
            )
            for seed in (0, 1)
        },
    ),
    "MultiBERTs, the final models": (
        "multiberts-seed_{0,1}/pytorch_model.bin",
        Ask(r"multiberts-seed_0/pytorch_model.bin: no step"),
    ),
    "Accelerate": (
        """proj/checkpoints/checkpoint_3/{model.safetensors,optimizer.bin,scheduler.bin,sampler.bin}
        proj/checkpoints/checkpoint_3/{random_states_0.pkl,custom_checkpoint_0.pkl,scaler.pt}""",
        {"proj/checkpoints/checkpoint_3/model.safetensors": ("root", "proj", None, 3)},
    ),
    "Accelerate, two models": (
        "checkpoint_3/{model.safetensors,model_1.safetensors}",
        Ask(r"(?s)more than one file claims.*model.safetensors and .*model_1.safetensors"),
    ),
    "Accelerate, FSDP": (
        """checkpoint_3/{pytorch_model_fsdp_0,optimizer_0}/{.metadata,__0_0.distcp,__1_0.distcp}
        checkpoint_3/random_states_0.pkl""",
        {"checkpoint_3/pytorch_model_fsdp_0": ("root", "root", None, 3)},
    ),
    "trlX": (
        "ckpts/checkpoint_01000/{pytorch_model.bin,hf_model/pytorch_model.bin}",
        {"ckpts/checkpoint_01000/pytorch_model.bin": ("root", "root", None, 1000)},
    ),
    "verl": (
        """global_step_100/actor/model_world_size_2_rank_{0,1}.pt
        global_step_100/actor/{optim_world_size_2_rank_0.pt,extra_state_world_size_2_rank_0.pt}""",
        Ask(r"spread over several files"),
    ),
    # ---------------------------------------------------------------------- published suites
    "Pythia": (
        "pythia-70m-deduped/step{0,1,512}/model.safetensors",
        {
            f"pythia-70m-deduped/step{step}/model.safetensors": (
                "root",
                "pythia-70m-deduped",
                None,
                step,
            )
            for step in (0, 1, 512)
        },
    ),
    "PolyPythias": (
        "pythia-410m-{data-,weight-,}seed3/step512/model.safetensors",
        {
            f"pythia-410m-{kind}seed3/step512/model.safetensors": (
                f"pythia-410m-{kind}".rstrip("-"),
                "seed3",
                3,
                512,
            )
            for kind in ("data-", "weight-", "")
        },
    ),
    "OLMo, unsharded": (
        "OLMo-1B/step{1000,2000}-unsharded/{model.pt,optim.pt,train.pt,config.yaml}",
        {
            f"OLMo-1B/step{step}-unsharded/model.pt": ("root", "OLMo-1B", None, step)
            for step in (1000, 2000)
        },
    ),
    "OLMo-core": (
        "peteish/step1000/{model_and_optim/{.metadata,__0_0.distcp},train/rank0.pt}",
        {"peteish/step1000/model_and_optim": ("root", "peteish", None, 1000)},
    ),
    "OLMo 2, stage 1": (
        "{stage1-step1000-tokens3B,stage1-step2000-tokens5B}/model.safetensors",
        {
            "stage1-step1000-tokens3B/model.safetensors": ("root", "root", None, 1000),
            "stage1-step2000-tokens5B/model.safetensors": ("root", "root", None, 2000),
        },
    ),
    "LLM360 Amber": (
        "ckpt_{000,356}/pytorch_model.bin",
        {
            "ckpt_000/pytorch_model.bin": ("root", "root", None, 0),
            "ckpt_356/pytorch_model.bin": ("root", "root", None, 356),
        },
    ),
    "Mistral of Stanford CRFM: x21 is a seed only to its authors": (
        "alias-gpt2-small-x21/checkpoint-1000/pytorch_model.bin",
        {
            "alias-gpt2-small-x21/checkpoint-1000/pytorch_model.bin": (
                "root",
                "alias-gpt2-small-x21",
                None,
                1000,
            )
        },
    ),
    # ------------------------------------------------------------------------------ frameworks
    "Lightning": (
        """lightning_logs/version_{0,1}/checkpoints/epoch=4-step=200.ckpt
        lightning_logs/version_0/checkpoints/last.ckpt""",
        {
            f"lightning_logs/version_{v}/checkpoints/epoch=4-step=200.ckpt": (
                "root",
                f"version_{v}",
                None,
                200,
            )
            for v in (0, 1)
        },
    ),
    "Lightning, a name that was taken": (
        "epoch=4-step=200{,-v1}.ckpt",
        Ask(r"(?s)more than one file claims.*epoch=4-step=200-v1.ckpt"),
    ),
    "Lightning, monitored": (
        "seed1/epoch={09-val_loss=0.12,10-val_loss=0.11}.ckpt",
        {
            "seed1/epoch=09-val_loss=0.12.ckpt": ("root", "seed1", 1, 9),
            "seed1/epoch=10-val_loss=0.11.ckpt": ("root", "seed1", 1, 10),
        },
    ),
    "Lightning, automatic names off": (
        "seed1/4-200.ckpt",
        Ask(r"4-200.ckpt: no step(?s:.)*seed\{seed\}/4-\{step\}.ckpt"),
    ),
    "Lightning on FSDP": (
        "epoch=1-step=50.ckpt/{.metadata,__0_0.distcp,meta.pt}",
        {"epoch=1-step=50.ckpt": ("root", "root", None, 50)},
    ),
    "Lightning on DeepSpeed, one device": (
        """epoch=0-step=200.ckpt/checkpoint/{mp_rank_00_model_states.pt,
        zero_pp_rank_0_mp_rank_00_optim_states.pt}""",
        {
            "epoch=0-step=200.ckpt/checkpoint/mp_rank_00_model_states.pt": (
                "root",
                "root",
                None,
                200,
            )
        },
    ),
    "LitGPT": (
        "out/pretrain/step-00001000/{lit_model.pth,hyperparameters.yaml} out/final/lit_model.pth",
        {"out/pretrain/step-00001000/lit_model.pth": ("out", "pretrain", None, 1000)},
    ),
    "NeMo": (
        """gpt/megatron_gpt--val_loss=2.{10,05}-step={1000,2000}-consumed_samples=256000.0.ckpt
        gpt/megatron_gpt--val_loss=2.05-step=2000-consumed_samples=256000.0-last.ckpt""",
        Ask(r"more than one file claims"),
    ),
    "NeMo, as it is": (
        """gpt/megatron_gpt--val_loss=2.10-step=1000-consumed_samples=256000.0.ckpt
        gpt/megatron_gpt--val_loss=2.05-step=2000-consumed_samples=512000.0.ckpt
        gpt/megatron_gpt--val_loss=2.05-step=2000-consumed_samples=512000.0-last.ckpt""",
        {
            "gpt/megatron_gpt--val_loss=2.10-step=1000-consumed_samples=256000.0.ckpt": (
                "root",
                "gpt",
                None,
                1000,
            ),
            "gpt/megatron_gpt--val_loss=2.05-step=2000-consumed_samples=512000.0.ckpt": (
                "root",
                "gpt",
                None,
                2000,
            ),
        },
    ),
    "Composer": (
        "bert/checkpoints/{ep0-ba500,ep1-ba1000,latest}-rank0.pt",
        {
            "bert/checkpoints/ep0-ba500-rank0.pt": ("root", "bert", None, 500),
            "bert/checkpoints/ep1-ba1000-rank0.pt": ("root", "bert", None, 1000),
        },
    ),
    "Composer, sharded": (
        "bert/checkpoints/ep0-ba500/{.metadata,__0_0.distcp,__1_0.distcp}",
        {"bert/checkpoints/ep0-ba500": ("root", "bert", None, 500)},
    ),
    "torchtitan": (
        "outputs/checkpoint/step-{0,1000}/{.metadata,__0_0.distcp}",
        {
            "outputs/checkpoint/step-0": ("root", "root", None, 0),
            "outputs/checkpoint/step-1000": ("root", "root", None, 1000),
        },
    ),
    "fairseq, by epoch": (
        "checkpoints/checkpoint{1,12,_best,_last}.pt",
        {
            "checkpoints/checkpoint1.pt": ("root", "root", None, 1),
            "checkpoints/checkpoint12.pt": ("root", "root", None, 12),
        },
    ),
    "fairseq, by update: epoch and update are two bare numbers": (
        "checkpoints/checkpoint_12_500.pt",
        Ask(r"checkpoint_12_500.pt: two numbers, either of which may be the step"),
    ),
    "fairseq, sharded": (
        "checkpoints/checkpoint12-shard{0,1}.pt",
        Ask(r"spread over several files"),
    ),
    "Megatron-LM, one device": (
        "gpt/iter_0000500/mp_rank_00/{model_optim_rng,distrib_optim}.pt",
        {"gpt/iter_0000500/mp_rank_00/model_optim_rng.pt": ("root", "gpt", None, 500)},
    ),
    "Megatron-LM, tensor-parallel (Neo)": (
        "checkpoint/iter_000{2,4}000/mp_rank_0{0,1}/{model_optim_rng,distrib_optim}.pt",
        Ask(
            r"(?s)spread over several files.*step 2000 of run root, group root: .*mp_rank_00/"
            r".* and .*mp_rank_01/"
        ),
    ),
    "Megatron-LM, pipeline-parallel": (
        "gpt/iter_0000500/mp_rank_00_00{0,1}/model_optim_rng.pt",
        Ask(r"spread over several files"),
    ),
    "Megatron-LM, distributed": (
        "gpt/iter_0000500/{.metadata,__0_0.distcp,common.pt,metadata.json}",
        {"gpt/iter_0000500": ("root", "gpt", None, 500)},
    ),
    "DeepSpeed, ZeRO 1 and 2": (
        """seed0/global_step500/{mp_rank_00_model_states.pt,
        bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt} seed0/latest""",
        {"seed0/global_step500/mp_rank_00_model_states.pt": ("root", "seed0", 0, 500)},
    ),
    "DeepSpeed, ZeRO 3: even one device's file holds no weights": (
        "seed0/global_step500/zero_pp_rank_0_mp_rank_00_{model,optim}_states.pt",
        Ask(r"(?s)spread over several files.*zero_to_fp32"),
    ),
    "GPT-NeoX": (
        "global_step1000/{layer_00,layer_02}-model_00-model_states.pt "
        "global_step1000/mp_rank_00_model_states.pt",
        Ask(r"spread over several files"),
    ),
    "Llama, tensor-parallel": (
        "epoch_0/consolidated.0{0,1}.pth",
        Ask(r"spread over several files"),
    ),
    "timm": (
        """output/train/20240101-120000-resnet50-224/checkpoint-{12,13}.pth.tar
        output/train/20240101-120000-resnet50-224/{model_best,last,recovery-3-400}.pth.tar""",
        {
            f"output/train/20240101-120000-resnet50-224/checkpoint-{epoch}.pth.tar": (
                "train",
                "20240101-120000-resnet50-224",
                None,
                epoch,
            )
            for epoch in (12, 13)
        },
    ),
    "MMDetection, by epoch": (
        "work_dirs/faster_rcnn/{epoch_12,epoch_11,best_bbox_mAP_epoch_10,latest}.pth",
        {
            "work_dirs/faster_rcnn/best_bbox_mAP_epoch_10.pth": (
                "work_dirs",
                "faster_rcnn",
                None,
                10,
            ),
            "work_dirs/faster_rcnn/epoch_11.pth": ("work_dirs", "faster_rcnn", None, 11),
            "work_dirs/faster_rcnn/epoch_12.pth": ("work_dirs", "faster_rcnn", None, 12),
        },
    ),
    "MMSegmentation, by iteration": (
        "iter_{4000,8000}.pth",
        {
            "iter_4000.pth": ("root", "root", None, 4000),
            "iter_8000.pth": ("root", "root", None, 8000),
        },
    ),
    "Detectron2": (
        "output/model_{0009999,0019999,final}.pth",
        Ask(r"(?s)model_0009999.pth: no step.*layout='output/model_\{step\}.pth'"),
    ),
    "YOLO": (
        "runs/train/exp2/weights/{epoch10,best,last}.pt",
        {"runs/train/exp2/weights/epoch10.pt": ("train", "exp2", None, 10)},
    ),
    "Stable-Baselines3, unpacked": (
        "rl_model_10000_steps/{policy.pth,policy.optimizer.pth,pytorch_variables.pth,data}",
        {"rl_model_10000_steps/policy.pth": ("root", "root", None, 10_000)},
    ),
    "a zip archive of something else": (
        "logs/rl_model_{10000,20000}_steps.zip",
        Ask(r"holds no checkpoints.*rl_model_10000_steps.zip \(a zip archive without a model"),
    ),
    "nanoGPT": (
        "out-shakespeare/ckpt.pt",
        Ask(r"(?s)ckpt.pt: no step.*overwrites it, only the last state is left"),
    ),
    "Chainer": (
        "result/snapshot_iter_{100,200}.npz",
        {
            "result/snapshot_iter_100.npz": ("root", "result", None, 100),
            "result/snapshot_iter_200.npz": ("root", "result", None, 200),
        },
    ),
    # -------------------------------------------------------------------- Keras, JAX, TensorFlow
    "Keras ModelCheckpoint": (
        "seed0/model.{05,10}.keras",
        {
            "seed0/model.05.keras": ("root", "seed0", 0, 5),
            "seed0/model.10.keras": ("root", "seed0", 0, 10),
        },
    ),
    "Keras ModelCheckpoint, monitored": (
        "weights.{01-0.25,02-0.19}.h5",
        {
            "weights.01-0.25.h5": ("root", "root", None, 1),
            "weights.02-0.19.h5": ("root", "root", None, 2),
        },
    ),
    "Keras, weights only": (
        "cp-{0005,0010}.weights.h5",
        {
            "cp-0005.weights.h5": ("root", "root", None, 5),
            "cp-0010.weights.h5": ("root", "root", None, 10),
        },
    ),
    "TensorFlow": (
        "model.ckpt-{0,1000}.{index,meta,data-00000-of-00001} checkpoint",
        Ask(r"holds no checkpoints.*model.ckpt-0.index \(a TensorFlow checkpoint"),
    ),
    "Flax": (
        "seed0/checkpoint_{0,100}",
        {
            "seed0/checkpoint_0": ("root", "seed0", 0, 0),
            "seed0/checkpoint_100": ("root", "seed0", 0, 100),
        },
    ),
    "Orbax": (
        """ckpts/{0,100}/{_CHECKPOINT_METADATA,default/{_METADATA,_sharding,manifest.ocdbt,
        d/abc,ocdbt.process_0/{manifest.ocdbt,d/def}},metrics/metrics}
        ckpts/200.orbax-checkpoint-tmp-12/default/manifest.ocdbt""",
        {
            "ckpts/0": ("root", "root", None, 0),
            "ckpts/100": ("root", "root", None, 100),
        },
    ),
    "Orbax, before it marked the step": (
        "seed1/{0,100}/{default/{_METADATA,manifest.ocdbt},metadata/metadata}",
        {
            "seed1/0/default": ("root", "seed1", 1, 0),
            "seed1/100/default": ("root", "seed1", 1, 100),
        },
    ),
    "Orbax 1.0 API": (
        "{0,100}/{orbax.checkpoint,pytree/_METADATA,dataset/x}",
        {"0": ("root", "root", None, 0), "100": ("root", "root", None, 100)},
    ),
    "Orbax, before it wrote metadata (and T5X)": (
        "seed1/{0,100}/default/{checkpoint,params.w/0.0} t5/checkpoint_20/{checkpoint,target.w/0}",
        {
            "seed1/0/default": ("root", "seed1", 1, 0),
            "seed1/100/default": ("root", "seed1", 1, 100),
            "t5/checkpoint_20": ("root", "t5", None, 20),
        },
    ),
    "T5X on Orbax": (
        "t5/checkpoint_1000000/{_CHECKPOINT_METADATA,state/manifest.ocdbt}",
        {"t5/checkpoint_1000000": ("root", "t5", None, 1_000_000)},
    ),
    # ---------------------------------------------------------------------------- sweeps by hand
    "Hydra sweep": (
        "multirun/2024-05-06/12-30-00/{0,1}/checkpoints/epoch_3.pt",
        {
            f"multirun/2024-05-06/12-30-00/{job}/checkpoints/epoch_3.pt": (
                "root",
                str(job),
                None,
                3,
            )
            for job in (0, 1)
        },
    ),
    "Hydra sweep, folders named for what differs": (
        "multirun/2024-05-06/12-30-00/lr=0.1,seed={0,1}/epoch_3.pt",
        {
            f"multirun/2024-05-06/12-30-00/lr=0.1,seed={seed}/epoch_3.pt": (
                "lr=0.1",
                f"seed={seed}",
                seed,
                3,
            )
            for seed in (0, 1)
        },
    ),
    "Hu et al. (2023)": (
        "lr0.001_adamw_seed{0,1}_scaling1.0/epoch{10,20}.pt",
        {
            f"lr0.001_adamw_seed{seed}_scaling1.0/epoch{epoch}.pt": (
                "lr0.001_adamw_scaling1.0",
                f"seed{seed}",
                seed,
                epoch,
            )
            for seed in (0, 1)
            for epoch in (10, 20)
        },
    ),
    "nested times": (
        "seed0/epoch_{1,2}/step_{10,20}.pt",
        Ask("more than one file claims"),
    ),
    "nested times, counted through": (
        "seed0/{epoch_1/step_10,epoch_2/step_20}.pt",
        {
            "seed0/epoch_1/step_10.pt": ("root", "seed0", 0, 10),
            "seed0/epoch_2/step_20.pt": ("root", "seed0", 0, 20),
        },
    ),
    "fine-tuned from several checkpoints: a time that is part of the recipe": (
        "step_{1000,2000}/{model.pt,finetune/seed0/step_5/model.pt}",
        {
            "step_1000/model.pt": ("root", "root", None, 1000),
            "step_2000/model.pt": ("root", "root", None, 2000),
            "step_1000/finetune/seed0/step_5/model.pt": ("step_1000/finetune", "seed0", 0, 5),
            "step_2000/finetune/seed0/step_5/model.pt": ("step_2000/finetune", "seed0", 0, 5),
        },
    ),
    "S5 is a group of permutations, not a seed": (
        "S5_{10,20}.pt",
        Ask(r"(?s)S5_10.pt: no step.*layout='S5_\{step\}.pt'"),
    ),
    "runs that differ in one number behind a word for repetitions": (
        "parity__s{0,1,12}/step_10.pt",
        {
            f"parity__s{seed}/step_10.pt": ("parity", f"parity__s{seed}", seed, 10)
            for seed in (0, 1, 12)
        },
    ),
    "two recipes, each with its seeds": (
        "{p97,p113}_run{1,2}/step_10.pt",
        {
            f"{recipe}_run{seed}/step_10.pt": (recipe, f"{recipe}_run{seed}", seed, 10)
            for recipe in ("p97", "p113")
            for seed in (1, 2)
        },
    ),
    "runs counted from 1": (
        "ppo/Cart_{1,2}/step_10.pt",
        {f"ppo/Cart_{n}/step_10.pt": ("ppo/Cart", f"Cart_{n}", n, 10) for n in (1, 2)},
    ),
    "numbers that do not count on may be anything": (
        "a_{16,32}/step_10.pt",
        {f"a_{n}/step_10.pt": ("root", f"a_{n}", None, 10) for n in (16, 32)},
    ),
    "quantities of a recipe are no seeds": (
        "{depth_1,depth_2,lr0.1,lr0.2,width128,width256,wd1e-3,wd1e-4}/step_10.pt",
        {
            f"{run}/step_10.pt": ("root", run, None, 10)
            for run in (
                *("depth_1", "depth_2", "lr0.1", "lr0.2"),
                *("width128", "width256", "wd1e-3", "wd1e-4"),
            )
        },
    ),
    "01 and 1 are two runs": (
        "{01,1,None,NA,null}/step_10.pt",
        {f"{run}/step_10.pt": ("root", run, None, 10) for run in ("01", "1", "None", "NA", "null")},
    ),
    "01 and 1 are two runs, though one number": (
        "x_s{01,1}/step_10.pt",
        {f"x_s{n}/step_10.pt": ("root", f"x_s{n}", None, 10) for n in ("01", "1")},
    ),
    "seeds of 64 bits and more": (
        "seed_{13146546797413093377,13146546797413093378}/step_10.pt",
        {
            f"seed_{seed}/step_10.pt": ("root", f"seed_{seed}", None, 10)
            for seed in (13146546797413093377, 13146546797413093378)
        },
    ),
    "s5 may be a seed": (
        "resnet18_s5/step_10.pt",
        {"resnet18_s5/step_10.pt": ("root", "resnet18_s5", None, 10)},
    ),
    "a timestamp is not a step": (
        "run_a/checkpoint_{1704067200,2024-01-01_12-00-00,20240101}.pt",
        Ask(r"3 of the 3 .*do not say"),
    ),
    "a bare number is not a step": ("run0/0100.pt", Ask(r"0100.pt: no step")),
    "LoRA's rank is not a device": (
        "lora_rank{4,8}/seed0/step_1.pt",
        {
            f"lora_rank{rank}/seed0/step_1.pt": (f"lora_rank{rank}", "seed0", 0, 1)
            for rank in (4, 8)
        },
    ),
    "LoRA's rank in one folder of many runs": (
        "lora_rank{4_seed0_step5,8_seed0_step10}.pt",
        {
            "lora_rank4_seed0_step5.pt": ("lora_rank4", "seed0", 0, 5),
            "lora_rank8_seed0_step10.pt": ("lora_rank8", "seed0", 0, 10),
        },
    ),
    "how much data the recipe uses": (
        "samples{100_seed0_step5,200_seed0_step10}.pt",
        {
            "samples100_seed0_step5.pt": ("samples100", "seed0", 0, 5),
            "samples200_seed0_step10.pt": ("samples200", "seed0", 0, 10),
        },
    ),
    "one copy per device": ("seed0/step_100_rank_{0,1}.pt", Ask(r"copies of the whole model")),
    "tensor-parallel by folder": (
        "gpt/mp_rank_0{0,1}/step=10.ckpt",
        Ask(r"spread over several files"),
    ),
}


def expand(text):
    """``a{b,c{d,e}}`` -> ab, acd, ace; as a shell does."""
    start = text.find("{")
    if start < 0:
        return [text]
    depth, pieces, begin = 0, [], start + 1
    for at in range(start, len(text)):
        depth += (text[at] == "{") - (text[at] == "}")
        if (text[at] == "," and depth == 1) or depth == 0:
            pieces.append(text[begin:at])
            begin = at + 1
        if depth == 0:
            break
    middles = [middle for piece in pieces for middle in expand(piece)]
    return [text[:start] + m + rest for m, rest in product(middles, expand(text[begin:]))]


def files_of(text):
    joined = ",".join(part.strip() for part in text.split(",\n"))
    return [file for word in joined.split() for file in expand(word)]


@pytest.fixture
def root(tmp_path):
    return tmp_path / "root"


def fill(root, text):
    for file in files_of(text):
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"x")


@pytest.mark.parametrize("case", WILD)
def test_layout(root, case):
    text, expected = WILD[case]
    fill(root, text)
    if isinstance(expected, Ask):
        with pytest.raises(LayoutError, match=expected.message):
            discover(root)
        return
    index = discover(root)
    assert {
        file.path.relative_to(root).as_posix(): (file.group, file.run, file.seed, file.step)
        for file in index.checkpoints
    } == expected


def told(index):
    return " ".join(notice.message for notice in index.notices)


def test_what_is_beside_a_model_is_told(root):
    fill(root, WILD["Hugging Face Trainer on DeepSpeed"][0])
    path = "out/checkpoint-500/global_step502/mp_rank_00_model_states.pt"
    assert f"1 path left out ({path}): beside the model" in told(discover(root))
    # A layout can still choose it.
    index = discover(root, "{run}/*/global_step{step}/mp_rank_00_model_states.pt")
    assert [file.step for file in index.checkpoints] == [502]
    index = discover(root, "{run}/checkpoint-{step}")
    assert [file.path.name for file in index.checkpoints] == ["pytorch_model.bin"]


def test_parts_give_way_to_the_whole(root):
    fill(root, "step_1/{rank0,rank1,merged}.pt")
    index = discover(root)
    assert [file.path.name for file in index.checkpoints] == ["merged.pt"]
    assert "2 paths left out (step_1/rank0.pt, step_1/rank1.pt): parts of a" in told(index)


def test_formats_that_are_not_read_are_told_where_they_look_like_checkpoints(root):
    fill(root, "seed0/step_1.{pt,pkl,joblib} seed0/{data.pkl,code.zip}")
    index = discover(root)
    assert [file.path.name for file in index.checkpoints] == ["step_1.pt"]
    assert "2 paths left out (seed0/step_1.joblib, seed0/step_1.pkl): loading a" in told(index)
    assert "data.pkl" not in told(index)


def test_a_folder_checkpoint_counts_all_its_files(root):
    fill(root, WILD["Orbax"][0] + " ckpts/100/.metadata")
    index = discover(root)
    assert [(file.format, file.size) for file in index.checkpoints] == [("orbax", 8), ("orbax", 9)]
    assert "a temporary file" in told(index)
    fill(root, "dcp/step-1/{.metadata,__0_0.distcp,__1_0.distcp}")
    index = discover(root, "dcp/step-{step}")
    assert [(f.format, f.size) for f in index.checkpoints] == [("pytorch (distributed)", 3)]


def test_a_folder_that_is_itself_one_checkpoint(root):
    fill(root, "__0_0.distcp .metadata")
    with pytest.raises(LayoutError, match=r"(?s)1 of the 1 .*  \.: no step"):
        discover(root)


@pytest.mark.parametrize(
    ("files", "suggestion"),
    [
        ("output/model_0{09,19}999.pth", "output/model_{step}.pth"),
        ("runs/adam/seed{0,1}/model_10.pt", "runs/{group}/seed{seed}/model_{step}.pt"),
        ("adam/runA/weights/net_G_10.pth", "{group}/{run}/weights/net_G_{step}.pth"),
        ("adam/seed_{0,1}/{1000,2000}/model.pt", "{group}/seed_{seed}/{step}/model.pt"),
    ],
)
def test_the_layout_that_is_suggested_works(root, files, suggestion):
    fill(root, files)
    with pytest.raises(LayoutError) as info:
        discover(root)
    assert f"layout='{suggestion}'" in str(info.value)
    assert len(discover(root, suggestion).checkpoints) == len(files_of(files))


@pytest.mark.parametrize("file", ["out/ckpt.pt", "out/{5}.pt", "seed0/ckpt.pt"])
def test_no_layout_is_suggested_where_none_is_sure_to_fit(root, file):
    (root / file).parent.mkdir(parents=True)
    (root / file).write_bytes(b"x")
    with pytest.raises(LayoutError, match=r"to be read with layout=…: a path in which \{group\}"):
        discover(root)


@pytest.mark.parametrize(
    ("files", "suggestion"),
    [
        # Two numbers that grow together are epoch and step, whichever comes first.
        ("seed{0,1}/checkpoint_{1_5000,2_10000}.pt", "seed{seed}/checkpoint_{epoch}_{step}.pt"),
        ("d0_{500_1,1000_2}.pth", "d0_{step}_{epoch}.pth"),
        # One that takes the same values for each of the other is a seed.
        ("output/ckpt_{0,1,2}_{10,20}.pt", "output/ckpt_{step}_{seed}.pt"),
        ("output/ckpt_{0,1}_{10,20,30}.pt", "output/ckpt_{seed}_{step}.pt"),
        ("runA/weights/net_{10,20}.pth runB/weights/net_10.pth", "{run}/weights/net_{step}.pth"),
        ("x/run{0,1}/{100,200}.pt", "{group}/{run}/{step}.pt"),
        ("a/{0,1}/{5,6}/w.pt", "{group}/{run}/{step}/w.pt"),
        ("out/model_{1k,2k}.pt", "{run}/model_{step}.pt"),
        ("out/model_{5,10}_0.25.pt", "{run}/model_{step}_0.25.pt"),
    ],
)
def test_a_suggested_layout_fits_every_path(root, files, suggestion):
    fill(root, files)
    with pytest.raises(LayoutError) as info:
        discover(root)
    assert f"layout='{suggestion}'" in str(info.value)
    index = discover(root, suggestion)
    assert len(index.checkpoints) == len(files_of(files))


def proposed(root):
    with pytest.raises((LayoutError, DuplicateCheckpointError)) as info:
        discover(root)
    return re.findall(r"layout='(.*)'", str(info.value))


@pytest.mark.parametrize(
    ("files", "resumed", "two"),
    [
        (
            "seed_{0,1}/lightning_logs/{version_0/checkpoints/epoch={0-step=000,1-step=100},"
            "version_1/checkpoints/epoch={2-step=200,3-step=300}}.ckpt",
            "seed_{seed}/lightning_logs/version_*/checkpoints/epoch={epoch}-step={step}.ckpt",
            "seed_{seed}/lightning_logs/{group}/checkpoints/epoch={epoch}-step={step}.ckpt",
        ),
        (
            "seed0/{2024-01-01/step_1,2024-01-02/step_2}.pt",
            "seed{seed}/*/step_{step}.pt",
            "seed{seed}/{group}/step_{step}.pt",
        ),
    ],
)
def test_both_answers_are_proposed_for_a_run_started_twice(root, files, resumed, two):
    fill(root, files)
    assert proposed(root) == [resumed, two]
    n = len(files_of(files))
    for layout in (resumed, two):
        assert len(discover(root, layout).checkpoints) == n


def test_proposals_for_paths_that_clash(root):
    fill(root, "a_step_{1,3}.pt b_step_{1,2}.pt")
    assert proposed(root) == ["{run}_step_{step}.pt"]
    assert len(discover(root, "{run}_step_{step}.pt").checkpoints) == 4


def test_steps_and_epochs_that_do_not_mix_get_a_layout_for_one_kind(root):
    fill(root, "seed0/epoch_{1,2,3}.pt seed1/step_10.pt")
    assert proposed(root) == ["seed{seed}/epoch_{epoch}.pt"]


def test_expansion():
    assert expand("a{b,c{d,e}}f{0,1}") == ["abf0", "abf1", "acdf0", "acdf1", "acef0", "acef1"]
    assert expand("x{,-v1}") == ["x", "x-v1"]


def test_the_table_is_long_enough():
    assert len(WILD) >= 30
    assert sum(isinstance(expected, Ask) for _, expected in WILD.values()) >= 10
