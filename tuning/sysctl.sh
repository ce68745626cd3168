# shellcheck shell=bash
# A knob that consists of sysctls: show, apply and undo. The scripts beside this file read it.
#
# A script names its knob and its settings and then calls `knob "$@"`:
#
#   name=forwarding
#   settings=('net.ipv4.ip_forward=1')          exactly this value
#   settings=('net.core.rmem_default+=4194304') at least this value; a larger one stays
#
# `apply` notes the value of before, once, in a file a knob under the state directory; `undo` writes
# it back and removes the file.

state_directory=${RINGWAY_TUNING_STATE:-/var/lib/ringway-tuning}

fail() {
    echo "tuning/$name: $*" >&2
    exit 1
}

# The file of a setting: net.ipv4.ip_forward is /proc/sys/net/ipv4/ip_forward.
file_of() { echo "/proc/sys/${1//.//}"; }

key_of() { echo "${1%%[+=]*}"; }
wanted_of() { echo "${1#*=}"; }

# Whether the value $2 will do for the setting $1.
satisfies() {
    if [[ $1 == *+=* ]]; then
        ((${2} >= $(wanted_of "$1")))
    else
        [[ $2 == "$(wanted_of "$1")" ]]
    fi
}

value_of() {
    local file
    file=$(file_of "$1")
    [[ -r $file ]] || fail "there is no $1 here (some settings exist outside of network namespaces only)"
    cat "$file"
}

write_value() {
    local file
    file=$(file_of "$1")
    { echo "$2" >"$file"; } 2>/dev/null ||
        fail "$1 can't be written: be root, and not in a network namespace (container) that only shares it"
}

show() {
    local setting key value wanted
    for setting in "${settings[@]}"; do
        key=$(key_of "$setting")
        value=$(value_of "$key")
        wanted=$(wanted_of "$setting")
        [[ $setting == *+=* ]] && wanted="at least $wanted"
        echo "$key = $value (wanted: $wanted)"
    done
}

apply() {
    local setting key value before=()
    for setting in "${settings[@]}"; do
        key=$(key_of "$setting")
        value=$(value_of "$key")
        satisfies "$setting" "$value" && continue
        before+=("$key=$value")
        # Fails here, with nothing noted, if it may not be written.
        write_value "$key" "$value"
    done
    if ((${#before[@]} == 0)); then
        echo "nothing to do"
        return
    fi
    mkdir -p "$state_directory"
    # What an earlier apply noted is the older value, and stays.
    [[ -e $state_directory/$name ]] || printf '%s\n' "${before[@]}" >"$state_directory/$name"
    for setting in "${settings[@]}"; do
        key=$(key_of "$setting")
        satisfies "$setting" "$(value_of "$key")" && continue
        write_value "$key" "$(wanted_of "$setting")"
        echo "$key = $(value_of "$key")"
    done
}

undo() {
    local line
    if ! [[ -e $state_directory/$name ]]; then
        echo "nothing was applied"
        return
    fi
    while IFS= read -r line; do
        write_value "${line%%=*}" "${line#*=}"
        echo "${line%%=*} = ${line#*=}"
    done <"$state_directory/$name"
    rm "$state_directory/$name"
}

knob() {
    case "${1-}" in
        show | apply | undo) "$1" ;;
        *)
            echo "usage: tuning/$name show|apply|undo" >&2
            exit 2
            ;;
    esac
}
