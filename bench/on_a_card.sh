#!/usr/bin/env bash
# Everything that needs a CUDA card, the most telling first; each part prints its table and goes on if one fails.
#   bench/on_a_card.sh [WORK_FOLDER]       some 40 minutes on two H200s; results land in WORK_FOLDER
# PARTS="where main" runs only those; `two` and `fsdp` want two cards.
set -u
work=${1:-/tmp/roadscribe-bench}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
parts=${PARTS:-where main epochs sixteen shared two fsdp t4 test recipes memory}
mkdir -p "$work"
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$work/compiled}

run() { echo; echo "== $(date +%T) $*"; "$@" || echo "(failed)"; }

roadscribe() { "$python" -m roadscribe "$@"; }
base_of() { [ -e "$work/$1/config.json" ] || run "$python" "$here/base_model.py" --size "$1" --out "$work/$1"; }

base_of 2b
[ -e "$work/rows" ] || run "$python" "$here/make_random_dataset.py" --count 64 --out "$work/rows"
recipes=$here/../recipes
few="--set train.max_steps=4 --set train.logging_steps=1 --set train.eval_steps=0 --set train.load_best_at_end=false --set train.verify_in_process=true"
bench="$python $here/train.py --base $work/2b --set train.compile=true"
threes="--steps 9 --rows 240 --answers 3 --samples-a-step 24 --variants ours"
for part in $parts; do
  case $part in
    where)  # 80 s
      run "$python" "$here/profile_step.py" --base "$work/2b" --set train.compile=true ;;
    main)   # 270 s, half of it the original
      run $bench --rows 240 --steps 30 --samples-a-step 8 --variants ours original --json "$work/main.json" ;;
    epochs) # 210 s: three epochs, so that features are kept
      run $bench --rows 80 --steps 30 --samples-a-step 8 --variants ours original --json "$work/epochs.json" ;;
    sixteen) # 110 s: both with products in 16 bits
      run $bench --rows 240 --steps 30 --samples-a-step 8 --variants ours --set train.fp8_matmul=false --json "$work/sixteen.json"
      run $bench --rows 80 --steps 30 --samples-a-step 8 --variants ours --set train.fp8_matmul=false --json "$work/sixteen-epochs.json" ;;
    shared) # 170 s
      run $bench $threes --json "$work/shared.json"
      run $bench $threes --set train.shared_prefix=false --json "$work/separate.json" ;;
    two)    # 180 s, on two cards
      if [ "$(nvidia-smi -L | wc -l)" -ge 2 ]; then
        run $bench --rows 200 --steps 12 --samples-a-step 16 --variants ours "ours on two" --json "$work/two.json"
      fi ;;
    t4)     # 230 s
      run $bench --t4 --rows 400 --steps 50 --samples-a-step 8 --variants ours --json "$work/t4.json"
      run $bench --t4 --rows 48 --steps 5 --samples-a-step 8 --variants original --json "$work/t4-original.json" ;;
    test)   # 200 s
      run "$python" -m pytest -m gpu "$here/../tests/train" ;;
    recipes) # 100 s each: the larger models as their recipes have them, a few steps
      for size in 4b 8b; do
        base_of $size
        run roadscribe train "$work/rows" --out "$work/$size-run" --recipe "$recipes/gpu-qwen3-vl-$size.yaml" \
          --set model.base="$work/$size" $few --set train.compile=true --overwrite
      done ;;
    fsdp)   # 250 s, on two cards
      if [ "$(nvidia-smi -L | wc -l)" -ge 2 ]; then
        base_of 8b
        run "$python" -m accelerate.commands.launch --config_file "$recipes/fsdp.accelerate.yaml" -m roadscribe \
          train "$work/rows" --out "$work/fsdp-run" --recipe "$recipes/fsdp-qwen3-vl-8b.yaml" \
          --set model.base="$work/8b" $few --overwrite
      fi ;;
    memory) # 30 s a shape
      run "$python" "$here/memory.py" --work "$work" --out "$work/compiled.json" --compile on
      run "$python" "$here/memory.py" --work "$work" --out "$work/eager.json" ;;
  esac
done
