# Sourced by the train_*.sh: turns ZeroSearch's `NAME VALUE …` arguments, in any
# order, into flags of `python -m agents train`. Flags after `--` are passed on and win.

set -euo pipefail

NAMES="NUM_GPUS_PER_NODE MODEL_PATH DATA_PATH TOTAL_STEPS IP SEARCH_MODE SIMULATION_LLM"
NAMES="$NAMES START_THRESHOLD END_THRESHOLD SEARCH_ENGINE MAX_TURNS TOPK"
NEEDED="MODEL_PATH DATA_PATH TOTAL_STEPS SEARCH_MODE"
SIMULATOR_PORT=6001 # where ZeroSearch's README starts the server of the simulation LLM
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    echo "error: $*" >&2
    echo "Arguments are NAME VALUE pairs in any order, then perhaps -- and flags of python -m agents train." >&2
    echo "Names: $NAMES; needed are $NEEDED. --dry-run prints the command instead of running it." >&2
    exit 2
}

is_name() {
    case " $NAMES " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

value_of() {
    local variable="given_$1"
    echo "${!variable-}"
}

# Reads the arguments into given_<NAME>, and what comes after `--` into EXTRA.
parse_arguments() {
    local name variable
    EXTRA=()
    while [ $# -gt 0 ]; do
        case $1 in
        --)
            shift
            EXTRA=("$@")
            break
            ;;
        --dry-run)
            DRY_RUN=1
            shift
            continue
            ;;
        esac
        is_name "$1" || fail "unknown name '$1'."
        variable="given_$1"
        [ -z "${!variable-}" ] || fail "$1 is given twice."
        if [ $# -lt 2 ] || [ -z "$2" ] || [ "$2" = -- ] || [ "$2" = --dry-run ] || is_name "$2"; then
            fail "$1 has no value."
        fi
        printf -v "$variable" '%s' "$2"
        shift 2
    done
    for name in $NEEDED; do
        [ -n "$(value_of "$name")" ] || fail "$name is missing."
    done
    case $given_TOTAL_STEPS in *[!0-9]*) fail "TOTAL_STEPS must be a whole number; got '$given_TOTAL_STEPS'." ;; esac
    given_TOTAL_STEPS=$((10#$given_TOTAL_STEPS)) # 08 is no octal number
}

# Adds `flag value` to FLAGS where the value of a name is given.
add_flag() {
    local value
    value=$(value_of "$2")
    [ -z "$value" ] || FLAGS+=("$1" "$value")
}

# Says that an argument has no effect.
not_used() {
    local value
    value=$(value_of "$1")
    [ -z "$value" ] || echo "$1 $value is not used: $2" >&2
}

add_questions() {
    if [ -d "$given_DATA_PATH" ]; then
        local part
        for part in train test; do
            [ -f "$given_DATA_PATH/$part.parquet" ] || fail "DATA_PATH '$given_DATA_PATH' holds no $part.parquet."
        done
        FLAGS+=(--questions "$given_DATA_PATH/train.parquet" --eval-questions "$given_DATA_PATH/test.parquet")
    else
        FLAGS+=(--questions "$given_DATA_PATH")
    fi
}

# Which engine the simulation LLM plays: ZeroSearch's names of the two that its simulators are made for, or any other.
add_persona() {
    local engine
    engine=$(value_of SEARCH_ENGINE)
    case $engine in
    '') return ;;
    [Gg]oogle) engine=Google ;;
    [Ww]iki | [Ww]ikipedia) engine=Wikipedia ;;
    esac
    FLAGS+=(--search-option "persona=$engine")
}

# train ALGORITHM FLAG…: runs it, with ZeroSearch's defaults and the algorithm's own flags.
train() {
    local algorithm=$1 model=${given_MODEL_PATH%/} name python
    shift
    name=$(printf '%s' "${algorithm}_${model##*/}_$given_SEARCH_MODE" | tr -c 'A-Za-z0-9._-' '_')
    FLAGS=(--algorithm "$algorithm" --model "$given_MODEL_PATH" --run-name "$name")
    add_questions
    add_flag --total-steps TOTAL_STEPS
    add_flag --search-mode SEARCH_MODE
    case $given_SEARCH_MODE in
    simulate_*)
        add_flag --simulation-llm SIMULATION_LLM
        [ -z "$(value_of IP)" ] || FLAGS+=(--base-url "http://$(value_of IP):$SIMULATOR_PORT")
        add_persona
        ;;
    *)
        not_used SIMULATION_LLM "search mode $given_SEARCH_MODE has no simulation LLM."
        not_used IP "search mode $given_SEARCH_MODE has no simulation LLM."
        not_used SEARCH_ENGINE "it says which engine a simulation LLM plays, and search mode $given_SEARCH_MODE has none."
        ;;
    esac
    add_flag --start-threshold START_THRESHOLD
    add_flag --end-threshold END_THRESHOLD
    add_flag --max-turns MAX_TURNS
    add_flag --topk TOPK
    add_flag --num-gpus NUM_GPUS_PER_NODE
    FLAGS+=(--questions-per-step 64 --group-size 5 --learning-rate 1e-6 --clip-low 0.2 --clip-high 0.2)
    FLAGS+=(--kl-coef 0.001 --reward f1 --max-new-tokens 500 --temperature 1 --checkpoint-every 50)
    FLAGS+=("$@" ${EXTRA[@]+"${EXTRA[@]}"})

    python=${PYTHON:-$ROOT/.venv/bin/python}
    [ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3
    if [ -n "${DRY_RUN:-}" ]; then
        printf '%q ' "$python" -m agents train "${FLAGS[@]}"
        echo
        return
    fi
    # The packages lie in this checkout; paths among the arguments are relative to where you are.
    PYTHONPATH="$ROOT${PYTHONPATH:+:$PYTHONPATH}" exec "$python" -m agents train "${FLAGS[@]}"
}
