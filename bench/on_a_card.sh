#!/usr/bin/env bash
# Everything that needs a CUDA card, the most telling first; each part prints its table and goes on if one fails.
#   bench/on_a_card.sh [WORK_FOLDER]       some 25 minutes on an H200; results land in WORK_FOLDER
# PARTS="where main" runs only those.
set -u
work=${1:-/tmp/roadscribe-bench}
python=${PYTHON:-python3}
here=$(cd "$(dirname "$0")" && pwd)
parts=${PARTS:-where main epochs shared two t4 test memory}
mkdir -p "$work"
export TORCHINDUCTOR_CACHE_DIR=${TORCHINDUCTOR_CACHE_DIR:-$work/compiled}

run() { echo; echo "== $(date +%T) $*"; "$@" || echo "(failed)"; }

[ -e "$work/2b/config.json" ] || run "$python" "$here/base_model.py" --size 2b --out "$work/2b"
bench="$python $here/train.py --base $work/2b --set train.compile=true"
threes="--steps 9 --rows 240 --answers 3 --samples-a-step 24 --variants ours"
for part in $parts; do
  case $part in
    where)  # 80 s
      run "$python" "$here/where.py" --base "$work/2b" --set train.compile=true ;;
    main)   # 270 s, half of it the original
      run $bench --rows 240 --steps 30 --samples-a-step 8 --variants ours original --json "$work/main.json" ;;
    epochs) # 270 s: three epochs, so that features are kept
      run $bench --rows 80 --steps 30 --samples-a-step 8 --variants ours original --json "$work/epochs.json" ;;
    shared) # 170 s
      run $bench $threes --json "$work/shared.json"
      run $bench $threes --set train.shared_prefix=false --json "$work/separate.json" ;;
    two)    # 180 s, on two cards
      if [ "$(nvidia-smi -L | wc -l)" -ge 2 ]; then
        run $bench --rows 200 --steps 12 --samples-a-step 16 --variants ours "ours on two" --json "$work/two.json"
      fi ;;
    t4)     # 230 s
      run $bench --t4 --rows 128 --steps 50 --samples-a-step 8 --variants ours --json "$work/t4.json"
      run $bench --t4 --rows 48 --steps 5 --samples-a-step 8 --variants original --json "$work/t4-original.json" ;;
    test)   # 200 s
      run "$python" -m pytest -m gpu "$here/../tests/train" ;;
    memory) # 30 s a shape
      run "$python" "$here/memory.py" --work "$work" --out "$work/compiled.json" --compile on
      run "$python" "$here/memory.py" --work "$work" --out "$work/eager.json" ;;
  esac
done
