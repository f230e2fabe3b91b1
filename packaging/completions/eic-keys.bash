# bash completion for eic-keys(8)

_eic_keys() {
    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} options='' operands=user IFS=$'\n'
    case $'\n'${COMP_WORDS[*]:1:COMP_CWORD-1}$'\n' in
    *$'\n--\n'*) # the other command and its arguments
        mapfile -t COMPREPLY < <(compgen -A command -A file -- "$word")
        return
        ;;
    *$'\n--check\n'*) options=$'--rehearse\n--wait\n--json\n--verbose\n--trust-store\n--principal\n--timeout\n--imds' ;;
    *$'\n--logins\n'*) options=$'--user\n--since\n--until\n--refused\n--json' operands='' ;;
    *$'\n--enable\n'*) options=$'--dry-run\n--no-chain\n--if-user-missing' operands='' ;;
    *$'\n--disable\n'*) options=--dry-run operands='' ;;
    *)
        options=$'--trust-store\n--principal\n--timeout\n--imds'
        [ "$COMP_CWORD" != 1 ] || options+=$'\n--check\n--logins\n--enable\n--disable\n--help\n-h\n--version\n-V'
        ;;
    esac
    case $before in
    --trust-store) mapfile -t COMPREPLY < <(compgen -A file -- "$word") ;;
    --principal | --timeout | --imds | --wait | --since | --until) COMPREPLY=() ;;
    --user) mapfile -t COMPREPLY < <(compgen -A user -- "$word") ;;
    *)
        case $word in
        -*) mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word") ;;
        *) mapfile -t COMPREPLY < <([ -z "$operands" ] || compgen -A "$operands" -- "$word") ;;
        esac
        ;;
    esac
}
complete -F _eic_keys eic-keys
